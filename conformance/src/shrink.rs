//! The making of smaller plans from one that differs, until none of them does: what is left is what
//! matters.

use anyhow::Result;
use testbed::probe::Family;

use crate::{
    plan::{Endpoint, Plan, Slice, Svc, Type},
    question::Question,
    round::{self, Asked},
    setup::Testbed,
};

/// Rounds of smaller plans: each halves or so what is left to try.
const ROUNDS: usize = 30;

/// The smallest plan found that still differs, asked like this.
pub fn shrink(bed: &mut Testbed, plan: &Plan, asked: &Question) -> Result<Plan> {
    let asked = &Asked::Like(Box::new(asked.clone()));
    let mut best = plan.clone();
    for _ in 0..ROUNDS {
        let Some(found) = first_that_differs(bed, &smaller(&best), asked)? else {
            break;
        };
        best = found;
    }
    Ok(best)
}

fn first_that_differs(bed: &mut Testbed, plans: &[Plan], asked: &Asked) -> Result<Option<Plan>> {
    for side_by_side in plans.chunks(bed.room()) {
        let score = round::run(bed, side_by_side, asked)?;
        let first = score.differences().map(|one| one.plan).min();
        if let Some(found) = first.and_then(|plan| side_by_side.get(plan)) {
            return Ok(Some(found.clone()));
        }
    }
    Ok(None)
}

/// Every plan that is one step smaller, the boldest steps first.
#[must_use]
pub fn smaller(plan: &Plan) -> Vec<Plan> {
    let mut plans = Vec::new();
    let mut add = |states: Vec<Vec<Option<Svc>>>| {
        let is_whole = |svc: &Svc| !svc.families.is_empty();
        let mut svcs = states.iter().flatten().flatten().peekable();
        if states != plan.states && svcs.peek().is_some() && svcs.all(is_whole) {
            plans.push(Plan {
                name: plan.name.clone(),
                states,
            });
        }
    };
    for state in 0..plan.states.len() {
        add(plan.states.get(state..).unwrap_or_default().to_vec());
        add(plan.states.get(..state).unwrap_or_default().to_vec());
        let mut without = plan.states.clone();
        without.remove(state);
        add(without);
    }
    let services = plan.states.iter().map(Vec::len).max().unwrap_or(0);
    for position in 0..services {
        add(each(plan, |at, svc| (at != position).then(|| svc.clone())));
    }
    for step in STEPS {
        for position in 0..services {
            add(each(plan, |at, svc| {
                let mut svc = svc.clone();
                if at == position {
                    step(&mut svc);
                    svc.tell_twins_apart();
                }
                Some(svc)
            }));
        }
    }
    plans
}

fn each(plan: &Plan, change: impl Fn(usize, &Svc) -> Option<Svc>) -> Vec<Vec<Option<Svc>>> {
    let state = |state: &Vec<Option<Svc>>| {
        let svcs = state.iter().enumerate();
        svcs.map(|(at, svc)| change(at, svc.as_ref()?)).collect()
    };
    plan.states.iter().map(state).collect()
}

/// Ways to make a Service smaller; one that changes nothing is not tried.
const STEPS: &[fn(&mut Svc)] = &[
    |svc| svc.families.retain(|family| *family == Family::V4),
    |svc| svc.families.retain(|family| *family == Family::V6),
    |svc| keep_port(svc, 0),
    |svc| keep_port(svc, 1),
    |svc| {
        svc.slices.truncate(1);
    },
    |svc| {
        if svc.slices.len() > 1 {
            svc.slices.remove(0);
        }
    },
    |svc| svc.slices.clear(),
    |svc| each_slice(svc, |slice| slice.endpoints.truncate(1)),
    |svc| {
        each_slice(svc, |slice| {
            slice.endpoints.truncate(slice.endpoints.len() / 2);
        });
    },
    |svc| {
        each_slice(svc, |slice| {
            slice.endpoints.pop();
        });
    },
    |svc| {
        each_slice(svc, |slice| {
            if !slice.endpoints.is_empty() {
                slice.endpoints.remove(0);
            }
        });
    },
    |svc| {
        each_endpoint(svc, |endpoint| {
            endpoint.zones.clear();
            endpoint.nodes.clear();
        });
    },
    |svc| each_endpoint(svc, |endpoint| endpoint.nodes.clear()),
    |svc| each_endpoint(svc, |endpoint| endpoint.terminating = None),
    |svc| each_endpoint(svc, |endpoint| endpoint.serving = None),
    |svc| each_endpoint(svc, |endpoint| endpoint.ready = None),
    |svc| each_endpoint(svc, |endpoint| endpoint.nameless = false),
    |svc| each_endpoint(svc, |endpoint| endpoint.misplaced = false),
    |svc| svc.affinity = None,
    |svc| svc.ranges.clear(),
    |svc| svc.external_ips = 0,
    |svc| svc.ingress.truncate(1),
    |svc| svc.external_local = false,
    |svc| svc.internal_local = false,
    |svc| svc.label = None,
    |svc| svc.made = 0,
    |svc| {
        if svc.kind == Type::LoadBalancer {
            svc.kind = Type::NodePort;
        }
    },
    |svc| {
        if svc.kind == Type::NodePort {
            svc.kind = Type::ClusterIp;
        }
    },
];

fn keep_port(svc: &mut Svc, index: usize) {
    if svc.ports.len() > 1 && index < svc.ports.len() {
        svc.ports = vec![svc.ports.remove(index)];
        each_slice(svc, |slice| {
            let target = slice.targets.get(index).copied().flatten();
            slice.targets = vec![target];
        });
    }
}

fn each_slice(svc: &mut Svc, change: impl Fn(&mut Slice)) {
    svc.slices.iter_mut().for_each(change);
}

fn each_endpoint(svc: &mut Svc, change: impl Fn(&mut Endpoint)) {
    let slices = svc.slices.iter_mut();
    slices
        .flat_map(|slice| slice.endpoints.iter_mut())
        .for_each(change);
}
