//! What is asked of the page: words to search or one Service port, an order, a page of the list.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Words of a search; further ones do not count.
const WORDS: usize = 8;
/// Letters of a search; further ones do not count.
const LETTERS: usize = 200;

/// The query of a request. What has no meaning is as if it were not there, and of what is there
/// twice the last one holds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "BTreeMap<String, String>")]
pub struct Asked {
    q: String,
    only: String,
    sort: String,
    page: String,
}

impl From<BTreeMap<String, String>> for Asked {
    fn from(mut query: BTreeMap<String, String>) -> Self {
        let mut take = |name| query.remove(name).unwrap_or_default();
        Self {
            q: take("q"),
            only: take("only"),
            sort: take("sort"),
            page: take("page"),
        }
    }
}

/// In which order Service ports are listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    /// By namespace and name.
    Name,
    /// The most open connections first.
    Active,
    /// The most connections a second first.
    Connections,
    /// The most bytes a second first.
    Bytes,
    /// The most refusals a second first, and of those alike the most refusals.
    Refused,
}

impl Order {
    /// As a query names it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Active => "active",
            Self::Connections => "connections",
            Self::Bytes => "bytes",
            Self::Refused => "refused",
        }
    }
}

impl Asked {
    /// What is searched, as it was typed, within bounds.
    pub(super) fn search(&self) -> String {
        self.q.trim().chars().take(LETTERS).collect()
    }

    /// Its words, all of which have to be found.
    pub(super) fn words(&self) -> Vec<String> {
        let search = self.search();
        let words = search.split_whitespace().take(WORDS);
        words.map(str::to_owned).collect()
    }

    /// The one row that is asked for, by its id; none where rows are searched.
    pub(super) fn only(&self) -> Option<&str> {
        Some(self.only.as_str()).filter(|id| !id.is_empty())
    }

    pub(super) fn order(&self) -> Order {
        let all = [
            Order::Active,
            Order::Connections,
            Order::Bytes,
            Order::Refused,
        ];
        let found = all.into_iter().find(|order| order.word() == self.sort);
        found.unwrap_or(Order::Name)
    }

    /// The page of the list, from 1 on.
    pub(super) fn page(&self) -> usize {
        self.page.parse().ok().filter(|n| *n > 0).unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_meaning_is_not_there_and_the_last_of_a_name_holds() {
        let map = |all: &[(&str, &str)]| -> Asked {
            let all = all.iter().map(|(k, v)| format!("\"{k}\":\"{v}\""));
            let text = format!("{{{}}}", all.collect::<Vec<_>>().join(","));
            serde_json::from_str(&text).unwrap()
        };
        let asked = map(&[("q", "a"), ("x", "y"), ("q", " b c "), ("page", "-1")]);
        assert_eq!(asked.words(), ["b", "c"]);
        assert_eq!((asked.page(), asked.order()), (1, Order::Name));
        assert_eq!(asked.only(), None);
        let asked = map(&[("only", "TCP a/b:c"), ("sort", "bytes"), ("page", "7")]);
        assert_eq!(asked.only(), Some("TCP a/b:c"));
        assert_eq!((asked.page(), asked.order()), (7, Order::Bytes));
        assert_eq!(asked.search(), "");
        let long = "x ".repeat(4000);
        let asked = map(&[("q", &long)]);
        assert_eq!(
            (asked.words().len(), asked.search().len()),
            (WORDS, LETTERS)
        );
    }
}
