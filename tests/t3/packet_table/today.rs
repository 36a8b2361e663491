//! What a marked row sees today instead of what it says: a statement as exact as the row's own.

use std::ops::RangeInclusive;

use lb_common::Reason;

use crate::packet_table::{
    expect::Then,
    packet::{Tuple, icmp_sum, transport, tuple},
    row::Counted,
    stage::Place,
};

/// What one packet of a row sees today.
#[derive(Clone, Debug)]
pub(crate) struct Today {
    /// The packets of the row, counted from 1, of which one is the first to differ; `None`: the
    /// last one.
    packets: Option<RangeInclusive<usize>>,
    pub(crate) then: Then,
    pub(crate) counted: Vec<Reason>,
    pub(crate) place: Option<Place>,
    pub(crate) flaw: Option<Flaw>,
}

/// Bytes that today differ from those of a right translation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flaw {
    /// The quoted packet of an ICMP error keeps the checksum that it had before its translation.
    QuotedSumKept,
}

/// Of the row's last packet becomes that, and this is counted.
pub(crate) fn today(then: Then, counted: impl Counted) -> Today {
    Today {
        packets: None,
        then,
        counted: counted.reasons(),
        place: None,
        flaw: None,
    }
}

impl Today {
    /// It is this packet of the row that differs first.
    pub(crate) fn of(mut self, packet: usize) -> Self {
        self.packets = Some(packet..=packet);
        self
    }

    /// Flow records stand there afterwards.
    pub(crate) fn records(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// Its bytes are right but for this.
    pub(crate) fn but(mut self, flaw: Flaw) -> Self {
        self.flaw = Some(flaw);
        self
    }

    /// Does it speak of this packet of a row of so many?
    pub(crate) fn is_of(&self, packet: usize, all: usize) -> bool {
        self.packets
            .as_ref()
            .map_or(packet == all, |some| some.contains(&packet))
    }
}

impl Flaw {
    /// Puts the flaw into the bytes of a right translation of `sent`; both from the network header
    /// on. `None` where there is no such sum.
    pub(crate) fn put(self, right: &mut [u8], sent: &[u8]) -> Option<()> {
        match self {
            Self::QuotedSumKept => {
                let header = transport(right)?.at;
                let quote = header + 8;
                let quoted = transport(sent.get(quote..)?)?;
                let sum = match quoted.protocol {
                    6 => 16..18,
                    17 => 6..8,
                    132 => 8..12,
                    _ => return None,
                };
                let start = quote + quoted.at;
                let sum = start + sum.start..start + sum.end;
                right.get_mut(sum.clone())?.copy_from_slice(sent.get(sum)?);
                let ends: Tuple = tuple(right)?;
                icmp_sum(right, header, &ends)
            }
        }
    }
}
