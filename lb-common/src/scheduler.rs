//! How a backend is chosen for a new connection: one row a scheduler, for kernel, agent and CLI.

/// Which number a scheduler goes by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// A random number, or a keyed hash of the 5-tuple in the packet path.
    Random,
    /// The pool's cursor before it was advanced.
    Cursor,
    /// A keyed hash of the client's address.
    SourceHash,
    /// How many connections the backends have (see [`least`](crate::least)), and a random number.
    Load,
}

macro_rules! schedulers {
    ($($(#[doc = $doc:literal])+ $variant:ident = $n:literal, $name:literal, $need:ident;)+) => {
        /// The schedulers that work. [`Pool::scheduler`](crate::pool::Pool::scheduler) holds the
        /// number; numbers are never reused for another meaning.
        ///
        /// The programs must have some answer for a number that is not in the list, since the map
        /// may have been written by an agent of another version: they choose as
        /// [`Scheduler::Random`] does. The agent refuses a name that is not in the list, and the
        /// CLI shows an unknown number as `?`.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum Scheduler {
            $($(#[doc = $doc])+ $variant = $n,)+
        }

        impl Scheduler {
            /// Every scheduler, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name that ipvsadm has for it: in annotations, flags, files and tables.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// One sentence for people.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+)),+ }
            }

            /// What it looks at.
            #[must_use]
            pub const fn needs(self) -> Need {
                match self { $(Self::$variant => Need::$need),+ }
            }

            /// The scheduler of this number, or `None` if it is not in the list.
            #[inline(always)]
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($n => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

schedulers! {
    /// A backend at random, by weight; packets of one flow always choose the same.
    Random = 0, "random", Random;
    /// The backends in turn.
    RoundRobin = 1, "rr", Cursor;
    /// The backends in turn, each as often as its weight says, in the order of IPVS.
    WeightedRoundRobin = 2, "wrr", Cursor;
    /// The backend with the fewest connections.
    LeastConnections = 3, "lc", Load;
    /// The backend with the fewest connections for its weight.
    WeightedLeastConnections = 4, "wlc", Load;
    /// By a hash of the client's address: a client stays with its backend while the backends stay.
    SourceHash = 5, "sh", SourceHash;
    /// By a table of hashes that all nodes share: a flow finds the same backend on each of them, and few move when backends come or go.
    Maglev = 6, "maglev", Random;
    /// Of two backends at random the one with fewer connections for its weight.
    TwoChoices = 7, "p2c", Load;
}

#[expect(
    clippy::derivable_impls,
    reason = "the rows of the list carry no attribute of one variant"
)]
impl Default for Scheduler {
    fn default() -> Self {
        Self::Random
    }
}

impl Scheduler {
    /// The number in `lb_pools`.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Do weights decide how much a backend gets? (Weight 0 takes it out with all of them.)
    #[must_use]
    pub const fn weighs(self) -> bool {
        match self {
            Self::Random
            | Self::WeightedRoundRobin
            | Self::WeightedLeastConnections
            | Self::Maglev
            | Self::TwoChoices => true,
            Self::RoundRobin | Self::LeastConnections | Self::SourceHash => false,
        }
    }

    /// The scheduler of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|s| s.name() == name)
    }

    /// Every name, for messages: `random, rr, sh`.
    #[cfg(any(feature = "user", test))]
    #[must_use]
    pub fn names() -> String {
        let names: Vec<&str> = Self::ALL.iter().map(|s| s.name()).collect();
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_lead_back_to_their_scheduler() {
        for (n, s) in Scheduler::ALL.iter().enumerate() {
            assert_eq!(Scheduler::from_number(s.number()), Some(*s));
            assert_eq!(Scheduler::parse(s.name()), Some(*s));
            assert!(Scheduler::ALL[..n].iter().all(|before| before < s));
        }
        assert_eq!(Scheduler::parse("mh"), None);
        assert_eq!(
            Scheduler::names(),
            "random, rr, wrr, lc, wlc, sh, maglev, p2c"
        );
    }
}
