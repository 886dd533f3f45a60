//! What a world is made of, and how it starts.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, Mutex, atomic::AtomicBool},
};

use data_encoding::BASE64;
use ring::digest;

use crate::{
    branch::{Branch, PASSWORD},
    estate::Estate,
    ground::Ground,
    process::free_port,
    scratch,
    slapd::{SERVICE_PASSWORD, Slapd, Variant},
    smtp::{self, Smtp, Tls},
    world::World,
    world_config::Way,
};

/// What a world is made of. Made by [`World::builder`].
pub struct Builder {
    directory: Kind,
    way: Way,
    mail: Option<Tls>,
    settings: BTreeMap<String, String>,
}

enum Kind {
    Estate(Arc<Estate>),
    Given(Arc<Slapd>),
    Shared(Variant),
}

impl Default for Builder {
    /// A shared directory with a password policy, spoken to over `ldaps://`, and mail over STARTTLS.
    fn default() -> Self {
        Self {
            directory: Kind::Shared(Variant::Policy),
            way: Way::Ldaps,
            mail: Some(Tls::StartTls),
            settings: BTreeMap::new(),
        }
    }
}

impl Builder {
    /// Stands on the shared server of this kind, in a branch of its own.
    #[must_use]
    pub fn shared(mut self, variant: Variant) -> Self {
        self.directory = Kind::Shared(variant);
        self
    }

    /// Stands on this server, which the test may stop.
    #[must_use]
    pub fn slapd(mut self, slapd: &Arc<Slapd>) -> Self {
        self.directory = Kind::Given(Arc::clone(slapd));
        self
    }

    /// Stands on this estate, goes to it over `ldaps://`, and is who the estate lets in.
    #[must_use]
    pub fn estate(mut self, estate: &Arc<Estate>) -> Self {
        self.directory = Kind::Estate(Arc::clone(estate));
        self
    }

    /// Goes this way to the directory.
    #[must_use]
    pub fn way(mut self, way: Way) -> Self {
        self.way = way;
        self
    }

    /// Sends mail to a server that speaks TLS like this.
    #[must_use]
    pub fn smtp(mut self, tls: Tls) -> Self {
        self.mail = Some(tls);
        self
    }

    /// Writes mail into a folder instead of sending it.
    #[must_use]
    pub fn mail_folder(mut self) -> Self {
        self.mail = None;
        self
    }

    /// Sets a key of the configuration, such as `policy.paces.account`, to a value as it is written in the file.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Starts everything, and waits until the daemon is ready.
    pub async fn start(self) -> World {
        let world = self.prepare().await;
        for _ in 0..5 {
            world.launch();
            if world.becomes_ready().await {
                return world;
            }
            let taken = world.log().contains("in use");
            assert!(taken, "the daemon does not start:\n{}", world.log());
            world.moves_to(free_port());
        }
        panic!("no free port for the daemon");
    }

    /// Makes everything but the daemon, which the test starts itself, by [`World::launch`] or otherwise.
    pub async fn prepare(self) -> World {
        let ground = match self.directory {
            Kind::Estate(estate) => Ground::Estate(estate),
            Kind::Given(slapd) => Ground::Branch(Branch::grow(&slapd).await),
            Kind::Shared(variant) => Ground::Branch(Branch::grow(&Slapd::shared(variant).await).await),
        };
        let bind = match &ground {
            Ground::Branch(_) => SERVICE_PASSWORD.to_owned(),
            Ground::Estate(estate) => estate.service_password.clone(),
        };
        let smtp = match self.mail {
            Some(tls) => Some(Smtp::start(tls).await),
            None => None,
        };
        let folder = scratch::folder("w");
        for part in ["state", "secrets", "mail", "epoch"] {
            fs::create_dir(folder.join(part)).expect("a new folder");
            fs::set_permissions(folder.join(part), fs::Permissions::from_mode(0o700)).expect("permissions");
        }
        let number = scratch::next();
        let key = format!("hook-key-{}-{number}", std::process::id());
        let ring = BASE64.encode(digest::digest(&digest::SHA256, format!("the ring of {key}").as_bytes()).as_ref());
        for (name, secret) in [("bind", bind.as_str()), ("smtp", smtp::PASSWORD), ("hook", &key), ("keys", &ring)] {
            write_secret(&folder.join("secrets").join(name), secret);
        }
        let known = [PASSWORD, &bind, smtp::PASSWORD, &key, &ring].map(str::to_owned);
        let world = World {
            address: Mutex::new(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()))),
            folder,
            ground,
            key,
            may_leave_mail: AtomicBool::new(false),
            process: Mutex::new(None),
            secrets: Mutex::new(known.into()),
            settings: Mutex::new(self.settings),
            smtp,
            surroundings: Mutex::default(),
            way: self.way,
        };
        world.write_config();
        world
    }
}

/// Writes a file that nobody else may read.
pub fn write_secret(file: &Path, secret: &str) {
    fs::write(file, secret).expect("a written file");
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("permissions");
}
