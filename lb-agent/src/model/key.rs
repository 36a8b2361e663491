//! Names of objects. Owns their text form, `namespace/name`.

use std::{fmt, sync::Arc};

/// Namespace and name of an object; shared, so that a clone costs two reference counts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Empty for objects without a namespace.
    pub namespace: Arc<str>,
    /// Unique in its namespace and kind.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// From the two parts.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
