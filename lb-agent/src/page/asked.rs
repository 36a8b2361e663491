//! What is asked of the page: words to search, an order, a page of the list.

use serde::Deserialize;

/// Words of a search; further ones do not count.
const WORDS: usize = 8;
/// Letters of a search; further ones do not count.
const LETTERS: usize = 200;

/// The query of a request. What has no meaning is as if it were not there.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Asked {
    #[serde(default)]
    q: String,
    #[serde(default)]
    sort: String,
    #[serde(default)]
    page: String,
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
