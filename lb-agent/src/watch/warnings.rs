//! Warnings about manifests: objects that exist twice, are skipped, or refer to nothing. None of
//! them stops the agent, and each is logged once.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use tracing::info;

use super::{
    convert_service, convert_slice,
    object::{self, Object},
};
use crate::{
    model::{Event, ObjectKey},
    observe::once::Once,
};

/// More at once would hide everything else in the log.
const MOST: usize = 100;

/// Logs each warning once.
#[derive(Default)]
pub(super) struct Warnings(Once<String>);

impl Warnings {
    /// Logs those that are new.
    pub(super) fn update(&mut self, now: BTreeSet<String>) {
        let (appeared, _) = self.0.update(now);
        for warning in appeared.iter().take(MOST) {
            info!(warning, "manifests");
        }
        if appeared.len() > MOST {
            info!(
                more = appeared.len() - MOST,
                "manifests: too many warnings to log them all"
            );
        }
    }
}

/// A file: its path, its objects, and its unsupported kinds, each with the number of its document.
pub(super) type File<'a> = (&'a Path, &'a [Object], &'a [(usize, String)]);

/// The warnings about these files, of which `lists` was made.
pub(super) fn of<'a>(files: impl Iterator<Item = File<'a>>, lists: &[Event]) -> BTreeSet<String> {
    let mut warnings = BTreeSet::new();
    let mut where_: BTreeMap<(&str, ObjectKey), &Path> = BTreeMap::new();
    for (path, objects, ignored) in files {
        let file = path.display();
        for (document, kind) in ignored {
            warnings.insert(format!(
                "{file}: document {document} is a {kind}: kind not supported"
            ));
        }
        for object in objects {
            let (kind, key, skipped) = match object {
                Object::Service(o) => (
                    "Service",
                    object::key(&o.metadata),
                    convert_service::service(o).err(),
                ),
                Object::Slice(o) => (
                    "EndpointSlice",
                    object::key(&o.metadata),
                    convert_slice::slice(o).err(),
                ),
                Object::Node(o) => ("Node", object::key(&o.metadata), None),
                Object::ServiceCidr(o) => ("ServiceCIDR", object::key(&o.metadata), None),
            };
            if let Some(why) = skipped {
                warnings.insert(format!("{file}: {kind} {key} is skipped: {}", why.reason));
            }
            if let Some(other) = where_.insert((kind, key.clone()), path) {
                let other = other.display();
                warnings.insert(format!(
                    "{kind} {key} is in {other} and again in {file}: the last one takes effect"
                ));
            }
        }
    }
    for event in lists {
        let Event::Slices(slices) = event else {
            continue;
        };
        for slice in slices {
            let service = ("Service", slice.service.clone());
            if !where_.contains_key(&service) {
                warnings.insert(format!(
                    "EndpointSlice {} has no Service: {} is in no file",
                    slice.key, slice.service
                ));
            }
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::yaml;

    #[test]
    fn warnings_name_the_file() {
        let service = |rest: &str| {
            format!("apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {rest}\n")
        };
        let slice = |labels: &str| {
            format!(
                "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: s, labels: {labels}}}\naddressType: IPv4\nendpoints: []\n"
            )
        };
        let texts = [
            service("{clusterIP: None}"),
            [service("{clusterIP: 10.96.0.1}"), slice("{}")].join("---\n"),
            "apiVersion: v1\nkind: Pod\n---\n".to_owned()
                + &slice("{kubernetes.io/service-name: gone}"),
        ];
        let read: Vec<yaml::Documents> = texts.iter().map(|text| yaml::read(text)).collect();
        let paths = ["a.yaml", "b.yaml", "c.yaml"].map(Path::new);
        let files = paths.iter().zip(&read);
        let files = files.map(|(p, d)| (*p, d.objects.as_slice(), d.ignored.as_slice()));
        let slices = read[2]
            .objects
            .iter()
            .map(Object::event)
            .filter_map(|e| match e {
                Event::Slice(s) => Some(s),
                _ => None,
            });
        let found = of(files, &[Event::Slices(slices.collect())]);
        let found: Vec<&str> = found.iter().map(String::as_str).collect();
        assert_eq!(
            found,
            [
                "EndpointSlice default/s has no Service: default/gone is in no file",
                "EndpointSlice default/s is in b.yaml and again in c.yaml: the last one takes effect",
                "Service default/web is in a.yaml and again in b.yaml: the last one takes effect",
                "a.yaml: Service default/web is skipped: headless: clusterIP None",
                "b.yaml: EndpointSlice default/s is skipped: no label kubernetes.io/service-name",
                "c.yaml: document 1 is a v1 Pod: kind not supported",
            ]
        );
    }
}
