//! Annotation, guess and finding, weighed against each other.

use super::{Guess, Pod};
use crate::sockets::namespaces::Reason;

/// `on` or `off`, on a Pod or a Namespace.
pub const ANNOTATION: &str = "lb-agent.io/socket-lb";

/// Where a pod's connections are translated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Path {
    /// When its sockets connect or send.
    Socket,
    /// Its packets, at `lb0`.
    Packet,
}

impl Path {
    /// One word, for machines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Packet => "packet",
        }
    }
}

/// What decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Because {
    /// Nothing speaks against the socket path.
    Default,
    /// It is in the host's network namespace, and translated as the host is.
    HostNetwork,
    /// Its annotation.
    Annotation,
    /// Its namespace's.
    NamespaceAnnotation,
    /// What is written of it.
    Guess(Guess),
    /// What is in its network namespace.
    Found(Reason),
}

impl Because {
    /// One word, for machines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::HostNetwork => "host-network",
            Self::Annotation => "annotation",
            Self::NamespaceAnnotation => "namespace-annotation",
            Self::Guess(guess) => guess.name(),
            Self::Found(reason) => reason.name(),
        }
    }

    /// In a few words.
    #[must_use]
    pub fn in_words(self) -> String {
        match self {
            Self::Default => "an ordinary pod".to_owned(),
            Self::HostNetwork => "in the host's network namespace".to_owned(),
            Self::Annotation => format!("{ANNOTATION} of the Pod"),
            Self::NamespaceAnnotation => format!("{ANNOTATION} of its Namespace"),
            Self::Guess(guess) => guess.in_words().to_owned(),
            Self::Found(reason) => reason.in_words().to_owned(),
        }
    }
}

/// A pod's path, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    /// Its path.
    pub path: Path,
    /// What decided.
    pub because: Because,
    /// What somebody should look at: an annotation that says something else than what is seen, or
    /// that cannot be read.
    pub conflict: Option<String>,
}

/// The Pod's annotation stands before its namespace's, and both before what is seen. `found` is
/// what is in its network namespace.
#[must_use]
pub fn decide(pod: &Pod, of_namespace: Option<&str>, found: Option<Reason>) -> Decision {
    let mut conflict = None;
    let mut read = |value: Option<&str>, whose: &str| match value? {
        "on" => Some(Path::Socket),
        "off" => Some(Path::Packet),
        other => {
            let text = format!(
                "{ANNOTATION} of the {whose} is {other:?}, neither \"on\" nor \"off\": it is ignored"
            );
            conflict.get_or_insert(text);
            None
        }
    };
    let own = read(pod.annotation.as_deref(), "Pod");
    let asked = match own {
        Some(path) => Some((path, Because::Annotation)),
        None => read(of_namespace, "Namespace").map(|path| (path, Because::NamespaceAnnotation)),
    };
    if pod.host_network {
        if asked == Some((Path::Packet, Because::Annotation)) {
            let text = format!(
                "{ANNOTATION} is \"off\", and the Pod has the host's network: it is translated as the host's processes are (--socket-lb)"
            );
            conflict.get_or_insert(text);
        }
        return Decision {
            path: Path::Socket,
            because: Because::HostNetwork,
            conflict,
        };
    }
    let seen = pod.guess.map(Because::Guess).or(found.map(Because::Found));
    let (path, because) = match (asked, seen) {
        (Some((path, because)), seen) => {
            if let (Path::Socket, Some(seen)) = (path, seen) {
                let text = format!(
                    "{} is \"on\", and without it the Pod's sockets would be left alone: {}",
                    because.in_words(),
                    seen.in_words()
                );
                conflict.get_or_insert(text);
            }
            (path, because)
        }
        (None, Some(seen)) => (Path::Packet, seen),
        (None, None) => (Path::Socket, Because::Default),
    };
    Decision {
        path,
        because,
        conflict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ObjectKey;

    fn pod(annotation: Option<&str>, guess: Option<Guess>) -> Pod {
        Pod {
            key: ObjectKey::new("shop", "web-1"),
            uid: "1".to_owned(),
            cgroup_uid: "1".to_owned(),
            host_network: false,
            ips: Vec::new(),
            annotation: annotation.map(str::to_owned),
            guess,
            is_ending: false,
            created: None,
        }
    }

    #[test]
    fn the_pods_word_stands_first_then_its_namespaces_then_what_is_seen() {
        let (on, off, mesh) = (Some("on"), Some("off"), Some(Guess::Istio));
        let rules = Some(Reason::Rules);
        for (own, of_namespace, guess, found, path, because, conflicts) in [
            (None, None, None, None, Path::Socket, "default", false),
            (None, None, mesh, None, Path::Packet, "istio", false),
            (None, None, None, rules, Path::Packet, "rules", false),
            (None, None, mesh, rules, Path::Packet, "istio", false),
            (off, None, None, None, Path::Packet, "annotation", false),
            (off, on, mesh, None, Path::Packet, "annotation", false),
            (on, off, None, None, Path::Socket, "annotation", false),
            (on, None, mesh, None, Path::Socket, "annotation", true),
            (on, None, None, rules, Path::Socket, "annotation", true),
            (
                None,
                off,
                None,
                None,
                Path::Packet,
                "namespace-annotation",
                false,
            ),
            (
                None,
                on,
                mesh,
                None,
                Path::Socket,
                "namespace-annotation",
                true,
            ),
            (Some("yes"), None, mesh, None, Path::Packet, "istio", true),
            (
                Some("yes"),
                off,
                None,
                None,
                Path::Packet,
                "namespace-annotation",
                true,
            ),
        ] {
            let decided = decide(&pod(own, guess), of_namespace, found);
            let what = format!("{own:?} {of_namespace:?} {guess:?} {found:?}: {decided:?}");
            assert_eq!(decided.path, path, "{what}");
            assert_eq!(decided.because.name(), because, "{what}");
            assert_eq!(decided.conflict.is_some(), conflicts, "{what}");
        }
    }

    #[test]
    fn a_pod_of_the_hosts_network_is_as_the_host() {
        let mut host = pod(Some("off"), Some(Guess::Istio));
        host.host_network = true;
        let decided = decide(&host, None, None);
        assert_eq!(decided.path, Path::Socket);
        assert_eq!(decided.because, Because::HostNetwork);
        assert!(decided.conflict.is_some());
    }
}
