use super::*;
use crate::model::{Endpoint, Weights, testing::key};

/// A plan of two endpoints of these weights behind so many ports.
fn planned(ports: u16, weights: &str, scheduler: Scheduler) -> ServicePlan {
    let names: Vec<String> = (1..=ports).map(|n| format!("p{n:05}")).collect();
    let mut service = Service::cluster_ip("web", "10.96.0.1").scheduled(scheduler);
    service.weights = Weights::parse(weights).0;
    let mut slice = Slice::new(key("web-a"), "web")
        .endpoints(["10.1.0.1", "10.1.0.2"].map(Endpoint::ready))
        .endpoints([Endpoint::ready("10.1.0.3").on("n1")]);
    for (name, port) in names.iter().zip(1..) {
        service = service.port(name, Proto::Tcp, port);
        slice = slice.port(name, Proto::Tcp, port);
    }
    plan(&service, &[slice.into()], None, &PlanConfig::default())
}

fn count(plan: &ServicePlan) -> usize {
    let slots = plan.pools.iter().map(|pool| pool.slots.members.len());
    slots.sum()
}

#[test]
fn a_service_of_many_ports_has_a_bounded_number_of_slots_and_says_so() {
    for scheduler in [Scheduler::WeightedRoundRobin, Scheduler::Maglev] {
        let mut plan = planned(2000, "node=n1:4094,*:1", scheduler);
        assert!(count(&plan) <= slots::OF_A_SERVICE, "{}", count(&plan));
        let [problem] = &plan.problems[..] else {
            panic!("{:?}", plan.problems);
        };
        assert!(
            problem.starts_with("ports: 2000 of its 2000 pools"),
            "{problem}"
        );
        for pool in &mut plan.pools {
            pool.flags |= flags::WATCHED;
            quarantine::apply(pool, &["10.1.0.1:1".parse().expect("an address")]);
        }
        assert!(count(&plan) <= slots::OF_A_SERVICE, "{}", count(&plan));
    }
    let plan = planned(60, "node=n1:4094,*:1", Scheduler::WeightedRoundRobin);
    assert_eq!((count(&plan), &plan.problems[..]), (60 * 4096, &[][..]));
}

#[test]
fn ports_whose_weights_are_too_many_turns_share_a_sentence() {
    let plan = planned(5, "node=n1:65535,*:1", Scheduler::WeightedRoundRobin);
    let [problem] = &plan.problems[..] else {
        panic!("{:?}", plan.problems);
    };
    let start = r#"ports "p00001", "p00002", "p00003" and 2 more: weights: a round of 3 backends"#;
    assert!(problem.starts_with(start), "{problem}");
}
