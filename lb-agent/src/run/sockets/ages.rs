//! How long TCP sockets have had their backend: no record says so, so it counts from the look that
//! saw the socket first.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use lb_common::{
    Proto,
    flow::{AgeLimit, units},
    refusal::OF_AGE_PER_SECOND,
    sock::SockRecord,
};

use crate::sync::Association;

/// In seconds.
const PAUSE: u32 = 5;
const NANOSECONDS: u64 = PAUSE as u64 * 1_000_000_000;
/// Sockets are looked at this often while a Service has a limit.
pub(super) const EVERY: Duration = Duration::from_secs(PAUSE as u64);
/// So many are ended at a look: as many in a second as a CPU ends of the packet path.
const AT_ONCE: usize = (OF_AGE_PER_SECOND * PAUSE) as usize;

/// When each socket was seen first, by cookie: of Services with a limit alone.
#[derive(Debug, Default)]
pub(super) struct Ages {
    seen: HashMap<u64, Seen>,
    /// Before that none is ended, in nanoseconds.
    next: u64,
}

/// Both in [`units`].
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// When it was seen first.
    began: u32,
    /// When it was to be ended: it could not be, or it would be gone.
    tried: Option<u32>,
}

impl Ages {
    /// Takes in what there is now, and forgets what is gone. Returns the cookies of those that are too
    /// old: when there are more than may be ended at once, those that were not tried yet or longest
    /// ago, and the oldest of these. None before it is time, however often it is asked.
    pub(super) fn look(
        &mut self,
        records: &[SockRecord],
        limits: &BTreeMap<Association, AgeLimit>,
        now_ns: u64,
    ) -> BTreeSet<u64> {
        let now = units(now_ns);
        let open = records
            .iter()
            .filter(|r| r.proto == Proto::Tcp.number() && r.counted != 0 && r.closed == 0);
        let limited = open.filter_map(|r| Some((r.cookie, limits.get(&Association::of(r)?)?)));
        let mut seen = HashMap::new();
        let mut old = Vec::new();
        for (cookie, limit) in limited {
            let new = Seen {
                began: now,
                tried: None,
            };
            let known = self.seen.get(&cookie).copied().unwrap_or(new);
            seen.insert(cookie, known);
            if limit.is_over(known.began, number(cookie), now_ns) {
                let waited = known.tried.map(|at| Reverse(now.wrapping_sub(at)));
                old.push((waited, Reverse(now.wrapping_sub(known.began)), cookie));
            }
        }
        if now_ns < self.next {
            old.clear();
        } else if !old.is_empty() {
            self.next = now_ns + NANOSECONDS;
        }
        old.sort_unstable();
        old.truncate(AT_ONCE);
        for (.., cookie) in &old {
            if let Some(tried) = seen.get_mut(cookie) {
                tried.tried = Some(now);
            }
        }
        self.seen = seen;
        old.into_iter().map(|(.., cookie)| cookie).collect()
    }
}

/// A number that tells sockets of one moment apart: cookies count up.
fn number(cookie: u64) -> u32 {
    (cookie.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use lb_common::sock::kind;

    use super::*;

    fn socket(cookie: u64) -> SockRecord {
        SockRecord {
            proto: Proto::Tcp.number(),
            kind: kind::CONNECTED,
            counted: 1,
            cookie,
            ..SockRecord::CLEARED
        }
    }

    fn limits(max_age: u32) -> BTreeMap<Association, AgeLimit> {
        let limit = AgeLimit { max_age, since: 0 };
        [(Association::of(&socket(0)).unwrap(), limit)].into()
    }

    const fn at(unit: u64) -> u64 {
        unit << 32
    }

    #[test]
    fn a_socket_counts_from_when_it_was_seen_first() {
        let (mut ages, limits) = (Ages::default(), limits(10));
        let young = socket(2);
        let nobody = BTreeSet::new();
        assert_eq!(ages.look(&[socket(1)], &limits, at(1000)), nobody);
        assert_eq!(ages.look(&[socket(1), young], &limits, at(1010)), nobody);
        // Past any share of a half more.
        let seen = ages.look(&[socket(1), young], &limits, at(1016));
        assert_eq!(seen, [1].into());
        // Gone once, it is another.
        ages.look(&[young], &limits, at(1017));
        let seen = ages.look(&[socket(1), young], &limits, at(1027));
        assert_eq!(seen, [2].into());
        assert!(!ages.seen.is_empty());
        ages.look(&[socket(1)], &BTreeMap::new(), at(1100));
        assert!(ages.seen.is_empty(), "no Service has a limit");
    }

    #[test]
    fn the_oldest_go_first_and_not_all_at_once() {
        let (mut ages, limits) = (Ages::default(), limits(10));
        let all: Vec<SockRecord> = (0..1000).map(socket).collect();
        ages.look(&all[900..], &limits, at(100));
        ages.look(&all, &limits, at(110));
        let old = ages.look(&all, &limits, at(130));
        assert_eq!(old.len(), AT_ONCE);
        assert!((900..1000).all(|cookie| old.contains(&cookie)));
    }

    #[test]
    fn those_that_cannot_be_ended_leave_the_turn_to_others() {
        let (mut ages, limits) = (Ages::default(), limits(4));
        let stuck = u64::try_from(AT_ONCE).unwrap();
        let all: Vec<SockRecord> = (0..=stuck).map(socket).collect();
        ages.look(&all[..AT_ONCE], &limits, at(100));
        ages.look(&all, &limits, at(102));
        let first = ages.look(&all, &limits, at(120));
        assert!(first.len() == AT_ONCE && !first.contains(&stuck));
        let second = ages.look(&all, &limits, at(122));
        assert!(second.len() == AT_ONCE && second.contains(&stuck));
    }

    #[test]
    fn looks_that_come_sooner_end_no_more() {
        let (mut ages, limits) = (Ages::default(), limits(4));
        let all: Vec<SockRecord> = (0..1000).map(socket).collect();
        ages.look(&all, &limits, at(100));
        let begun = at(120);
        let tenths = (0..50).map(|n| begun + n * 100_000_000);
        let ended: usize = tenths.map(|now| ages.look(&all, &limits, now).len()).sum();
        assert_eq!(ended, AT_ONCE);
        assert_eq!(ages.look(&all, &limits, begun + NANOSECONDS).len(), AT_ONCE);
    }

    #[test]
    fn who_is_not_open_has_no_age() {
        let (mut ages, limits) = (Ages::default(), limits(1));
        let mut closed = socket(1);
        closed.closed = 1;
        let mut uncounted = socket(2);
        uncounted.counted = 0;
        ages.look(&[closed, uncounted], &limits, at(1));
        assert_eq!(
            ages.look(&[closed, uncounted], &limits, at(9)),
            BTreeSet::new()
        );
    }
}
