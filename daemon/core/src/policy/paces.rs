//! How often somebody may ask: the limits of `[policy.pace]`, and of networks whose many people share a few addresses.

use std::time::Duration;

use ipnet::IpNet;

use crate::policy::pace::Quota;
use crate::policy::rules::{Layer, refuse_general};
use crate::settings::Section;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const TEN_MINUTES: Duration = Duration::from_mins(10);

/// How often somebody may ask.
#[derive(Clone, Copy, Debug)]
pub struct Paces {
    /// Requests from one address (IPv6: one /64).
    pub source: Quota,
    /// Requests from one wider network (IPv6: one /48).
    pub network: Quota,
    /// Messages to one account.
    pub account: Quota,
    /// Messages to one account in a day.
    pub account_day: Quota,
    /// Messages to one address in a day.
    pub contact_day: Quota,
    /// After the day's budget still so many, so that a stranger who uses it up can't shut the person out.
    pub account_spent: Quota,
    /// The same message again, after a merged request.
    pub resend: Quota,
    /// Sign-ins from one address.
    pub sign_in: Quota,
    /// Everything that one login page asks for, whoever it asks for: what a stolen key can do at most.
    pub client: Quota,
}

/// A place whose many people share a few addresses (a school, a campus behind NAT): it has one limit of its own.
#[derive(Clone, Debug)]
pub struct SharedNetwork {
    /// Its name; all its networks count as one.
    pub name: String,
    /// Where its people come from.
    pub networks: Vec<IpNet>,
    /// Requests from all of it together.
    pub source: Quota,
}

impl SharedNetwork {
    pub(super) fn read(section: Section<'_>) -> Self {
        let remedy = "Write a network such as \"192.0.2.0/24\" or \"2001:db8::/32\".";
        let network = |text: &str| text.parse::<IpNet>().map_err(|_| "it is no network".to_owned());
        let read = Self {
            name: section.required("name", "Name the place.").unwrap_or_default(),
            networks: section.list("networks", remedy, network).unwrap_or_default(),
            source: quota(&section, "source", Quota { count: 600, per: TEN_MINUTES }),
        };
        section.finish();
        read
    }
}

impl Paces {
    pub(super) const BUILT_IN: Self = Self {
        source: Quota { count: 20, per: TEN_MINUTES },
        network: Quota { count: 160, per: TEN_MINUTES },
        account: Quota { count: 3, per: HOUR },
        account_day: Quota { count: 6, per: DAY },
        contact_day: Quota { count: 12, per: DAY },
        account_spent: Quota { count: 1, per: HOUR },
        resend: Quota { count: 1, per: MINUTE },
        sign_in: Quota { count: 600, per: TEN_MINUTES },
        client: Quota { count: 60_000, per: TEN_MINUTES },
    };

    pub(super) fn layered(self, section: Section<'_>, layer: Layer) -> Self {
        if layer == Layer::Directory {
            refuse_general(&section, &["source", "network", "sign_in", "client"]);
        }
        let paces = Self {
            source: quota(&section, "source", self.source),
            network: quota(&section, "network", self.network),
            account: quota(&section, "account", self.account),
            account_day: quota(&section, "account_day", self.account_day),
            contact_day: quota(&section, "contact_day", self.contact_day),
            account_spent: quota(&section, "account_spent", self.account_spent),
            resend: quota(&section, "resend", self.resend),
            sign_in: quota(&section, "sign_in", self.sign_in),
            client: quota(&section, "client", self.client),
        };
        section.finish();
        paces
    }
}

/// Reads a quota such as `"20 in 10m"`.
fn quota(section: &Section<'_>, key: &'static str, default: Quota) -> Quota {
    section
        .parsed(key, "Write a quota such as \"20 in 10m\"; limits can be wide, never off.", |text| {
            let (count, per) = text.split_once(" in ").ok_or("it is no quota")?;
            let count: u32 = count.trim().parse().map_err(|_| "its count is no whole number")?;
            let per = crate::settings::parse_duration(per.trim()).ok_or("its time is no length of time")?;
            if count == 0 || per.is_zero() || per > 7 * DAY {
                return Err("it is out of range".into());
            }
            Ok(Quota { count, per })
        })
        .unwrap_or(default)
}
