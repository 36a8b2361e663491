//! The node's own labels, which change hints for all Services.

use std::sync::PoisonError;

use anyhow::{Result, ensure};
use conformance::{
    Client, Endpoint, Front, Svc, Testbed, report,
    round::{self, Asked},
    world::ZONES,
};

use crate::referee::scenario::{Answer, Scenario, scenario, slice};

#[test]
fn hints_are_read_by_the_nodes_own_zone_or_not_at_all() -> Result<()> {
    let bed = Testbed::shared()?;
    let mut bed = bed.lock().unwrap_or_else(PoisonError::into_inner);
    let outcome =
        under(&mut bed, None, &[1, 3]).and_then(|()| under(&mut bed, Some(ZONES[1]), &[3]));
    bed.set_zone(Some(ZONES[0]))?;
    outcome?;
    under(&mut bed, Some(ZONES[0]), &[1])
}

/// With this label on the node.
fn under(bed: &mut Testbed, zone: Option<&str>, pods: &'static [usize]) -> Result<()> {
    bed.set_zone(zone)?;
    let scenario: Scenario = scenario(
        "one endpoint a zone",
        &[Svc {
            slices: vec![slice([
                Endpoint::new(1).zone(ZONES[0]),
                Endpoint::new(3).zone(ZONES[1]),
            ])],
            ..Svc::default()
        }],
    )
    .says(Client::Pod, Front::ClusterIp, Answer::Pods(pods))
    .says(Client::Outside, Front::ClusterIp, Answer::Pods(pods));
    let plans = [scenario.plan.clone()];
    let score = round::run(bed, &plans, &Asked::All)?;
    let differences = report::differences(&plans, &score);
    ensure!(differences.is_empty(), "zone {zone:?}: {differences}");
    let answered: Vec<_> = score.answered.iter().collect();
    let surprises = scenario.surprises(&answered);
    ensure!(
        surprises.is_empty(),
        "zone {zone:?}: {}",
        surprises.join("\n")
    );
    Ok(())
}
