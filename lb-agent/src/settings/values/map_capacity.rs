//! The sizes of maps, as `--map-capacity MAP=N` gives them.

use std::str::FromStr;

use anyhow::{Result, ensure};
use lb_common::maps::{self, MapSpec};

/// Entries of one map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapCapacity {
    /// Which map.
    pub map: &'static MapSpec,
    /// At least 1.
    pub entries: u32,
}

impl MapCapacity {
    /// What is counted by pool index or backend id has as many entries as there are of those,
    /// unless it is named too.
    pub fn complete(mut given: Vec<Self>) -> Result<Vec<Self>> {
        for (lead, follower) in [
            (&maps::POOLS, &maps::SCHED),
            (&maps::POOLS, &maps::POOL_STATS),
            (&maps::POOLS, &maps::POOL_TCP),
            (&maps::POOLS, &maps::AFFINITY_SHARES),
            (&maps::BACKENDS, &maps::ACTIVE),
            (&maps::BACKENDS, &maps::FLOW_COUNTS),
            (&maps::BACKENDS, &maps::HANDSHAKES),
        ] {
            let of = |map| given.iter().rfind(|c| c.map == map).map(|c| c.entries);
            match (of(lead), of(follower)) {
                (Some(entries), None) => given.push(Self {
                    map: follower,
                    entries,
                }),
                (leads, Some(follows)) => {
                    let entries = leads.unwrap_or(lead.capacity);
                    ensure!(
                        follows >= entries,
                        "--map-capacity {}={follows} is less than the {entries} entries of {}, for each of which it counts: leave it out",
                        follower.name,
                        lead.name
                    );
                }
                (None, None) => {}
            }
        }
        Ok(given)
    }
}

impl FromStr for MapCapacity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, entries) = text
            .split_once('=')
            .ok_or("looks like lb_frontends=524288")?;
        let map = maps::ALL
            .iter()
            .find(|map| map.name == name && map.capacity > 1 && *map != &maps::COUNTERS)
            .ok_or_else(|| {
                if let Some(map) = MapSpec::formerly(name) {
                    return format!("{name} is called {} now", map.name);
                }
                let known: Vec<&str> = maps::ALL
                    .iter()
                    .filter(|m| m.capacity > 1 && *m != &maps::COUNTERS)
                    .map(|m| m.name)
                    .collect();
                format!("known maps are {}", known.join(", "))
            })?;
        match entries.parse() {
            Ok(entries) if entries > 0 => Ok(Self { map, entries }),
            _ => Err("the number of entries is from 1 to 4294967295".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_former_name_is_answered_with_the_present_one() {
        for (former, now) in [
            ("lb_services", "lb_frontends"),
            ("lb_svc", "lb_pools"),
            ("lb_svc_stats", "lb_pool_stats"),
        ] {
            let error = format!("{former}=9").parse::<MapCapacity>().unwrap_err();
            assert_eq!(error, format!("{former} is called {now} now"));
        }
        let error = "lb_nothing=9".parse::<MapCapacity>().unwrap_err();
        assert!(
            error.starts_with("known maps are lb_frontends, "),
            "{error}"
        );
    }

    #[test]
    fn what_is_counted_by_index_has_the_size_of_what_it_counts() {
        let all = |words: &[&str]| -> Vec<MapCapacity> {
            MapCapacity::complete(words.iter().map(|w| w.parse().unwrap()).collect()).unwrap()
        };
        assert!(MapCapacity::complete(vec!["lb_sched=9".parse().unwrap()]).is_err());
        assert_eq!(all(&["lb_slots=9"]).len(), 1);
        assert_eq!(
            all(&["lb_pools=7", "lb_backends=9", "lb_sched=8"]),
            all(&[
                "lb_pools=7",
                "lb_backends=9",
                "lb_sched=8",
                "lb_pool_stats=7",
                "lb_pool_tcp=7",
                "lb_aff_shares=7",
                "lb_active=9",
                "lb_flow_counts=9",
                "lb_handshakes=9"
            ])
        );
    }
}
