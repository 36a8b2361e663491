//! What stands behind a pool's slots where new connections may leave the members that topology hints
//! prefer. Its layout in the maps: [`lb_common::spill`].

use lb_common::{scheduler::Scheduler, spill};

use super::{Member, preferred};
use crate::model::{Policy, Service, ServiceType};

/// Whom connections may leave, for whom, and from when on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spill {
    /// What the preferred ones may have of all open connections, in 1/65536; 0: all of them.
    pub share: u16,
    /// The preferred ones: indices into the pool's members, each once.
    pub inside: Box<[u32]>,
    /// The others.
    pub outside: Box<[u32]>,
}

impl Spill {
    /// `None` where nothing would ever leave: there is nobody else, or the preferred ones have no
    /// more than so much of the average even with all connections, and are never full
    /// (`max_connections` is 0). Where the scheduler goes by weights, the average does.
    #[must_use]
    pub fn new(
        percent: u16,
        max_connections: u32,
        scheduler: Scheduler,
        members: &[Member],
    ) -> Option<Self> {
        let sides = preferred(members);
        let [ours, others] = sides.each_ref().map(|side| -> u64 {
            let weights = side.iter().map(|(_, member)| {
                if scheduler.weighs() {
                    u64::from(member.flags.weight())
                } else {
                    1
                }
            });
            weights.sum()
        });
        let most = usize::from(u16::MAX);
        if others == 0 || sides.iter().any(|side| side.len() > most) {
            return None;
        }
        let share = spill::share(percent, ours, ours + others);
        if share.is_none() && max_connections == 0 {
            return None;
        }
        let [inside, outside] = sides.map(|side| side.into_iter().map(|(at, _)| at).collect());
        Some(Self {
            share: share.unwrap_or(0),
            inside,
            outside,
        })
    }
}

/// What to say where the annotation can do nothing: a policy Local keeps to this node's endpoints,
/// and asks no hint.
pub(in crate::plan) fn problem(service: &Service) -> Option<String> {
    let is_local = |policy| policy == Policy::Local;
    let outside = service.kind != ServiceType::ClusterIp || !service.external_ips.is_empty();
    let all_local =
        is_local(service.internal_policy) && (!outside || is_local(service.external_policy));
    (service.spill.is_some() && all_local).then(|| {
        "spill: the Service's traffic policy is Local, which asks no topology hints: no connection \
         leaves this node's endpoints"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use lb_common::Addr;

    use super::*;
    use crate::{
        model::{self, ObjectKey},
        plan::desired::MemberFlags,
    };

    /// Each with its weight, and whether hints prefer it.
    fn members(all: &[(u16, bool)]) -> Vec<Member> {
        let one = |(n, (weight, preferred)): (u8, &(u16, bool))| Member {
            addr: Addr::v4([10, 0, 0, n]),
            port: 8080,
            flags: MemberFlags::ELIGIBLE
                .with(MemberFlags::SERVING, true)
                .with(MemberFlags::OUTSIDE, !preferred)
                .weighing(*weight),
        };
        (1..).zip(all).map(one).collect()
    }

    fn share(percent: u16, scheduler: Scheduler, all: &[(u16, bool)]) -> Option<u16> {
        let spill = Spill::new(percent, 0, scheduler, &members(all));
        spill.map(|spill| spill.share)
    }

    #[test]
    fn the_share_goes_by_endpoints_and_by_weights_where_the_scheduler_does() {
        let equal = [(100, true), (100, false), (100, false), (100, false)];
        // 1.5 of a fourth, in 1/65536.
        assert_eq!(share(150, Scheduler::Random, &equal), Some(24_576));
        assert_eq!(share(400, Scheduler::Random, &equal), None, "never above");
        let heavy = [(300, true), (100, false), (100, false), (100, false)];
        assert_eq!(
            share(150, Scheduler::LeastConnections, &heavy),
            Some(24_576)
        );
        assert_eq!(
            share(150, Scheduler::WeightedLeastConnections, &heavy),
            Some(49_152)
        );
    }

    #[test]
    fn a_policy_that_asks_no_hints_is_told() {
        let mut service = Service::named(ObjectKey::new("shop", "web"));
        service.internal_policy = Policy::Local;
        assert_eq!(problem(&service), None, "nothing is asked for");
        service.spill = model::Spill::parse("150%");
        assert!(problem(&service).unwrap().contains("Local"));
        service.kind = ServiceType::NodePort;
        assert_eq!(problem(&service), None, "node ports have another policy");
        service.external_policy = Policy::Local;
        assert!(problem(&service).is_some());
        service.internal_policy = Policy::Cluster;
        assert_eq!(problem(&service), None);
    }

    #[test]
    fn who_may_be_full_has_others_whatever_the_share() {
        let all = members(&[(100, true), (100, false)]);
        let spill = |most| Spill::new(400, most, Scheduler::Random, &all);
        assert_eq!(spill(0), None);
        assert_eq!(spill(10).map(|spill| spill.share), Some(0));
    }

    #[test]
    fn who_is_preferred_has_slots_and_the_others_stand_behind() {
        let all = members(&[(100, false), (100, true), (100, false)]);
        let spill = Spill::new(100, 0, Scheduler::RoundRobin, &all).unwrap();
        assert_eq!((&*spill.inside, &*spill.outside), (&[1][..], &[0, 2][..]));
        let slots = super::super::slots(Scheduler::RoundRobin, &all, 1000);
        assert_eq!(&*slots.members, [1]);
    }

    #[test]
    fn if_none_is_left_that_is_preferred_the_others_are() {
        let all = members(&[(100, false), (100, false)]);
        assert_eq!(Spill::new(100, 0, Scheduler::Random, &all), None);
        let slots = super::super::slots(Scheduler::Random, &all, 1000);
        assert_eq!(&*slots.members, [0, 1]);
    }
}
