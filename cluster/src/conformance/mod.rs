//! Specs of Kubernetes' own suite, `e2e.test`, on a cluster that is made for them.

mod report;

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
pub use report::{Outcome, Spec, table};
use testbed::{cluster::tool, process::Process};

use crate::{Asked, Up, images::Images, once};

/// Ten specs about Services and DNS that take a minute or two together.
const QUICK: [&str; 10] = [
    "should provide secure master service",
    "should have Endpoints and EndpointSlices pointing to API Server",
    "should mirror a custom Endpoints resource",
    "should complete a service status lifecycle",
    "should serve a basic endpoint from pods",
    "should serve multiport endpoints from pods",
    "should be able to create a functioning NodePort service",
    "should be able to change the type from ExternalName to NodePort",
    "should be able to change the type from ExternalName to ClusterIP",
    "should be able to switch session affinity for service with type clusterIP",
];

/// Which specs are to run, and where.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The cluster
    #[command(flatten)]
    pub cluster: Asked,
    /// Specs whose whole text this regular expression matches, such as `\[sig-network\] DNS`; ten
    /// quick ones without it
    #[arg(long, value_name = "REGEX")]
    pub focus: Option<String>,
    /// But none of these
    #[arg(long, value_name = "REGEX")]
    pub skip: Option<String>,
    /// Minutes after which the suite ends what runs
    #[arg(long, value_name = "MINUTES", default_value_t = 10)]
    pub within: u16,
}

/// Makes a cluster, runs the specs, shows what became of each, and removes it; an error unless all
/// that ran have passed, and all of the ten ran.
pub fn whole(options: &Options, mut say: impl FnMut(&str)) -> Result<()> {
    let asked = options.cluster;
    let specs = once::with(
        asked,
        Images::ForSuite,
        "conformance",
        &mut say,
        |up, dir, say| run(up, options, dir, say),
    )?;
    say(&table(&specs));
    judge(&specs, options.focus.is_none() && options.skip.is_none())
}

/// All of them have passed, or say themselves why they cannot run here.
fn judge(specs: &[Spec], quick: bool) -> Result<()> {
    let count = |outcome: Outcome| specs.iter().filter(|spec| spec.outcome == outcome).count();
    let (passed, failed) = (count(Outcome::Passed), count(Outcome::Failed));
    let skipped = count(Outcome::Skipped);
    ensure!(
        failed == 0 && passed > 0 && (!quick || passed == QUICK.len()),
        "{passed} passed, {failed} failed, {skipped} skipped"
    );
    Ok(())
}

/// Runs them from a machine beside the nodes.
fn run(up: &Up, options: &Options, dir: &Path, say: &mut impl FnMut(&str)) -> Result<Vec<Spec>> {
    let report = dir.join("report.json");
    let focus = options.focus.clone().unwrap_or_else(quick);
    let mut words = vec![
        tool("e2e.test")?.display().to_string(),
        "--provider=skeleton".to_owned(),
        format!("--kubeconfig={}", up.cluster().admin()?.display()),
        format!("--ginkgo.focus={focus}"),
        format!("--ginkgo.json-report={}", report.display()),
        format!("--ginkgo.timeout={}m", options.within),
        "--ginkgo.no-color".to_owned(),
    ];
    words.extend(
        options
            .skip
            .iter()
            .map(|skip| format!("--ginkgo.skip={skip}")),
    );
    say("the suite runs");
    let log = dir.join("e2e.log");
    let mut suite = Process::start(up.cluster().sandbox(), &words, &log)?;
    // It ends by itself; what it cleans up afterwards has a minute more.
    let most = Duration::from_mins(u64::from(options.within) + 1);
    suite.wait(most).context("the suite does not end")?;
    report::read(&report).with_context(|| suite.said().unwrap_or_default())
}

/// A regular expression for the quick ones.
fn quick() -> String {
    format!(r"\[sig-network\].*({}).*\[Conformance\]", QUICK.join("|"))
}
