//! How packets differ: how many flows, how long, whether they are answered, and how often each kind
//! is measured.

use crate::frame::{Metric, Step};

/// Without the wire's own sum of four bytes.
pub(super) const SMALL: usize = 60;
const LARGE: usize = 1400;

/// From so many flows on, those of other rows must make room.
const CROWD: u32 = 100_000;
/// To wake them takes longer than all the rest: they are woken once in a round, in so many rounds,
/// and all of them are sent in one block.
const CROWDED_ROUNDS: usize = 3;
/// Frames of a block, and with `--quick`.
const FRAMES: u32 = 60_000;
const QUICK_FRAMES: u32 = 30_000;

/// How packets differ.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    pub(super) metrics: &'static [Metric],
    /// The number of flows, a power of two, less one.
    pub(super) mask: u32,
    pub(super) length: usize,
    /// Counted where they come back.
    pub(super) replies: bool,
}

impl Kind {
    /// So many flows that waking them is what takes the time.
    pub(super) const fn is_crowd(self) -> bool {
        self.mask > CROWD && !self.is_new()
    }

    /// No flow is ever seen again.
    pub(super) const fn is_new(self) -> bool {
        self.mask == u32::MAX
    }

    /// As the frame takes it.
    pub(super) fn step(&self) -> Step {
        if self.is_crowd() {
            Step::few(self.metrics, CROWDED_ROUNDS)
        } else {
            Step::new(self.metrics)
        }
    }

    /// In a block.
    pub(super) fn frames(self, quick: bool) -> u32 {
        match (self.is_crowd(), quick) {
            (true, _) => self.mask + 1,
            (false, true) => QUICK_FRAMES,
            (false, false) => FRAMES,
        }
    }
}

const fn kpps(name: &'static str) -> Metric {
    Metric {
        name,
        unit: "thousand/s",
    }
}

pub(super) const MANY: &str = "16k flows";
pub(super) const NEW: &str = "new flows";

pub(super) const KINDS: [Kind; 6] = [
    kind(&[kpps("1 flow")], 0, SMALL, false),
    kind(&[kpps(MANY)], 0x3fff, SMALL, false),
    kind(&[kpps("256k flows")], 0x3_ffff, SMALL, false),
    kind(&[kpps(NEW)], u32::MAX, SMALL, false),
    kind(&[kpps("16k flows of 1400 bytes")], 0x3fff, LARGE, false),
    kind(&[kpps("16k flows, there and back")], 0x3fff, SMALL, true),
];

const fn kind(metrics: &'static [Metric], mask: u32, length: usize, replies: bool) -> Kind {
    Kind {
        metrics,
        mask,
        length,
        replies,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_crowd_has_fewer_rounds_and_all_of_it_is_sent() {
        let crowds: Vec<_> = KINDS.iter().filter(|kind| kind.is_crowd()).collect();
        let [crowd] = crowds.as_slice() else {
            panic!("{crowds:?}")
        };
        assert_eq!(crowd.step().few, Some(CROWDED_ROUNDS));
        assert_eq!(crowd.frames(false), 256 * 1024);
        let new = KINDS.iter().find(|kind| kind.is_new()).unwrap();
        assert_eq!((new.step().few, new.frames(false)), (None, FRAMES));
    }
}
