//! Which items of a list are shown: by the names and addresses on the command line, by namespace and
//! by labels.

use std::{collections::BTreeSet, fmt};

use anyhow::{Result, ensure};

use super::{listing::Row, selector::Labels};
use crate::{
    cli::args::ListArgs,
    names::{Book, NamedService},
};

/// How the error begins where nothing has a name or address.
pub(in crate::cli) const NOTHING: &str = "nothing is found for";
/// Between names and addresses that nothing has.
pub(in crate::cli) const BETWEEN: &str = ", ";

/// What the command line asks for.
pub(super) struct Filter<'a> {
    wanted: Vec<Wanted>,
    namespace: Option<&'a str>,
    labels: Option<&'a Labels>,
}

/// One word of the command line.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Wanted {
    /// A Service, by name or `namespace/name`.
    Service(String),
    /// A pod, by name or `namespace/name`.
    Pod(String),
    /// Either.
    Name(String),
    /// An address, or an address and a port.
    Place(String),
}

impl Wanted {
    fn parse(word: &str) -> Self {
        if let Some((kind, name)) = word.split_once('/') {
            match kind {
                "svc" | "service" | "services" => return Self::Service(name.to_owned()),
                "pod" | "pods" | "po" => return Self::Pod(name.to_owned()),
                _ => {}
            }
        }
        // Names have neither colons nor stars, and an address without a port is one.
        let is_place = word.contains([':', '*']) || word.parse::<std::net::IpAddr>().is_ok();
        if is_place {
            Self::Place(word.to_owned())
        } else {
            Self::Name(word.to_owned())
        }
    }

    fn admits<T>(&self, row: &Row<T>) -> bool {
        let named = |all: &[String], name: &str| {
            all.iter()
                .any(|full| full == name || full.split_once('/').is_some_and(|(_, n)| n == name))
        };
        match self {
            Self::Service(name) => named(&row.services, name),
            Self::Pod(name) => named(&row.pods, name),
            Self::Name(name) => named(&row.services, name) || named(&row.pods, name),
            Self::Place(place) => row.places.iter().any(|p| is_at(p, place)),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(name) => write!(f, "svc/{name}"),
            Self::Pod(name) => write!(f, "pod/{name}"),
            Self::Name(word) | Self::Place(word) => f.write_str(word),
        }
    }
}

/// Is `ADDRESS:PORT` the one that is wanted, with any port if none is wanted? IPv6 addresses may be
/// wanted without their brackets.
fn is_at(place: &str, wanted: &str) -> bool {
    let (address, _) = place.rsplit_once(':').unwrap_or((place, ""));
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    place == wanted || address == wanted || bare == wanted
}

impl<'a> Filter<'a> {
    pub(super) fn of(get: &'a ListArgs) -> Self {
        Self {
            wanted: get.names.iter().map(|word| Wanted::parse(word)).collect(),
            namespace: get.namespace.as_deref(),
            labels: get.selector.as_ref(),
        }
    }

    /// Fails for words that none of the rows answers to.
    pub(super) fn require<T>(&self, rows: &[Row<T>]) -> Result<()> {
        let is_answered = |wanted: &Wanted| rows.iter().any(|row| wanted.admits(row));
        let lacking = self.wanted.iter().filter(|wanted| !is_answered(wanted));
        let lacking: Vec<String> = lacking.map(Wanted::to_string).collect();
        ensure!(lacking.is_empty(), "{NOTHING} {}", lacking.join(BETWEEN));
        Ok(())
    }

    /// Is a Service in the namespace that is asked for?
    pub(super) fn is_within(&self, service: &str) -> bool {
        let namespace = service.split_once('/').map(|(namespace, _)| namespace);
        self.namespace
            .is_none_or(|wanted| namespace == Some(wanted))
    }

    /// Keeps what is asked for.
    pub(super) fn retain<T>(&self, rows: &mut Vec<Row<T>>, book: &Book) {
        let labelled = self.labels.map(|labels| {
            let all = book.services().iter();
            let keys = all.filter(|service| labels.admits(&service.labels));
            keys.map(NamedService::key).collect::<BTreeSet<String>>()
        });
        if self.namespace.is_some() || labelled.is_some() {
            rows.retain(|row| {
                row.services.iter().any(|name| {
                    self.is_within(name) && labelled.as_ref().is_none_or(|keys| keys.contains(name))
                })
            });
        }
        if !self.wanted.is_empty() {
            rows.retain(|row| self.wanted.iter().any(|wanted| wanted.admits(row)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(service: &str, place: &str, pod: &str) -> Row<&'static str> {
        Row {
            item: "",
            id: String::new(),
            name: String::new(),
            services: vec![service.to_owned()],
            places: vec![place.to_owned()],
            pods: vec![pod.to_owned()],
        }
    }

    #[test]
    fn words_name_services_pods_and_places() {
        let web = row("shop/web", "10.96.0.1:80", "shop/web-1");
        let six = row("shop/six", "[fd00::1]:80", "shop/six-1");
        for (word, of_web, of_six) in [
            ("web", true, false),
            ("shop/web", true, false),
            ("other/web", false, false),
            ("svc/web", true, false),
            ("service/shop/web", true, false),
            ("pod/web", false, false),
            ("pod/web-1", true, false),
            ("web-1", true, false),
            ("10.96.0.1:80", true, false),
            ("10.96.0.1", true, false),
            ("10.96.0.1:81", false, false),
            ("10.96.0.10", false, false),
            ("[fd00::1]:80", false, true),
            ("fd00::1", false, true),
        ] {
            let wanted = Wanted::parse(word);
            assert_eq!(wanted.admits(&web), of_web, "{word}");
            assert_eq!(wanted.admits(&six), of_six, "{word}");
        }
    }

    #[test]
    fn words_that_nothing_answers_to_are_named() {
        let filter = Filter {
            wanted: ["svc/nobody", "web", "pod/x"].map(Wanted::parse).into(),
            namespace: None,
            labels: None,
        };
        let mut rows = vec![row("shop/web", "10.96.0.1:80", "shop/web-1")];
        filter.retain(&mut rows, &Book::default());
        let error = filter.require(&rows).unwrap_err();
        assert_eq!(error.to_string(), "nothing is found for svc/nobody, pod/x");
    }
}
