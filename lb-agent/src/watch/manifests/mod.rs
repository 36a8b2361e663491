//! A directory of YAML files, followed live: one list of objects after each change. While a file
//! cannot be read, its last valid content stays in effect or, at the start, what a previous agent
//! wrote.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use notify::{RecursiveMode, Watcher as _};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};
use tracing::{debug, error, info, warn};

use crate::{
    model::{self, Event, ObjectKey},
    observe::once::Once,
};

use super::{
    convert_node, convert_service, convert_slice,
    metrics::WatchMetrics,
    object::{self, NotOurs, Object},
    warnings::{self, Warnings},
    yaml,
};

/// An edit counts as finished after this long without a change.
const SETTLE: Duration = Duration::from_millis(30);
/// A file that has just become empty is usually being written: it is read again after this.
const EMPTY: Duration = Duration::from_millis(250);
/// Interval of reading without a notification: a symbolic link into another directory does not
/// notify when its target changes.
const REREAD: Duration = Duration::from_secs(10);

/// Follows `dir` until the receiver is gone. `careful`: a previous agent has left services, some of
/// which may be those of a file that cannot be read now; so nothing counts as a whole list before
/// every file could be read once.
pub async fn follow(
    dir: PathBuf,
    node: String,
    careful: bool,
    events: mpsc::Sender<Event>,
    metrics: WatchMetrics,
) {
    let (wake, mut woken) = mpsc::channel(1);
    let mut folder = Folder::new(dir);
    let mut watch: Option<Watch> = None;
    let mut outbox = Outbox::new(careful);
    let mut warnings = Warnings::default();
    let mut failing = Once::default();
    while !events.is_closed() {
        watch = watch.filter(|watch| watch.is_current(&folder.dir));
        if watch.is_none() {
            watch = Watch::try_new(&folder.dir, &wake);
        }
        let mut next = Instant::now() + REREAD;
        match folder.read() {
            Ok(unsettled) => {
                let (_, gone) = failing.update([]);
                if !gone.is_empty() {
                    info!(dir = %folder.dir.display(), "directory is readable again");
                }
                if unsettled {
                    next = Instant::now() + EMPTY;
                }
                metrics.bad_manifests(folder.bad.len());
                let lists = folder.lists(&node);
                if outbox.sent.as_ref() != Some(&lists) || folder.warnings_due {
                    warnings.update(folder.warnings(&lists));
                }
                for event in outbox.next(lists, folder.bad.is_empty()) {
                    if events.send(event).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) => {
                let (appeared, _) = failing.update([format!("{error:#}")]);
                for error in appeared {
                    error!(
                        error,
                        "cannot read the manifests; the data path keeps working"
                    );
                }
                next = Instant::now() + Duration::from_secs(1);
            }
        }
        tokio::select! {
            () = sleep_until(next) => {}
            _ = woken.recv() => {
                sleep(SETTLE).await;
                while woken.try_recv().is_ok() {}
            }
            () = events.closed() => return,
        }
    }
}

/// What has been sent, and whether as whole lists.
struct Outbox {
    sent: Option<[Event; 4]>,
    /// Not before every file could be read.
    careful: bool,
    held_back: Once<()>,
}

impl Outbox {
    fn new(careful: bool) -> Self {
        Self {
            sent: None,
            careful,
            held_back: Once::default(),
        }
    }

    /// Events that bring the listener from the last lists to these; `whole`: every file could be
    /// read.
    fn next(&mut self, lists: [Event; 4], whole: bool) -> Vec<Event> {
        let was_careful = self.careful;
        self.careful &= !whole;
        let holds_back = self.careful.then_some(());
        let (appeared, gone) = self.held_back.update(holds_back);
        if !appeared.is_empty() {
            warn!(
                "a file cannot be read at the start: nothing that a previous agent wrote is changed or removed until every file can be read, and the agent is not ready"
            );
        }
        if !gone.is_empty() {
            info!("every manifest has been read: Services that no manifest names are removed");
        }
        let released = was_careful && !self.careful;
        let events = if !released && self.sent.as_ref() == Some(&lists) {
            Vec::new()
        } else if self.careful {
            piecemeal(self.sent.as_ref(), &lists)
        } else {
            lists.to_vec()
        };
        self.sent = Some(lists);
        events
    }
}

/// The lists object by object, so that an object missing from them does not count as gone; an
/// object of `before` does.
fn piecemeal(before: Option<&[Event; 4]>, now: &[Event; 4]) -> Vec<Event> {
    let (mut services, mut slices) = (BTreeSet::new(), BTreeSet::new());
    for event in before.into_iter().flatten() {
        match event {
            Event::Services(all) => services.extend(all.iter().map(|s| s.key.clone())),
            Event::Slices(all) => slices.extend(all.iter().map(|s| s.key.clone())),
            _ => {}
        }
    }
    let mut events = Vec::new();
    for event in now {
        match event {
            Event::Services(all) => {
                for service in all {
                    services.remove(&service.key);
                    events.push(Event::Service(service.clone()));
                }
            }
            Event::Slices(all) => {
                for slice in all {
                    slices.remove(&slice.key);
                    events.push(Event::Slice(slice.clone()));
                }
            }
            // Networks are sent as a whole list only: a network that is missing from it is not
            // routed.
            Event::Node(_) => events.push(event.clone()),
            _ => {}
        }
    }
    events.extend(services.into_iter().map(Event::ServiceGone));
    events.extend(slices.into_iter().map(Event::SliceGone));
    events
}

/// A watch of one directory, which may be replaced by another one under the same name.
struct Watch {
    _watcher: notify::RecommendedWatcher,
    identity: (u64, u64),
}

impl Watch {
    /// `None` where the directory cannot be watched: it is read again later in any case.
    fn try_new(dir: &Path, wake: &mpsc::Sender<()>) -> Option<Self> {
        Self::new(dir, wake.clone())
            .inspect_err(
                |error| debug!(error = %format!("{error:#}"), "cannot watch the directory, will poll"),
            )
            .ok()
    }

    fn new(dir: &Path, wake: mpsc::Sender<()>) -> Result<Self> {
        let identity = identity(dir).with_context(|| format!("look at {}", dir.display()))?;
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                // Reading is an event too; reacting to it would be a loop. A full channel has been
                // woken already.
                if event.as_ref().map_or(true, |e| !e.kind.is_access()) {
                    wake.try_send(()).unwrap_or_default();
                }
            })
            .context("start a watcher (inotify)")?;
        watcher
            .watch(dir, RecursiveMode::NonRecursive)
            .with_context(|| format!("watch {}", dir.display()))?;
        Ok(Self {
            _watcher: watcher,
            identity,
        })
    }

    fn is_current(&self, dir: &Path) -> bool {
        identity(dir).is_ok_and(|now| now == self.identity)
    }
}

