//! The content of the directory of manifests, as far as it can be read.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use tracing::{debug, info, warn};

use crate::{
    model::{self, Event, ObjectKey},
    watch::{
        convert_node, convert_service, convert_slice,
        object::{self, NotOurs, Object},
        warnings, yaml,
    },
};

/// What the files hold, as far as it could be read.
pub(super) struct Folder {
    pub(super) dir: PathBuf,
    /// By file name, so that the order is the reader's.
    files: BTreeMap<PathBuf, File>,
    /// Names of files that cannot be read as they are.
    pub(super) bad: BTreeSet<PathBuf>,
    /// A file has changed since the last warnings.
    pub(super) warnings_due: bool,
}

#[derive(Default)]
struct File {
    text: String,
    objects: Vec<Object>,
    /// Kinds that are not read.
    ignored: Vec<(usize, String)>,
    /// Documents that cannot be read.
    problems: Vec<yaml::Problem>,
}

impl Folder {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            files: BTreeMap::new(),
            bad: BTreeSet::new(),
            warnings_due: true,
        }
    }

    /// The warnings about the files.
    pub(super) fn warnings(&mut self, lists: &[Event]) -> BTreeSet<String> {
        self.warnings_due = false;
        let files = self.files.iter();
        let files = files.map(|(path, f)| (path.as_path(), &f.objects[..], &f.ignored[..]));
        warnings::of(files, lists)
    }

    /// Reads what changed. True: a file has just become empty, look again soon.
    pub(super) fn read(&mut self) -> Result<bool> {
        let mut seen = BTreeSet::new();
        let mut unsettled = false;
        let list =
            fs::read_dir(&self.dir).with_context(|| format!("list {}", self.dir.display()))?;
        for entry in list {
            let path = entry
                .with_context(|| format!("list {}", self.dir.display()))?
                .path();
            if is_manifest(&path) && !path.is_dir() {
                unsettled |= self.read_file(&path);
                seen.insert(path);
            }
        }
        self.files.retain(|path, _| seen.contains(path));
        self.bad.retain(|path| seen.contains(path));
        Ok(unsettled)
    }

    fn read_file(&mut self, path: &Path) -> bool {
        match fs::read_to_string(path) {
            Ok(text) => self.take(path, text),
            Err(error) => {
                if self.bad.insert(path.to_owned()) {
                    warn!(file = %path.display(), %error, "cannot read the file; its last valid content stays in effect");
                }
                self.files.entry(path.to_owned()).or_default();
                false
            }
        }
    }

    /// Takes in the text of a file. True: it has just become empty, look again soon.
    pub(super) fn take(&mut self, path: &Path, text: String) -> bool {
        let known = self.files.entry(path.to_owned()).or_default();
        let empties = text.is_empty() && !known.objects.is_empty();
        if known.text == text && !empties && !self.bad.contains(path) {
            return false;
        }
        if empties && !known.text.is_empty() {
            known.text.clear();
            return true;
        }
        let changed = known.text != text;
        let documents = yaml::read(&text);
        known.text = text;
        known.ignored = documents.ignored;
        known.problems = documents.problems;
        self.warnings_due = true;
        if known.problems.is_empty() {
            if self.bad.remove(path) {
                info!(file = %path.display(), "file is readable again");
            }
            known.objects = documents.objects;
            return false;
        }
        let fresh = self.bad.insert(path.to_owned());
        if fresh || changed {
            for p in &known.problems {
                warn!(file = %path.display(), document = p.document, reason = %p.reason, "cannot read a document; the last valid content of the file stays in effect");
            }
        }
        if known.objects.is_empty() {
            known.objects = documents.objects;
        }
        false
    }

    /// What cannot be read, by file.
    pub(super) fn problems(&self) -> impl Iterator<Item = (&Path, &yaml::Problem)> {
        let files = self.files.iter();
        files.flat_map(|(path, file)| file.problems.iter().map(move |p| (path.as_path(), p)))
    }

    /// Everything, as four events. Of objects with the same name, the one in the last file takes
    /// effect.
    pub(super) fn lists(&self, node: &str) -> [Event; 4] {
        let mut services: BTreeMap<ObjectKey, model::Service> = BTreeMap::new();
        let mut slices: BTreeMap<ObjectKey, model::Slice> = BTreeMap::new();
        let mut our_node = Event::NodeGone;
        let mut cidrs = Vec::new();
        for object in self.files.values().flat_map(|f| &f.objects) {
            match object {
                Object::Service(o) => {
                    keep(
                        &mut services,
                        object::key(&o.metadata),
                        convert_service::service(o),
                    );
                }
                Object::Slice(o) => keep(
                    &mut slices,
                    object::key(&o.metadata),
                    convert_slice::slice(o),
                ),
                Object::Node(o) if o.metadata.name.as_deref() == Some(node) => {
                    our_node = Event::Node(convert_node::node(o));
                }
                Object::Node(_) => {}
                Object::ServiceCidr(o) => cidrs.push(object::service_cidr(o)),
            }
        }
        [
            our_node,
            Event::ServiceCidrs(cidrs),
            Event::Slices(slices.into_values().collect()),
            Event::Services(services.into_values().collect()),
        ]
    }
}

fn keep<T>(map: &mut BTreeMap<ObjectKey, T>, key: ObjectKey, converted: Result<T, NotOurs>) {
    match converted {
        Ok(object) => {
            map.insert(key, object);
        }
        Err(not_ours) => {
            debug!(object = %not_ours.key, reason = not_ours.reason, "not ours");
            map.remove(&key);
        }
    }
}

/// Hidden files belong to an editor, or to the inside of a mounted ConfigMap.
pub(super) fn is_manifest(path: &Path) -> bool {
    let hidden = path
        .file_name()
        .is_none_or(|n| n.as_encoded_bytes().starts_with(b"."));
    let extension = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default();
    !hidden && matches!(extension, "yaml" | "yml" | "json")
}
