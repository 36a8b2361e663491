//! The label selectors of `-l`, in kubectl's words.

use std::collections::{BTreeMap, BTreeSet};

use kube::core::{Expression, Selector, SelectorExt as _};

/// A selector that was read.
#[derive(Clone, Debug)]
pub struct Labels {
    text: String,
    selector: Selector,
}

impl Labels {
    /// Reads `app=web,tier!=db,zone in (a,b),!old`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = split(text)?;
        let all: Result<Vec<Expression>, String> = parts.iter().map(|p| requirement(p)).collect();
        Ok(Self {
            text: text.to_owned(),
            selector: all?.into_iter().collect(),
        })
    }

    /// Does it select an object with these labels?
    pub(super) fn admits(&self, labels: &BTreeMap<String, String>) -> bool {
        self.selector.matches(labels)
    }

    /// As it was read.
    pub(in crate::cli) fn text(&self) -> &str {
        &self.text
    }
}

/// At the commas outside of parentheses.
fn split(text: &str) -> Result<Vec<&str>, String> {
    let (mut parts, mut start, mut open) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match c {
            '(' if !open => open = true,
            ')' if open => open = false,
            '(' | ')' => return Err(format!("{text:?}: parentheses do not match")),
            ',' if !open => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    if open {
        return Err(format!("{text:?}: parentheses do not match"));
    }
    parts.push(text[start..].trim());
    Ok(parts)
}

fn requirement(text: &str) -> Result<Expression, String> {
    let key = |key: &str| {
        let key = key.trim();
        let good = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        if key.is_empty() || !key.chars().all(good) {
            return Err(format!(
                "{text:?} is no requirement such as app=web, app!=web, app in (a,b), app or !app"
            ));
        }
        Ok(key.to_owned())
    };
    if let Some((name, value)) = text.split_once("!=") {
        return Ok(Expression::NotEqual(key(name)?, value.trim().to_owned()));
    }
    if let Some((name, value)) = text.split_once('=') {
        let value = value.strip_prefix('=').unwrap_or(value);
        return Ok(Expression::Equal(key(name)?, value.trim().to_owned()));
    }
    if let Some((head, list)) = text.strip_suffix(')').and_then(|t| t.split_once('(')) {
        let values: BTreeSet<String> = list.split(',').map(|v| v.trim().to_owned()).collect();
        let mut words = head.split_whitespace();
        let (name, operator, rest) = (words.next(), words.next(), words.next());
        return match (name, operator, rest) {
            (Some(name), Some("in"), None) => Ok(Expression::In(key(name)?, values)),
            (Some(name), Some("notin"), None) => Ok(Expression::NotIn(key(name)?, values)),
            _ => Err(format!(
                "{text:?}: neither `in` nor `notin` is in front of the list"
            )),
        };
    }
    match text.strip_prefix('!') {
        Some(name) => Ok(Expression::DoesNotExist(key(name)?)),
        None => Ok(Expression::Exists(key(text)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_kubectls() {
        let labels: BTreeMap<String, String> = [("app", "web"), ("k8s.io/tier", "front")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into();
        for (text, expected) in [
            ("app=web", true),
            ("app==web", true),
            ("app=db", false),
            ("app!=db", true),
            ("other!=db", true),
            ("app in (db, web)", true),
            ("app in (db),k8s.io/tier", false),
            ("app notin (db)", true),
            ("app,k8s.io/tier=front", true),
            ("!old", true),
            ("!app", false),
        ] {
            let selector = Labels::parse(text).unwrap();
            assert_eq!(selector.admits(&labels), expected, "{text}");
        }
        for text in [
            "",
            "app in db",
            "app in (db",
            "app (db)",
            "a b",
            "=x",
            "app=web,",
        ] {
            assert!(Labels::parse(text).is_err(), "{text:?}");
        }
    }
}
