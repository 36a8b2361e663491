//! Fields that kube-proxy's configuration does not have at their place, and that people's files have
//! all the same. kube-proxy logs them and goes on; what is known here is told with the right place,
//! and the rest is refused, since a typo must not become a default in silence.

pub(super) mod known;

use anyhow::{Result, bail};
use known::{ELSEWHERE, FIELDS, FOREIGN, MISSPELT};
use serde_json::Value;

use super::located::{Located, join};

/// Takes every well-known stranger out of the document, and says what each is. An unknown field
/// that is none is an error.
pub(super) fn take(read: &mut Located) -> Result<Vec<String>> {
    let mut value = std::mem::take(&mut read.value);
    let mut told: Vec<(u64, String)> = Vec::new();
    for (path, first, second) in &read.twice {
        told.push((
            *second,
            format!("line {second}: {path}: line {first} says the same already"),
        ));
    }
    for (section, names) in FIELDS {
        let Some(fields) = section_of(&mut value, section) else {
            continue;
        };
        let unknown: Vec<String> = fields
            .keys()
            .filter(|name| !names.contains(&name.as_str()))
            .cloned()
            .collect();
        for name in unknown {
            let path = join(section, &name);
            let line = read.line(&path);
            let Some(advice) = advice(section, &name) else {
                bail!("{path}: no such field{} (line {line})", similar(&name));
            };
            told.push((
                line,
                format!("line {line}: {path}: kube-proxy has no such field there, so it has no effect: {advice}"),
            ));
            fields.remove(&name);
        }
    }
    read.value = value;
    told.sort();
    Ok(told.into_iter().map(|(_, text)| text).collect())
}

fn section_of<'a>(
    value: &'a mut Value,
    path: &str,
) -> Option<&'a mut serde_json::Map<String, Value>> {
    let mut at = value;
    for name in path.split('.').filter(|name| !name.is_empty()) {
        at = at.get_mut(name)?;
    }
    at.as_object_mut()
}

/// Where a stranger belongs; `None` for one that nobody knows.
fn advice(section: &str, name: &str) -> Option<String> {
    let places = |name: &str| -> Vec<String> {
        let all = FIELDS.iter().filter(|(at, _)| *at != section);
        all.filter(|(_, names)| names.contains(&name))
            .map(|(at, _)| join(at, name))
            .collect()
    };
    let place = |places: &[String]| format!("its place is {}", places.join(" or "));
    let own = places(name);
    if !own.is_empty() {
        return Some(place(&own));
    }
    let row = |rows: &'static [(&str, &str)]| rows.iter().find(|(known, _)| *known == name);
    // Flags are often written as fields, with their dashes or without.
    let camel = camel(name);
    if let Some((_, right)) = row(MISSPELT).or_else(|| row(ELSEWHERE)).or_else(|| {
        ELSEWHERE
            .iter()
            .find(|(known, _)| name.contains('-') && *known == camel)
    }) {
        return Some(format!("its place is {right}"));
    }
    if name.contains('-') {
        let of_flag: Vec<String> = FIELDS
            .iter()
            .filter(|(_, names)| names.contains(&camel.as_str()))
            .map(|(at, _)| join(at, &camel))
            .collect();
        if !of_flag.is_empty() {
            return Some(place(&of_flag));
        }
    }
    let foreign = FOREIGN.iter().find(|(_, names)| names.contains(&name));
    foreign.map(|(owner, _)| format!("it belongs to {owner}"))
}

/// The field that was meant, if only the case of its letters differs.
fn similar(name: &str) -> String {
    let meant = FIELDS
        .iter()
        .flat_map(|(section, names)| names.iter().map(move |known| (section, known)))
        .find(|(_, known)| known.eq_ignore_ascii_case(name));
    meant.map_or_else(String::new, |(section, known)| {
        format!(", {} is meant", join(section, known))
    })
}

/// `cluster-cidr` as a field would be written, but for abbreviations.
fn camel(flag: &str) -> String {
    let mut words = flag.split('-');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut name, word| {
        let mut letters = word.chars();
        name.extend(letters.next().map(|c| c.to_ascii_uppercase()));
        name + letters.as_str()
    })
}
