//! `lb-agent get events`: what the agent has reported, with or without an API server.

use std::path::Path;

use anyhow::Result;

use super::{
    columns,
    listing::{Beside, Headers, Listing, Row, Width},
};
use crate::{
    maps::dir::BpfDir,
    observe::event_file::{EventFile, Recorded},
};

/// The last Events, the oldest first.
pub(super) fn list(state: &Path, dir: &BpfDir) -> Result<Listing<Recorded>> {
    let all = EventFile::of(state, dir.root()).load()?.events;
    let rows = all.into_iter().map(|event| {
        let object = event.object();
        let service = (event.kind == "Service").then(|| event.key());
        Row {
            id: format!("{} of {object}: {}", event.reason, event.message),
            name: format!("event/{}", event.reason),
            services: service.into_iter().collect(),
            places: Vec::new(),
            pods: Vec::new(),
            item: event,
        }
    });
    Ok(Listing {
        kind: "EventList",
        rows: rows.collect(),
        table,
        beside: Beside::default(),
    })
}

fn table(all: &[&Recorded], width: Width, headers: Headers) -> String {
    let head = columns::of_width(
        width,
        &["LAST-SEEN", "REASON", "OBJECT", "MESSAGE"],
        &["FIRST-SEEN", "COUNT"],
    );
    let now = jiff::Timestamp::now();
    let age = |at: jiff::Timestamp| short(now.duration_since(at).as_secs());
    let lines = all.iter().map(|e| {
        let mut line = vec![
            age(e.last_seen),
            e.reason.clone(),
            e.object(),
            e.message.clone(),
        ];
        if width == Width::Wide {
            line.extend([age(e.first_seen), e.count.to_string()]);
        }
        line
    });
    columns::columns(&head, lines.collect(), headers)
}

/// As kubectl writes ages: one unit, two where the first is small.
fn short(seconds: i64) -> String {
    match seconds {
        ..0 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => format!("{}m{}s", seconds / 60, seconds % 60),
        600..10_800 => format!("{}m", seconds / 60),
        10_800..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        let of = [-1, 5, 119, 125, 900, 7200, 90_000, 900_000].map(short);
        assert_eq!(
            of,
            ["0s", "5s", "119s", "2m5s", "15m", "120m", "25h", "10d"]
        );
    }
}
