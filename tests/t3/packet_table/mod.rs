//! One sentence, one packet, one verdict: each row runs through the loaded programs by
//! `BPF_PROG_TEST_RUN`, by tc and by XDP, in both families, with the counters that it moves.

mod excused;
pub(crate) mod expect;
mod flood;
mod judge;
mod kernel;
mod marks;
pub(crate) mod packet;
pub(crate) mod plan;
mod reasons;
pub(crate) mod row;
mod rows;
mod run;
pub(crate) mod scene;
pub(crate) mod stage;
mod today;
mod wire;

use std::{collections::BTreeSet, fmt::Write as _};

use anyhow::{Result, ensure};

use crate::packet_table::{excused::failure, kernel::LeftOut, scene::Scene, stage::Node};

#[test]
fn every_row_holds() -> Result<()> {
    let node = Node::new()?;
    node.netns.block(|| {
        let mut scene = Scene::new(&node)?;
        let mut left_out = LeftOut::default();
        let (mut runs, mut failures) = (0, vec![]);
        let rows = rows::all();
        for row in &rows {
            for hook in row.runs_on() {
                if let Some(need) = scene.lacks(hook) {
                    left_out.add(need, &row.sentence);
                    continue;
                }
                for family in &row.families {
                    runs += 1;
                    let ran = run::run(row, hook, *family, &mut scene);
                    if let Some(said) = failure(row.mark.as_ref(), ran) {
                        failures.push(format!(
                            "{}\n  on {hook:?}, {family:?}\n{said}",
                            row.sentence
                        ));
                    }
                }
            }
        }
        println!("{} rows, {runs} runs", rows.len());
        let left_out = left_out.say(kernel::version()?);
        ensure!(
            failures.is_empty(),
            "{} of {runs} runs of {} rows differ:\n\n{}",
            failures.len(),
            rows.len(),
            failures.join("\n")
        );
        left_out
    })
}

#[test]
fn sentences_are_unique_and_every_mark_is_explained() -> Result<()> {
    let rows = rows::all();
    let mut sentences = BTreeSet::new();
    let mut wrong = String::new();
    for row in &rows {
        if !sentences.insert(&row.sentence) {
            let _ = writeln!(wrong, "twice: {}", row.sentence);
        }
        if row.steps.is_empty() {
            let _ = writeln!(wrong, "no packet: {}", row.sentence);
        }
        if let Some(mark) = &row.mark
            && marks::meaning(mark.number).is_none()
        {
            let _ = writeln!(wrong, "{} has no meaning: {}", mark.number, row.sentence);
        }
    }
    for (number, sentence) in marks::MARKS {
        let used = rows.iter().filter_map(|row| row.mark.as_ref());
        if !used.into_iter().any(|mark| mark.number == *number) {
            let _ = writeln!(wrong, "no row shows {number}: {sentence}");
        }
    }
    ensure!(wrong.is_empty(), "{wrong}");
    ensure!(rows.len() >= 150, "only {} rows", rows.len());
    Ok(())
}
