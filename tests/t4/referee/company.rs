//! Clusters made at random in company: four side by side on two nodes, then the next four without a
//! pause, so that node ports, cluster IPs, pods, addresses and client ports have been others' a
//! moment ago. The first half by tc, the second by XDP.

use anyhow::{Result, bail};
use conformance::{
    company::{self, Range},
    setup::Way,
};

use super::random::number;

/// In the suite.
const CLUSTERS: u64 = 200;

/// `LB_REFEREE_CLUSTERS` clusters from the number `LB_REFEREE_SEED` on, as `cargo xtask referee`
/// plays them.
#[test]
fn clusters_in_company_are_served_as_kube_proxy_serves_them() -> Result<()> {
    let range = Range {
        first: number("LB_REFEREE_SEED", 1)?,
        clusters: number("LB_REFEREE_CLUSTERS", CLUSTERS)?,
        ways: vec![Way::Tc, Way::Xdp],
    };
    let say = |words: &str| println!("{words}");
    let outcome = company::play(&range, say)?;
    let summary = outcome.summary(range.clusters);
    println!("{summary}");
    if outcome.different.is_empty() {
        return Ok(());
    }
    let mut small = String::new();
    company::make_small(&range, &outcome, |words| small += words)?;
    bail!("{summary}{small}")
}
