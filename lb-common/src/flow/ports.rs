//! Ports for rewritten sources. Layout of `lb_ports`.

/// Ranges that `lb_ports` holds at most.
pub const RANGES: usize = 8;

/// Ports in a row.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct PortRange {
    /// The first port, host byte order.
    pub first: u16,
    /// How many there are.
    pub count: u16,
}

/// The one value of `lb_ports`: every port that a rewritten source may get besides the client's
/// own. Written by the agent, which leaves out the ports that the kernel gives to the node's own
/// sockets (`ip_local_port_range`), node ports, and reserved ones.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct PortRanges {
    /// Ports in all ranges together; 0 until the agent has written it.
    pub total: u32,
    /// Reserved, zero.
    pub pad: u32,
    /// Unused ranges have no port.
    pub ranges: [PortRange; RANGES],
}

const _: () = assert!(size_of::<PortRanges>() == 40);

impl PortRanges {
    /// These ranges; those beyond [`RANGES`] are left out.
    #[must_use]
    pub fn new(list: &[PortRange]) -> Self {
        let mut ranges = [PortRange::default(); RANGES];
        let mut total = 0;
        for (to, from) in ranges.iter_mut().zip(list) {
            *to = *from;
            total += u32::from(from.count);
        }
        Self {
            total,
            pad: 0,
            ranges,
        }
    }

    /// The `n`th port, for an `n` below `total`.
    #[inline(always)]
    #[must_use]
    pub fn nth(&self, n: u32) -> u16 {
        let mut n = n;
        let mut i = 0;
        while i < RANGES {
            let PortRange { first, count } = self.ranges[i];
            if n < u32::from(count) {
                #[expect(clippy::cast_possible_truncation, reason = "less than a count")]
                return first.wrapping_add(n as u16);
            }
            n -= u32::from(count);
            i += 1;
        }
        self.ranges[0].first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_of_every_range_is_reached_once() {
        let ports = PortRanges::new(&[
            PortRange {
                first: 1024,
                count: 3,
            },
            PortRange {
                first: 61000,
                count: 2,
            },
        ]);
        assert_eq!(ports.total, 5);
        let all: Vec<_> = (0..ports.total).map(|n| ports.nth(n)).collect();
        assert_eq!(all, [1024, 1025, 1026, 61000, 61001]);
    }

    #[test]
    fn the_last_port_of_all_is_reached() {
        let ports = PortRanges::new(&[PortRange {
            first: 65535,
            count: 1,
        }]);
        assert_eq!(ports.nth(0), 65535);
    }
}
