//! `lb-agent get events`: what the agent has reported, with or without an API server.

use std::path::Path;

use anyhow::Result;
use jiff::Timestamp;
use serde_json::Value;

use super::{
    columns::{self, Column, column, field, wide},
    listing::{Listing, Row},
};
use crate::{
    maps::dir::BpfDir,
    observe::event_file::{EventFile, Recorded},
};

/// Of its table.
pub(super) const COLUMNS: &[Column] = &[
    column("LAST-SEEN", |i| age(&i["lastSeen"])),
    column("REASON", |i| field(&i["reason"])),
    column("OBJECT", object),
    column("MESSAGE", |i| field(&i["message"])),
    wide("FIRST-SEEN", |i| age(&i["firstSeen"])),
    wide("COUNT", |i| field(&i["count"])),
];

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
        table: columns::table(COLUMNS),
        partial: None,
    })
}

/// Since a time.
fn age(at: &Value) -> String {
    let at = at.as_str().and_then(|at| at.parse::<Timestamp>().ok());
    let seconds = |at| Timestamp::now().duration_since(at).as_secs();
    at.map_or_else(String::new, |at| short(seconds(at)))
}

/// As [`Recorded::object`].
fn object(event: &Value) -> String {
    let kind = field(&event["kind"]).to_lowercase();
    let name = field(&event["name"]);
    match event["namespace"].as_str() {
        Some(namespace) => format!("{kind}/{namespace}/{name}"),
        None => format!("{kind}/{name}"),
    }
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
