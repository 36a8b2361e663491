//! A decision as a line for people.

use super::row::Row;

/// Of what nobody knows.
const UNKNOWN: &str = "-";
/// Red, green and neither (ECMA-48: SGR).
const RED: &str = "\u{1b}[31m";
const GREEN: &str = "\u{1b}[32m";
const PLAIN: &str = "\u{1b}[0m";

/// The first line.
pub(super) fn head() -> String {
    columns(
        [
            "TIME", "HOOK", "REASON", "PROTO", "CLIENT", "SERVICE", "FRONTEND", "BACKEND",
        ]
        .map(str::to_owned),
    )
}

/// The line of a decision.
pub(super) fn line(row: &Row, has_colour: bool) -> String {
    let or_unknown = |value: &Option<String>| value.clone().unwrap_or(UNKNOWN.to_owned());
    let process = row.process.as_ref();
    let process = process.map(|p| format!("{}[{}]", p.name, p.pid));
    let beside = |address: &Option<String>, name: Option<String>| match (address, name) {
        (Some(address), Some(name)) => format!("{address} {name}"),
        (Some(address), None) => address.clone(),
        (None, Some(name)) => name,
        (None, None) => UNKNOWN.to_owned(),
    };
    let service = row.service.as_ref().map(ToString::to_string);
    let text = columns([
        row.time.strftime("%H:%M:%S%.6f").to_string(),
        row.hook.to_owned(),
        row.reasons.join(","),
        or_unknown(&row.protocol),
        beside(&row.client, process.or_else(|| row.client_pod.clone())),
        or_unknown(&service),
        or_unknown(&row.frontend),
        beside(&row.backend, row.place.pod.clone()),
    ]);
    if !has_colour {
        return text;
    }
    let colour = if row.refused { RED } else { GREEN };
    format!("{colour}{}{PLAIN}\n", text.trim_end())
}

/// In columns as wide as most of what stands in them: lines are shown as they come.
fn columns(cells: [String; 8]) -> String {
    let [
        time,
        hook,
        reason,
        proto,
        client,
        service,
        frontend,
        backend,
    ] = cells;
    let text = format!(
        "{time:<15} {hook:<10} {reason:<18} {proto:<5} {client:<28} {service:<20} {frontend:<22} {backend}"
    );
    text.trim_end().to_owned() + "\n"
}
