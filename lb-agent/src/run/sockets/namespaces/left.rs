//! Which namespaces are to be left alone, why, and how much it matters.

use std::collections::BTreeMap;

use super::super::pod_paths::Word;
use crate::{
    clients::{Because, Path},
    sockets::namespaces::Namespaces,
};

/// A namespace that is to be left alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Left {
    pub(super) because: Because,
    pub(super) rank: Rank,
}

/// Who comes first where the map has no room for all. What others can make any number of comes last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::run::sockets) enum Rank {
    /// A pod's of this cluster, by annotation.
    Asked,
    /// A pod's, by what is written of it.
    Marked,
    /// A pod's, by what is in it.
    Found,
    /// It has the address of a pod, as others have.
    Possible,
    /// Not known to be a pod's.
    Other,
}

impl Left {
    /// By cookie: the word of a pod stands before what is in its namespace.
    pub(super) fn of(
        namespaces: &Namespaces,
        words: Option<&BTreeMap<u64, Word>>,
    ) -> BTreeMap<u64, Self> {
        let left = namespaces.iter().filter_map(|(cookie, finding)| {
            let left = match words.and_then(|words| words.get(cookie)) {
                Some(word) if word.path == Path::Socket => return None,
                Some(word) => Self {
                    because: word.because,
                    rank: word.rank,
                },
                None => Self {
                    because: Because::Found(finding.reason?),
                    rank: Rank::Other,
                },
            };
            Some((*cookie, left))
        });
        left.collect()
    }
}

impl Rank {
    /// Of what is said of a pod's namespace; `certain`: it is no other's.
    pub(in crate::run::sockets) const fn of(because: Because, certain: bool) -> Self {
        match because {
            _ if !certain => Self::Possible,
            Because::Annotation | Because::NamespaceAnnotation => Self::Asked,
            Because::Guess(_) => Self::Marked,
            Because::Found(_) | Because::Default | Because::HostNetwork => Self::Found,
        }
    }
}
