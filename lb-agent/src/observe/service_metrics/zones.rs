//! The names of zones, each once, so that a backend names its own in two bytes.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

/// A zone of [`Zones`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Zone(u16);

impl Zone {
    /// Of what no slice says where it is. Behind every zone in their order.
    pub(super) const NONE: Self = Self(u16::MAX);

    /// Its name in [`Zones::names`]; none has an empty one.
    pub(super) fn name(self, names: &[Arc<str>]) -> &str {
        names.get(usize::from(self.0)).map_or("", |name| name)
    }
}

/// Every zone that a backend was ever in. A cluster has a few; of more than can be counted, the rest
/// are none.
#[derive(Debug, Default)]
pub(super) struct Zones {
    names: Vec<Arc<str>>,
    known: HashMap<Arc<str>, Zone>,
}

impl Zones {
    /// The zone of this name.
    pub(super) fn zone(&mut self, name: &Arc<str>) -> Zone {
        match self.known.entry(Arc::clone(name)) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => match u16::try_from(self.names.len()).map(Zone) {
                Ok(zone) if zone != Zone::NONE => {
                    self.names.push(Arc::clone(name));
                    *new.insert(zone)
                }
                _ => Zone::NONE,
            },
        }
    }

    /// By zone.
    pub(super) fn names(&self) -> &[Arc<str>] {
        &self.names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_beyond_the_last_one_is_none() {
        let mut zones = Zones::default();
        let all: Vec<Zone> = (0..=u16::MAX)
            .map(|n| zones.zone(&n.to_string().into()))
            .collect();
        assert_eq!(zones.zone(&"7".into()), all[7]);
        let names = |zone: Zone| zone.name(zones.names());
        assert_eq!(
            [all[7], all[65_534], all[65_535]].map(names),
            ["7", "65534", ""]
        );
    }
}