fn identity(dir: &Path) -> std::io::Result<(u64, u64)> {
    fs::metadata(dir).map(|m| (m.dev(), m.ino()))
}

/// What the files hold, as far as it could be read.
struct Folder {
    dir: PathBuf,
    /// By file name, so that the order is the reader's.
    files: BTreeMap<PathBuf, File>,
    /// Names of files that cannot be read as they are.
    bad: BTreeSet<PathBuf>,
    /// A file has changed since the last warnings.
    warnings_due: bool,
}

#[derive(Default)]
struct File {
    text: String,
    objects: Vec<Object>,
    /// Kinds that are not read.
    ignored: Vec<(usize, String)>,
}

impl Folder {
    fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            files: BTreeMap::new(),
            bad: BTreeSet::new(),
            warnings_due: true,
        }
    }

    /// The warnings about the files.
    fn warnings(&mut self, lists: &[Event]) -> BTreeSet<String> {
        self.warnings_due = false;
        let files = self.files.iter();
        let files = files.map(|(path, f)| (path.as_path(), &f.objects[..], &f.ignored[..]));
        warnings::of(files, lists)
    }

    /// Reads what changed. True: a file has just become empty, look again soon.
    fn read(&mut self) -> Result<bool> {
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
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                if self.bad.insert(path.to_owned()) {
                    warn!(file = %path.display(), %error, "cannot read the file; its last valid content stays in effect");
                }
                self.files.entry(path.to_owned()).or_default();
                return false;
            }
        };
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
        self.warnings_due = true;
        if documents.problems.is_empty() {
            if self.bad.remove(path) {
                info!(file = %path.display(), "file is readable again");
            }
            known.objects = documents.objects;
            return false;
        }
        let fresh = self.bad.insert(path.to_owned());
        if fresh || changed {
            for p in &documents.problems {
                warn!(file = %path.display(), document = p.document, reason = %p.reason, "cannot read a document; the last valid content of the file stays in effect");
            }
        }
        if known.objects.is_empty() {
            known.objects = documents.objects;
        }
        false
    }

    /// Everything, as four events. Of objects with the same name, the one in the last file takes
    /// effect.
    fn lists(&self, node: &str) -> [Event; 4] {
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
fn is_manifest(path: &Path) -> bool {
    let hidden = path
        .file_name()
        .is_none_or(|n| n.as_encoded_bytes().starts_with(b"."));
    let extension = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default();
    !hidden && matches!(extension, "yaml" | "yml" | "json")
}

#[cfg(test)]
mod tests;
