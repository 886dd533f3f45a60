//! Who asks.

use std::net::IpAddr;

/// Where a request came from, behind the trusted proxies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Source {
    /// The client's address.
    pub ip: IpAddr,
}

/// Who asks for something.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Actor {
    /// A login page, on the server side, known by its key.
    Client {
        /// Its name in the configuration.
        name: String,
        /// The person's address, as the page reports it.
        source: Option<Source>,
    },
    /// An operator on the admin socket, known by the kernel's word.
    Operator {
        /// The uid of the calling process.
        uid: u32,
        /// Its login name on this machine, for reading only.
        name: String,
    },
    /// rekeyd itself: clean-up, the newcomer watch, the end of a freeze.
    System,
    /// A person in front of one of the pages.
    Visitor {
        /// Their address.
        source: Source,
    },
}

impl Actor {
    /// The kind of actor, for the audit trail.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Client { .. } => "client",
            Self::Operator { .. } => "operator",
            Self::System => "system",
            Self::Visitor { .. } => "visitor",
        }
    }

    /// Who exactly, for the audit trail.
    pub fn name(&self) -> String {
        match self {
            Self::Client { name, .. } => name.clone(),
            Self::Operator { uid, name } => format!("{name} (uid {uid})"),
            Self::System => "rekeyd".into(),
            Self::Visitor { source } => source.ip.to_string(),
        }
    }

    /// The address whose pace counts, if one is known.
    pub fn source(&self) -> Option<Source> {
        match self {
            Self::Client { source, .. } => *source,
            Self::Visitor { source } => Some(*source),
            Self::Operator { .. } | Self::System => None,
        }
    }
}
