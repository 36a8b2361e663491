//! What is said of a round, for people.

use std::fmt::Write as _;

use crate::{
    apply::Manifest,
    objects::Slot,
    plan::Plan,
    score::{Counts, Score},
};

/// Differences of one round that are shown in full.
const SHOWN: usize = 12;

/// How much was asked, and what was tolerated how often.
#[must_use]
pub fn totals(plans: usize, counts: &Counts) -> String {
    let mut text = format!(
        "{plans} clusters, {} questions, {} asked again; differences that are meant:\n",
        counts.asked, counts.again
    );
    for (name, count) in &counts.tolerated {
        add(&mut text, format_args!("  {count:>6} {name}\n"));
    }
    text
}

/// Every difference of one plan that is not meant.
#[must_use]
pub fn differences(plans: &[Plan], score: &Score) -> String {
    let mut text = String::new();
    for one in score.differences().take(SHOWN) {
        let name = plans.get(one.plan).map_or("?", |plan| &plan.name);
        add(&mut text, format_args!("{name}: {one}\n"));
    }
    let all = score.differences().count();
    if all > SHOWN {
        add(&mut text, format_args!("… and {} more\n", all - SHOWN));
    }
    text
}

/// The objects of a plan, state after state.
#[must_use]
pub fn yaml(plan: &Plan) -> String {
    let slot = Slot {
        number: 0,
        namespace: "default".to_owned(),
        prefix: "service".to_owned(),
    };
    let mut text = String::new();
    for (index, state) in plan.states.iter().enumerate() {
        add(&mut text, format_args!("# state {index}\n"));
        for (position, svc) in state.iter().enumerate() {
            match svc {
                Some(svc) => text.push_str(&Manifest::new(&slot, position, svc, None).yaml()),
                None => add(&mut text, format_args!("# no service {position}\n")),
            }
            text.push_str("---\n");
        }
    }
    text
}

/// Adds words to a text.
pub fn add(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(words);
}
