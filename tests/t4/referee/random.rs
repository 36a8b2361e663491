//! Clusters made at random, as they change; what differs is made small before it is shown.

use std::{env, sync::PoisonError, time::Instant};

use anyhow::{Context as _, Result, bail};
use conformance::{
    Plan, Score, Testbed, generate, report,
    round::{self, Asked},
    shrink,
};

/// In the suite.
const CLUSTERS: u64 = 200;
/// Side by side.
const AT_ONCE: usize = 25;
/// Questions of each Service in each state.
const QUESTIONS: usize = 8;
/// Clusters that are made small in one run.
const SHRUNK: usize = 3;

/// `LB_REFEREE_CLUSTERS` clusters from the number `LB_REFEREE_SEED` on.
#[test]
fn random_clusters_are_served_as_kube_proxy_serves_them() -> Result<()> {
    let (clusters, first) = (
        number("LB_REFEREE_CLUSTERS", CLUSTERS)?,
        number("LB_REFEREE_SEED", 1)?,
    );
    let bed = Testbed::shared()?;
    let mut bed = bed.lock().unwrap_or_else(PoisonError::into_inner);
    let seeds: Vec<u64> = (first..first + clusters).collect();
    let (mut total, mut found, start) = (Score::default(), Vec::new(), Instant::now());
    for seeds in seeds.chunks(AT_ONCE) {
        let plans = seeds.iter().map(|seed| generate::plan(*seed));
        let plans: Vec<Plan> = plans.collect::<Result<_>>()?;
        let score = round::run(&mut bed, &plans, &Asked::Some(QUESTIONS))?;
        for (index, plan) in plans.iter().enumerate() {
            if score.differences().any(|one| one.plan == index) {
                let own: Vec<_> = score
                    .differences()
                    .filter(|one| one.plan == index)
                    .cloned()
                    .collect();
                let own = Score {
                    answered: own,
                    again: 0,
                };
                let text = report::differences(&plans, &own);
                println!("{text}");
                let first = own.differences().next().map(|one| one.question.clone());
                found.extend(first.map(|question| (plan.clone(), text, question)));
            }
        }
        println!(
            "{} to {} after {:?}: {} different",
            seeds[0],
            seeds[seeds.len() - 1],
            start.elapsed(),
            found.len()
        );
        total.add(score);
    }
    println!("{}", report::totals(seeds.len(), &total.counts()));
    if found.is_empty() {
        return Ok(());
    }
    let mut text = format!("{} of {clusters} clusters differ\n", found.len());
    for (plan, differences, question) in found.iter().take(SHRUNK) {
        let small = shrink::shrink(&mut bed, plan, question)?;
        let plans = [small.clone()];
        let asked = Asked::Like(Box::new(question.clone()));
        let score = round::run(&mut bed, &plans, &asked)?;
        report::add(
            &mut text,
            format_args!(
                "\n== {} (LB_REFEREE_SEED={} LB_REFEREE_CLUSTERS=1)\nat first: {differences}made small: {}{}",
                plan.name,
                plan.name.trim_start_matches("seed "),
                report::differences(&plans, &score),
                report::yaml(&small)
            ),
        );
    }
    bail!("{text}")
}

pub(super) fn number(variable: &str, default: u64) -> Result<u64> {
    match env::var(variable) {
        Ok(text) => text
            .parse()
            .with_context(|| format!("{variable}={text} is no number")),
        Err(_) => Ok(default),
    }
}
