//! Which path the sockets of each pod take (pure): what the pod is by what is written of it, and
//! what its annotation, that of its namespace and its network namespace say.

mod decide;
mod guess;

use std::{collections::BTreeMap, net::IpAddr};

use jiff::Timestamp;

pub use decide::{ANNOTATION, Because, Decision, Path, decide};
pub use guess::{Guess, Traits, guess};

use crate::model::ObjectKey;

/// A pod of this node that has not ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pod {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Its UID.
    pub uid: String,
    /// By which the kubelet names its cgroup: the UID, but of a static pod the hash of its file.
    pub cgroup_uid: String,
    /// In the host's network namespace.
    pub host_network: bool,
    /// Its addresses, once it has them.
    pub ips: Vec<IpAddr>,
    /// The value of [`ANNOTATION`].
    pub annotation: Option<String>,
    /// What it seems to be.
    pub guess: Option<Guess>,
    /// It is being deleted.
    pub is_ending: bool,
    /// When it was made.
    pub created: Option<Timestamp>,
}

/// What the API server says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pods {
    /// By namespace and name.
    pub pods: BTreeMap<ObjectKey, Pod>,
    /// The value of [`ANNOTATION`] of the namespaces that have it.
    pub namespaces: BTreeMap<String, String>,
}

impl Pods {
    /// The annotation of the pod's namespace.
    #[must_use]
    pub fn of_namespace(&self, pod: &Pod) -> Option<&str> {
        self.namespaces.get(&*pod.key.namespace).map(String::as_str)
    }
}
