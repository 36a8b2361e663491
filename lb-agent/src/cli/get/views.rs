//! Other tables of `get services`: `--stats`, `--rate`, `--thresholds` and `--persistent-conn`, as
//! ipvsadm has them.

mod tables;

use std::{thread, time::Instant};

use anyhow::{Result, bail};

use super::{affinity, listing::Table};
use crate::{
    cli::args::{ListArgs, ListOutput, View, What},
    inventory::{
        self, Frontend,
        rates::{SHORTEST, by_pool},
    },
    maps::dir::BpfDir,
    names::Book,
};

/// The view that is asked for. Fails where there is none: of other lists, and in other forms.
pub(in crate::cli) fn asked(list: &ListArgs) -> Result<Option<View>> {
    let Some(view) = list.views.view() else {
        return Ok(None);
    };
    let flag = view.flag();
    if list.what != What::Services {
        bail!("{flag} is a table of Services: `get services {flag}`");
    }
    if list.output != ListOutput::Table {
        let numbers = match view {
            View::Stats | View::Thresholds => "`get services -o json` without it has its numbers",
            View::Rate => "`top --once -o json` has its numbers, of each Service port",
            View::PersistentConn => "`get affinity -o json` has each client",
        };
        bail!("{flag} is a table, and has no other output: {numbers}");
    }
    Ok(Some(view))
}

/// Every frontend, and how it is shown in this view.
pub(super) fn open(
    view: View,
    list: &ListArgs,
    dir: &BpfDir,
    book: &Book,
) -> Result<(Vec<Frontend>, Table<Frontend>)> {
    let look = || inventory::named(dir, book);
    Ok(match view {
        View::Stats => (
            look()?,
            Box::new(|all, _, headers| tables::stats(all, headers)),
        ),
        View::Rate => {
            let (before, at) = (by_pool(&inventory::open(dir)?), Instant::now());
            thread::sleep(list.views.interval.max(SHORTEST));
            let (now, seconds) = (look()?, at.elapsed().as_secs_f64());
            let table: Table<Frontend> =
                Box::new(move |all, _, headers| tables::rate(all, headers, &before, seconds));
            (now, table)
        }
        View::Thresholds => (
            look()?,
            Box::new(|all, _, headers| tables::thresholds(all, headers)),
        ),
        View::PersistentConn => {
            let now = look()?;
            let kept = affinity::kept(dir, &now)?;
            let table: Table<Frontend> =
                Box::new(move |all, _, headers| tables::persistent(all, headers, &kept));
            (now, table)
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Cli, Verb};

    fn asked_by(words: &str) -> Result<Option<View>> {
        let words = words.split_whitespace();
        let Some(Verb::Get(get)) = Cli::try_parse_from(words).unwrap().verb else {
            unreachable!("these words are right")
        };
        asked(&get.list)
    }

    #[test]
    fn views_are_tables_of_services_alone() {
        for (flag, view, instead) in [
            ("--stats", View::Stats, "get services -o json"),
            ("--rate", View::Rate, "top --once -o json"),
            ("--thresholds", View::Thresholds, "get services -o json"),
            (
                "--persistent-conn",
                View::PersistentConn,
                "get affinity -o json",
            ),
        ] {
            let line = format!("lb-agent get services web {flag}");
            assert_eq!(asked_by(&line).unwrap(), Some(view));
            for output in ["json", "yaml", "name", "wide"] {
                let error = asked_by(&format!("{line} -o {output}")).unwrap_err();
                assert!(error.to_string().contains(instead), "{error}");
            }
            let error = asked_by(&format!("lb-agent get flows {flag}")).unwrap_err();
            assert!(error.to_string().contains("table of Services"), "{error}");
        }
        assert_eq!(asked_by("lb-agent get services -o wide").unwrap(), None);
    }
}
