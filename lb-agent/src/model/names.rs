//! One copy of each name that many objects share: namespaces, nodes, zones, ports. Owns no meaning.

use std::{collections::HashSet, sync::Arc};

use super::{ObjectKey, Service, Slice};

/// Names in use, and some that were.
#[derive(Default)]
pub(super) struct Names {
    known: HashSet<Arc<str>>,
    /// From this many on, unused names are searched for and dropped.
    full: usize,
}

impl Names {
    /// A Service's, in place of its own copies.
    pub(super) fn of_service(&mut self, service: &mut Service) {
        self.of_key(&mut service.key);
        for port in &mut service.ports {
            self.share(&mut port.name);
        }
        for (key, value) in &mut service.labels {
            self.share(key);
            self.share(value);
        }
        self.tidy();
    }

    /// A slice's, in place of its own copies.
    pub(super) fn of_slice(&mut self, slice: &mut Slice) {
        self.of_key(&mut slice.key);
        self.of_key(&mut slice.service);
        for port in &mut slice.ports {
            self.share(&mut port.name);
        }
        for endpoint in &mut slice.endpoints {
            for name in [&mut endpoint.node, &mut endpoint.zone]
                .into_iter()
                .flatten()
            {
                self.share(name);
            }
            if let Some(hints) = &mut endpoint.hints {
                let names = hints.zones.iter_mut().chain(&mut hints.nodes);
                names.for_each(|name| self.share(name));
            }
        }
        self.tidy();
    }

    /// Its name is its own.
    fn of_key(&mut self, key: &mut ObjectKey) {
        self.share(&mut key.namespace);
    }

    fn share(&mut self, name: &mut Arc<str>) {
        match self.known.get(name) {
            Some(known) => *name = Arc::clone(known),
            None => {
                self.known.insert(Arc::clone(name));
            }
        }
    }

    fn tidy(&mut self) {
        if self.known.len() > self.full {
            self.known.retain(|name| Arc::strong_count(name) > 1);
            self.full = 2 * self.known.len().max(1000);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(namespace: &str) -> ObjectKey {
        ObjectKey::new(namespace, "web")
    }

    #[test]
    fn equal_names_are_one() {
        let mut names = Names::default();
        let (mut a, mut b) = (key("shop"), key("shop"));
        names.of_key(&mut a);
        names.of_key(&mut b);
        assert!(Arc::ptr_eq(&a.namespace, &b.namespace));
    }

    #[test]
    fn names_that_nobody_uses_are_let_go() {
        let mut names = Names::default();
        let mut kept = key("kept");
        names.of_key(&mut kept);
        for n in 0..100_000 {
            names.of_key(&mut key(&n.to_string()));
            names.tidy();
        }
        assert!(names.known.len() <= 2001, "{}", names.known.len());
        assert!(names.known.contains("kept"));
    }
}
