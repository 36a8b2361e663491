//! `lb-agent top`: what each Service port does now, from two looks at what the programs count.

use std::{
    io::IsTerminal as _,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{
    args::{Form, Top, TopSort},
    get::{API_VERSION, book, columns},
    output::{Reader, write},
    state::state_dir,
};
use crate::{
    inventory::{
        self,
        rates::{All, Rates, between, sums},
    },
    maps::dir::BpfDir,
    names::NameFiles,
};

/// Between two looks at least: rates of less mean nothing.
const SHORTEST: Duration = Duration::from_millis(100);

/// Clears a terminal and goes to its first line (ECMA-48: ED, CUP).
pub(super) const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    api_version: &'static str,
    kind: &'static str,
    items: &'a [Rates],
}

/// Columns of the table.
pub(super) const HEAD: [&str; 7] = [
    "SERVICE",
    "PROT",
    "CONN/S",
    "ACTIVE",
    "PACKETS/S",
    "BYTES/S",
    "REJECTS/S",
];

/// Carries the verb out.
pub fn run(args: &Top) -> Result<()> {
    let dir = BpfDir::at(args.pins.dir());
    let files = NameFiles::of(&state_dir(&args.state, &dir), dir.root());
    let look = || Ok::<All, anyhow::Error>(sums(&inventory::named(&dir, &book(&files))?));
    let (mut before, mut at) = (look()?, Instant::now());
    loop {
        thread::sleep(args.rates.interval.max(SHORTEST));
        let (now, then) = (look()?, Instant::now());
        let mut rates = between(&before, &now, (then - at).as_secs_f64());
        sort(&mut rates, args.rates.sort_by);
        if let Some(namespace) = &args.rates.namespace {
            rates.retain(|r| {
                r.service
                    .as_ref()
                    .is_some_and(|s| s.namespace == *namespace)
            });
        }
        let text = show(&rates, args.rates.output)?;
        let is_screen =
            !args.rates.once && args.rates.output == Form::Table && std::io::stdout().is_terminal();
        let text = if is_screen {
            CLEAR.to_owned() + &text
        } else {
            text
        };
        if write(&text)? == Reader::HasLeft || args.rates.once {
            return Ok(());
        }
        (before, at) = (now, then);
    }
}

/// The most first.
fn sort(rates: &mut [Rates], by: TopSort) {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let value = |r: &Rates| match by {
        TopSort::Connections => r.connections_per_second,
        TopSort::Active => r.active_connections as f64,
        TopSort::Packets => r.packets_per_second,
        TopSort::Bytes => r.bytes_per_second,
        TopSort::Rejects => r.rejects_per_second,
    };
    rates.sort_by(|a, b| value(b).total_cmp(&value(a)));
}

fn show(rates: &[Rates], output: Form) -> Result<String> {
    if output == Form::Json {
        let list = List {
            api_version: API_VERSION,
            kind: "RateList",
            items: rates,
        };
        return Ok(serde_json::to_string(&list).context("encode JSON")? + "\n");
    }
    let rows = rates.iter().map(|r| {
        let name = r.service.as_ref().map(ToString::to_string);
        let number = |n: f64| format!("{n:.1}");
        vec![
            columns::word(name.as_ref().or(r.frontend.as_ref())),
            r.protocol.clone(),
            number(r.connections_per_second),
            r.active_connections.to_string(),
            number(r.packets_per_second),
            number(r.bytes_per_second),
            number(r.rejects_per_second),
        ]
    });
    Ok(columns::borderless(&HEAD, rows.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_is_first() {
        let rate = |name: &str, connections_per_second, active_connections| Rates {
            service: None,
            frontend: Some(name.to_owned()),
            protocol: "TCP".to_owned(),
            connections_per_second,
            active_connections,
            packets_per_second: 0.0,
            bytes_per_second: 0.0,
            rejects_per_second: 0.0,
        };
        let mut rates = [rate("a", 2.0, 5), rate("b", 10.0, 4)];
        sort(&mut rates, TopSort::Connections);
        assert_eq!(rates[0].frontend.as_deref(), Some("b"));
        sort(&mut rates, TopSort::Active);
        assert_eq!(rates[0].frontend.as_deref(), Some("a"));
    }
}
