//! The playing of all scenarios, once a run, side by side.

use std::{
    collections::BTreeSet,
    sync::{OnceLock, PoisonError},
};

use anyhow::{Result, anyhow, bail, ensure};
use conformance::{
    Answered, Plan, Score, Testbed, report,
    round::{self, Asked},
    setup::SLOTS,
    tolerated,
};

use crate::referee::{alone, choice, frontends, inputs, locality, scenario::Scenario};

static PLAYED: OnceLock<Result<Played, String>> = OnceLock::new();

/// A scenario and its answers.
type One = (Scenario, Vec<Answered>);

/// What came of all of them.
struct Played {
    sections: Vec<(&'static str, Vec<One>)>,
    score: Score,
}

fn sections() -> Vec<(&'static str, Vec<Scenario>)> {
    vec![
        ("inputs", inputs::all()),
        ("frontends", frontends::all()),
        ("choice", choice::all()),
        ("locality", locality::all()),
    ]
}

fn played() -> Result<&'static Played> {
    let played = PLAYED.get_or_init(|| play().map_err(|error| format!("{error:#}")));
    played.as_ref().map_err(|error| anyhow!("{error}"))
}

fn play() -> Result<Played> {
    let bed = Testbed::shared()?;
    let mut bed = bed.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut done, mut total) = (Vec::new(), Score::default());
    for (name, scenarios) in sections() {
        let mut of_section = Vec::new();
        for side_by_side in scenarios.chunks(usize::from(SLOTS)) {
            let plans: Vec<Plan> = side_by_side.iter().map(|one| one.plan.clone()).collect();
            let score = round::run(&mut bed, &plans, &Asked::All)?;
            for (index, scenario) in side_by_side.iter().enumerate() {
                let own = score.answered.iter().filter(|one| one.plan == index);
                of_section.push((scenario.clone(), own.cloned().collect()));
            }
            total.add(score);
        }
        done.push((name, of_section));
    }
    Ok(Played {
        sections: done,
        score: total,
    })
}

/// Every scenario of a section: the referee says what its rule says, and the agent what the referee
/// says.
pub(crate) fn check(section: &str) -> Result<()> {
    let played = played()?;
    let Some((_, scenarios)) = played.sections.iter().find(|(name, _)| *name == section) else {
        bail!("no section {section}");
    };
    let mut text = String::new();
    for (scenario, answered) in scenarios {
        ensure!(
            !answered.is_empty() || scenario.plan.name.contains("(nothing to ask)"),
            "{}: nothing was asked",
            scenario.plan.name
        );
        let all: Vec<&Answered> = answered.iter().collect();
        let surprises = scenario.surprises(&all);
        let score = Score {
            answered: answered.clone(),
            again: 0,
        };
        let differences = score.differences().count();
        if surprises.is_empty() && differences == 0 {
            continue;
        }
        report::add(
            &mut text,
            format_args!("\n== {}\n{}", scenario.plan.name, surprises.join("\n")),
        );
        let one = [scenario.plan.clone()];
        let mut own = score;
        own.answered
            .iter_mut()
            .for_each(|answered| answered.plan = 0);
        text += &report::differences(&one, &own);
        text += &report::yaml(&scenario.plan);
    }
    ensure!(text.is_empty(), "{text}");
    Ok(())
}

#[test]
fn every_difference_that_is_meant_has_been_seen() -> Result<()> {
    let played = played()?;
    let scenarios = played.sections.iter().map(|(_, scenarios)| scenarios.len());
    println!(
        "{}",
        report::totals(scenarios.sum(), &played.score.counts())
    );
    let seen: BTreeSet<&str> = played.score.tolerated().into_keys().collect();
    let unseen: Vec<&str> = tolerated::ALL
        .iter()
        .filter(|one| ![alone::SEEN, tolerated::OF_PAIR].contains(&one.name))
        .map(|one| one.name)
        .filter(|name| !seen.contains(name))
        .collect();
    ensure!(
        unseen.is_empty(),
        "tolerated, and seen by no scenario: {unseen:?}"
    );
    Ok(())
}
