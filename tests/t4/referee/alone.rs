//! What is only seen while no other Service has the same pod.

use std::sync::PoisonError;

use anyhow::{Result, ensure};
use conformance::{
    Client, Endpoint, Front, Svc, Testbed, report,
    round::{self, Asked},
};

use crate::referee::scenario::{Answer, scenario, slice};

/// The difference that is meant to be seen here.
pub(crate) const SEEN: &str = "a pod reaches itself";

#[test]
fn a_pod_reaches_itself_though_its_endpoint_names_no_node() -> Result<()> {
    let bed = Testbed::shared()?;
    let mut bed = bed.lock().unwrap_or_else(PoisonError::into_inner);
    let svc = Svc {
        slices: vec![slice([Endpoint {
            nameless: true,
            ..Endpoint::new(0)
        }])],
        ..Svc::default()
    };
    let scenario = scenario("a pod that is its own backend", &[svc]).says(
        Client::Pod,
        Front::ClusterIp,
        Answer::Pods(&[0]),
    );
    let plans = [scenario.plan.clone()];
    let score = round::run(&mut bed, &plans, &Asked::All)?;
    let differences = report::differences(&plans, &score);
    ensure!(differences.is_empty(), "{differences}");
    let answered: Vec<_> = score.answered.iter().collect();
    let surprises = scenario.surprises(&answered);
    ensure!(surprises.is_empty(), "{}", surprises.join("\n"));
    ensure!(
        score.tolerated().contains_key(SEEN),
        "tolerated, and not seen: {SEEN}"
    );
    Ok(())
}
