//! Which ports a rewritten source may get: what `lb_ports` holds. Pure.

use std::ops::RangeInclusive;

use lb_common::flow::{PortRange, PortRanges, RANGES};

use crate::settings::values::{self, SnatPorts};

/// Below it are the ports of services that everybody knows.
const FIRST: u16 = 1024;

/// What the choice depends on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Taken {
    /// `--snat-ports`
    pub words: Vec<SnatPorts>,
    /// `net.ipv4.ip_local_port_range`: the ports that the kernel gives to sockets by itself.
    pub local: RangeInclusive<u16>,
    /// `net.ipv4.ip_local_reserved_ports`: ports that it leaves out, since someone wants them.
    pub reserved: Vec<RangeInclusive<u16>>,
    /// The cluster's node ports.
    pub node_ports: values::PortRange,
    /// Node ports of Services, wherever they are.
    pub programmed: Vec<u16>,
}

impl Taken {
    /// The free ports: the largest ranges, as many as fit, in order.
    #[must_use]
    pub fn free(&self) -> PortRanges {
        let mut free = vec![false; 1 << 16];
        for word in &self.words {
            match word {
                SnatPorts::Auto => {
                    let mut auto = vec![false; 1 << 16];
                    set(&mut auto, FIRST..=u16::MAX, true);
                    set(&mut auto, self.local.clone(), false);
                    for range in &self.reserved {
                        set(&mut auto, range.clone(), false);
                    }
                    for (all, auto) in free.iter_mut().zip(auto) {
                        *all |= auto;
                    }
                }
                SnatPorts::Range(range) => set(&mut free, range.ports(), true),
            }
        }
        set(&mut free, self.node_ports.ports(), false);
        for port in &self.programmed {
            set(&mut free, *port..=*port, false);
        }
        let mut ranges = ranges(&free);
        ranges.sort_by_key(|range| std::cmp::Reverse(range.count));
        ranges.truncate(RANGES);
        ranges.sort_by_key(|range| range.first);
        PortRanges::new(&ranges)
    }
}

fn set(ports: &mut [bool], range: RangeInclusive<u16>, to: bool) {
    for port in range {
        if let Some(port) = ports.get_mut(usize::from(port)) {
            *port = to;
        }
    }
}

/// Ports in a row; a count holds less than all of them, since 0 is never free.
fn ranges(free: &[bool]) -> Vec<PortRange> {
    let mut ranges: Vec<PortRange> = Vec::new();
    for port in (1..=u16::MAX).filter(|port| free.get(usize::from(*port)) == Some(&true)) {
        match ranges.last_mut() {
            Some(PortRange { first, count })
                if u32::from(*first) + u32::from(*count) == u32::from(port) =>
            {
                *count += 1;
            }
            _ => ranges.push(PortRange {
                first: port,
                count: 1,
            }),
        }
    }
    ranges
}

/// Two numbers, as `ip_local_port_range` shows them.
#[must_use]
pub fn local_range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut numbers = text.split_whitespace().map(str::parse::<u16>);
    match (numbers.next()?, numbers.next()?) {
        (Ok(first), Ok(last)) => Some(first..=last),
        _ => None,
    }
}

/// Ports and ranges between commas, as `ip_local_reserved_ports` shows them; empty: none.
#[must_use]
pub fn reserved_ranges(text: &str) -> Option<Vec<RangeInclusive<u16>>> {
    let words = text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty());
    words
        .map(|word| {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            Some(first.parse().ok()?..=last.parse().ok()?)
        })
        .collect()
}

/// For people: `1024-29999, 61000-65535`.
#[must_use]
pub fn in_words(ports: &PortRanges) -> String {
    let used = ports.ranges.iter().filter(|range| range.count > 0);
    let words: Vec<String> = used
        .map(|PortRange { first, count }| match count {
            1 => first.to_string(),
            count => format!("{first}-{}", first.saturating_add(count - 1)),
        })
        .collect();
    if words.is_empty() {
        return "none".to_owned();
    }
    words.join(", ")
}

#[cfg(test)]
mod tests;
