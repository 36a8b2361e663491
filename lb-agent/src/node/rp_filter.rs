//! The kernel's reverse path filter of a device (RFC 3704), which packets that our programs send on
//! do not pass.

use std::{fs, path::Path, time::Duration};

use tokio::time::sleep;

use super::facts::Facts;
use crate::model::{Device, RpFilter};

/// Where the settings are.
const CONF: &str = "/proc/sys/net/ipv4/conf";

/// No change of a setting is announced in a form that netlink's library reads.
const LOOK: Duration = Duration::from_secs(2);

/// Notes on which devices the filter is strict. It is of IPv4 alone.
pub(super) fn note(facts: &Facts, devices: &mut [Device]) {
    for device in devices {
        let ifindex = device.ifindex;
        let strict = is_strict(Path::new(CONF), &device.name) && !shares_routes(facts, ifindex);
        device.rp_filter = if strict {
            RpFilter::Strict
        } else {
            RpFilter::Loose
        };
    }
}

/// The setting of each device.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Settings(Vec<(String, bool)>);

impl Settings {
    /// As they are now.
    pub(super) fn read<'a>(devices: impl Iterator<Item = &'a Device>) -> Self {
        Self::of(devices.map(|device| device.name.clone()))
    }

    fn of(names: impl Iterator<Item = String>) -> Self {
        let read = |name: String| {
            let strict = is_strict(Path::new(CONF), &name);
            (name, strict)
        };
        Self(names.map(read).collect())
    }

    /// Returns when they are others.
    pub(super) async fn changed(&self) {
        let Self(known) = self;
        while Self::of(known.iter().map(|(name, _)| name.clone())) == *self {
            sleep(LOOK).await;
        }
    }
}

/// 1 is strict, 2 loose, 0 off, and the larger one of the device's and of `all` holds.
fn is_strict(conf: &Path, device: &str) -> bool {
    let read = |name: &str| -> u8 {
        let text = fs::read_to_string(conf.join(name).join("rp_filter"));
        text.ok().and_then(|t| t.trim().parse().ok()).unwrap_or(0)
    };
    read("all").max(read(device)) == 1
}

/// Do routes have this device as one of several next hops? The kernel's filter takes a packet from
/// any of them, and the programs see but one.
fn shares_routes(facts: &Facts, ifindex: u32) -> bool {
    let mut routes = facts.routes.iter();
    routes.any(|r| r.multipath && r.ifindex == ifindex)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::facts::Route;

    #[test]
    fn the_larger_setting_holds_and_one_alone_is_strict() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, value: u8| {
            let dir = dir.path().join(name);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("rp_filter"), format!("{value}\n")).unwrap();
        };
        for all in 0..=2 {
            for own in 0..=2 {
                put("all", all);
                put("eth0", own);
                assert_eq!(is_strict(dir.path(), "eth0"), all.max(own) == 1);
            }
        }
        put("all", 1);
        assert!(is_strict(dir.path(), "gone"), "that of all is enough");
    }

    #[test]
    fn one_of_several_next_hops_is_never_strict() {
        let route = |ifindex, multipath| Route {
            ifindex,
            multipath,
            ..Route::default()
        };
        let facts = Facts {
            routes: vec![route(2, true), route(3, false)],
            ..Facts::default()
        };
        assert!(shares_routes(&facts, 2));
        assert!(!shares_routes(&facts, 3));
    }
}
