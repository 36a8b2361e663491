//! Which backends of a pool get no new connections, since handshakes with them fail.

use std::net::{IpAddr, SocketAddr};

use lb_common::pool::flags;

use super::desired::{MemberFlags, Pool};

/// One of so many eligible backends at most is in quarantine: if more are dead, it may be this node
/// that is cut off.
const SHARE: usize = 2;

/// Takes backends in quarantine out of the pool's slots; they keep the connections that they have.
/// `quarantined` has the first one first, which stays out if not all of them may. The last one is
/// never taken out.
pub fn apply(pool: &mut Pool, quarantined: &[SocketAddr]) {
    if pool.flags & flags::WATCHED == 0 {
        return;
    }
    let eligible = |flags: MemberFlags| flags.has(MemberFlags::ELIGIBLE);
    let count = pool.members.iter().filter(|m| eligible(m.flags)).count();
    let mut left = count / SHARE;
    let mut any = false;
    for at in quarantined {
        if left == 0 {
            break;
        }
        let is_it = |m: &&mut super::Member| {
            SocketAddr::new(IpAddr::from(m.addr), m.port) == *at && eligible(m.flags)
        };
        if let Some(member) = pool.members.iter_mut().find(is_it) {
            member.flags = member
                .flags
                .without(MemberFlags::ELIGIBLE)
                .without(MemberFlags::OUTSIDE)
                .with(MemberFlags::QUARANTINED, true);
            (left, any) = (left - 1, true);
        }
    }
    if any {
        pool.set_slots();
    }
}

#[cfg(test)]
mod tests {
    use lb_common::{Addr, Proto};

    use super::*;
    use crate::plan::{IpFamily, Member, PoolId, TrafficPolicy, slots};

    fn pool(members: u8, flags: u16) -> Pool {
        let member = |n| Member {
            addr: Addr::v4([10, 1, 0, n]),
            port: 8080,
            flags: MemberFlags::SERVING.with(MemberFlags::ELIGIBLE, true),
        };
        Pool {
            id: PoolId {
                port: "".into(),
                proto: Proto::Tcp,
                family: IpFamily::V4,
                policy: TrafficPolicy::Cluster,
            },
            scheduler: 0,
            affinity_secs: 0,
            max_connections: 0,
            max_age_secs: 0,
            spill: None,
            grace: None,
            flags,
            source_ranges: Box::default(),
            members: (1..=members).map(member).collect(),
            share: slots::share(1),
            slots: slots::Slots::default(),
            refused: None,
        }
    }

    const NOBODY: [usize; 0] = [];

    fn out(members: u8, flags: u16, quarantined: &[u8]) -> Vec<usize> {
        let mut pool = pool(members, flags);
        let all: Vec<SocketAddr> = quarantined
            .iter()
            .map(|n| SocketAddr::from(([10, 1, 0, *n], 8080)))
            .collect();
        apply(&mut pool, &all);
        let has_slot = |n: usize| pool.slots.members.iter().any(|at| *at as usize == n - 1);
        let members = pool.members.iter().zip(1..);
        let out = members.filter(|(m, _)| m.flags.has(MemberFlags::QUARANTINED));
        out.map(|(m, n)| {
            assert!(m.flags.has(MemberFlags::SERVING) && !m.flags.has(MemberFlags::ELIGIBLE));
            assert!(!has_slot(n), "no slot either");
            n
        })
        .collect()
    }

    #[test]
    fn where_all_that_hints_prefer_are_out_the_others_are_as_any() {
        let mut pool = pool(4, flags::WATCHED);
        pool.spill = Some(150);
        for other in &mut pool.members[1..] {
            other.flags = other.flags.with(MemberFlags::OUTSIDE, true);
        }
        pool.set_slots();
        assert!(pool.slots.spill.is_some() && *pool.slots.members == [0]);
        apply(&mut pool, &[SocketAddr::from(([10, 1, 0, 1], 8080))]);
        assert!(pool.slots.spill.is_none() && *pool.slots.members == [1, 2, 3]);
        let flags = pool.members[1..].iter().map(|member| member.flags);
        let is_any = |f: MemberFlags| f.has(MemberFlags::ELIGIBLE) && !f.has(MemberFlags::OUTSIDE);
        assert!(flags.into_iter().all(is_any));
    }

    #[test]
    fn half_of_them_at_most_and_never_the_last_one() {
        let on = flags::WATCHED;
        assert_eq!(out(1, on, &[1]), NOBODY);
        assert_eq!(out(2, on, &[2, 1]), [2]);
        assert_eq!(out(3, on, &[3, 2]), [3]);
        assert_eq!(out(5, on, &[4, 9, 5, 1]), [4, 5]);
        assert_eq!(out(5, 0, &[4]), NOBODY, "not asked for");
    }
}
