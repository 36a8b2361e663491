//! The combinations that most behaviours hold for. A loop over them that is left early, by a panic,
//! an error or a `break`, prints where: `left at: xdp, IPv6, UDP`.

use std::{
    cell::{Cell, RefCell},
    fmt::{self, Display},
    vec,
};

use crate::{
    agent::Start,
    probe::{Family, Kind},
};

/// Both families.
pub const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
/// The protocols that every frontend can have.
pub const KINDS: [Kind; 2] = [Kind::Tcp, Kind::Udp];

/// One combination of family and protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// Of the sockets.
    pub family: Family,
    /// Their protocol.
    pub kind: Kind,
}

impl Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, kind } = self;
        write!(f, "{family}, {kind}")
    }
}

/// Where the agent of a node takes packets from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// By tc alone.
    Tc,
    /// By XDP on `eth0`, and by tc what XDP leaves.
    Xdp,
}

impl Hook {
    /// An agent with this hook.
    #[must_use]
    pub fn start(self) -> Start {
        match self {
            Self::Tc => Start::new(),
            Self::Xdp => Start::new().xdp("eth0"),
        }
    }
}

impl Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tc => "tc",
            Self::Xdp => "xdp",
        })
    }
}

/// Each family with each protocol.
#[must_use]
pub fn matrix() -> Each<Case> {
    let of = |family| KINDS.map(|kind| Case { family, kind });
    each(FAMILIES.into_iter().flat_map(of))
}

/// Both families, one after the other.
#[must_use]
pub fn families() -> Each<Family> {
    each(FAMILIES)
}

/// TCP, then UDP.
#[must_use]
pub fn kinds() -> Each<Kind> {
    each(KINDS)
}

/// By tc, then by XDP.
#[must_use]
pub fn hooks() -> Each<Hook> {
    each([Hook::Tc, Hook::Xdp])
}

/// These values, one after the other.
pub fn each<T: Display>(values: impl IntoIterator<Item = T>) -> Each<T> {
    Each {
        rest: values.into_iter().collect::<Vec<_>>().into_iter(),
        depth: None,
    }
}

thread_local! {
    /// What the loops of this thread are at, the outermost first.
    static AT: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    /// Whether the innermost of them has printed all of it.
    static PRINTED: Cell<bool> = const { Cell::new(false) };
}

/// Values of a loop that names the one it was left at.
#[derive(Debug)]
pub struct Each<T> {
    rest: vec::IntoIter<T>,
    /// Where it stands in [`AT`], once it has begun and until it has ended.
    depth: Option<usize>,
}

impl<T: Display> Iterator for Each<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        PRINTED.set(false);
        let next = self.rest.next();
        AT.with_borrow_mut(|at| {
            let depth = self.depth.take().unwrap_or(at.len());
            at.truncate(depth);
            if let Some(value) = &next {
                at.push(value.to_string());
                self.depth = Some(depth);
            }
        });
        next
    }
}

impl<T> Drop for Each<T> {
    fn drop(&mut self) {
        let Some(depth) = self.depth else { return };
        AT.with_borrow_mut(|at| {
            if !PRINTED.replace(true) {
                eprintln!("left at: {}", at.join(", "));
            }
            at.truncate(depth);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> String {
        AT.with_borrow(|at| at.join(", "))
    }

    #[test]
    fn loops_know_where_they_are_and_forget_it_at_their_end() {
        let mut seen = Vec::new();
        for _ in hooks() {
            for _ in matrix() {
                seen.push(at());
            }
            seen.push(at());
        }
        assert_eq!(seen[0], "tc, IPv4, TCP");
        assert_eq!(seen[4], "tc");
        assert_eq!(seen[8], "xdp, IPv6, UDP");
        assert_eq!(at(), "");
    }

    #[test]
    fn a_loop_that_is_left_early_prints_once_and_is_forgotten() {
        let leave = || -> Result<(), ()> {
            for hook in hooks() {
                for Case { family, kind } in matrix() {
                    if (hook, family, kind) == (Hook::Xdp, Family::V6, Kind::Tcp) {
                        return Err(());
                    }
                }
            }
            Ok(())
        };
        assert!(leave().is_err());
        assert!(PRINTED.get(), "the whole place was printed");
        assert_eq!(at(), "");
        let mut families = families();
        families.next();
        assert_eq!(at(), "IPv4");
        drop(families);
        assert_eq!(at(), "");
    }
}
