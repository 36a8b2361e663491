//! What is in the network namespaces of this machine that tells whether their sockets are to be left
//! alone: rules that translate what their processes send (a mesh's side-car, the proxy of a nested
//! cluster), or an address that is a cluster IP. And which pod is in which.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    ops::ControlFlow,
    path::PathBuf,
    time::Instant,
};

use super::{
    destroy::on_a_thread,
    netns::{self, Closed, Identity, Processes},
    pod_cgroups,
};

mod judge;

use judge::judge;

/// Why the sockets of a namespace are left alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Reason {
    /// Its own rules translate what its processes send: they must see what was asked for.
    Rules,
    /// A device of it has a cluster IP: who asks there means that.
    Address,
}

impl Reason {
    /// One word, for machines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rules => "rules",
            Self::Address => "address",
        }
    }

    /// In a few words.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Rules => "rules of its own translate what its processes send (nat output)",
            Self::Address => "it has a cluster IP itself",
        }
    }
}

/// What is in a namespace.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Finding {
    /// `None` for a namespace like any pod's, as far as is known.
    pub reason: Option<Reason>,
    /// Of its devices.
    pub addresses: BTreeSet<IpAddr>,
    /// A part of it, which could not be read when it was looked into last.
    pub unread: Option<Unread>,
}

/// What could not be read, and is as it was known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unread {
    /// The error.
    pub why: String,
    /// Nor before: there was no look that read everything.
    pub always: bool,
}

impl Finding {
    /// Whether there is a reason was never known.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.unread.as_ref().is_some_and(|unread| unread.always)
    }
}

/// By cookie (SO_NETNS_COOKIE).
pub type Namespaces = BTreeMap<u64, Finding>;

/// What one look has found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Look {
    /// Every namespace but the agent's own, and what is known of it: of one that could not be looked
    /// into now, what was known before.
    pub namespaces: Namespaces,
    /// The cookies of those in which a pod's processes were seen, by what the kubelet calls the pod
    /// in the name of its cgroup.
    pub pods: BTreeMap<String, u64>,
    /// There are processes of pods, and none can be seen: the agent is in a pid namespace of its own.
    pub are_pods_hidden: bool,
    /// Those that could not be looked into, or not be read to the end at their last turn, and why.
    pub missed: BTreeMap<Identity, String>,
    /// Of some, not even the cookie is known: they were never entered.
    pub has_strangers: bool,
    /// There was no time for all: there may be others, with or without rules.
    pub is_partial: bool,
}

/// What is asked of a look.
#[derive(Debug, Default)]
pub struct Question {
    /// What was known before.
    pub before: Namespaces,
    /// Cookies of those of `before` that are not looked into again.
    pub settled: BTreeSet<u64>,
    /// The cgroup below which the processes of pods are looked for, if they are.
    pub root: Option<PathBuf>,
    /// Until when no other namespace is entered.
    pub until: Option<Instant>,
}

/// What makes a look cheaper than the one before.
#[derive(Debug, Default)]
pub struct Memory {
    processes: Processes,
    cookies: BTreeMap<Identity, u64>,
}

/// Looks into every network namespace but the caller's own. Fails if namespaces may not be entered
/// at all, or not be listed; nothing is known of any of them then, and `memory` stays.
pub async fn look(
    memory: &mut Memory,
    question: Question,
    is_cluster_ip: impl Fn(IpAddr) -> io::Result<bool> + Send + 'static,
) -> anyhow::Result<Look> {
    let mut taken = std::mem::take(memory);
    let done = on_a_thread(move || (taken.look(question, is_cluster_ip), taken));
    let (look, taken) = done.await?;
    *memory = taken;
    Ok(look?)
}

impl Memory {
    /// Leaves the calling thread in any namespace.
    fn look(
        &mut self,
        question: Question,
        is_cluster_ip: impl Fn(IpAddr) -> io::Result<bool>,
    ) -> io::Result<Look> {
        let own = lb_sys::netns_cookie().map_err(io::Error::other)?;
        let mut of_host = None;
        let mut look = Look::default();
        let mut cookies = BTreeMap::new();
        let mut refused = None;
        let mut permitted = Ok(());
        netns::visit(&mut self.processes, |id, entered| {
            if question.until.is_some_and(|until| Instant::now() >= until) {
                look.is_partial = true;
                return ControlFlow::Break(());
            }
            match entered {
                Ok(cookie) if cookie == own => {
                    of_host = Some(id);
                    // If not even its own, no other either.
                    permitted = netns::permitted();
                    if permitted.is_err() {
                        return ControlFlow::Break(());
                    }
                }
                Ok(cookie) => {
                    cookies.insert(id, cookie);
                    look.see(id, cookie, &question, &is_cluster_ip);
                }
                Err(closed) => {
                    let known = self.cookies.get(&id);
                    cookies.extend(known.map(|cookie| (id, *cookie)));
                    look.miss(id, &closed, known, &question.before);
                    refused = Some(closed.error);
                }
            }
            ControlFlow::Continue(())
        })?;
        permitted?;
        if let (Some(error), true) = (refused, cookies.is_empty()) {
            return Err(error);
        }
        if look.is_partial {
            for (cookie, finding) in question.before {
                look.namespaces.entry(cookie).or_insert(finding);
            }
            for (id, cookie) in std::mem::take(&mut self.cookies) {
                cookies.entry(id).or_insert(cookie);
            }
        }
        self.cookies = cookies;
        if let Some(root) = question.root {
            let of = |pid| {
                self.processes
                    .namespace(pid)
                    .filter(|id| Some(*id) != of_host)
            };
            let pods = pod_cgroups::namespaces(&root, of);
            look.are_pods_hidden = pods.are_hidden;
            let homes = pods.found.into_iter();
            look.pods = homes
                .filter_map(|(uid, id)| Some((uid, *self.cookies.get(&id)?)))
                .collect();
        }
        Ok(look)
    }
}

impl Look {
    /// The calling thread is inside.
    fn see(
        &mut self,
        id: Identity,
        cookie: u64,
        question: &Question,
        is_cluster_ip: impl Fn(IpAddr) -> io::Result<bool>,
    ) {
        let before = question.before.get(&cookie);
        let finding = match before {
            Some(finding) if question.settled.contains(&cookie) => finding.clone(),
            _ => judge(before, is_cluster_ip),
        };
        if let Some(unread) = &finding.unread {
            self.missed
                .insert(id, format!("{}: {}", name(id), unread.why));
        }
        self.namespaces.insert(cookie, finding);
    }

    fn miss(
        &mut self,
        id: Identity,
        Closed { path, error }: &Closed,
        cookie: Option<&u64>,
        before: &Namespaces,
    ) {
        self.missed
            .insert(id, format!("{} ({}): {error}", name(id), path.display()));
        match cookie.and_then(|cookie| Some((cookie, before.get(cookie)?))) {
            Some((cookie, finding)) => {
                self.namespaces.insert(*cookie, finding.clone());
            }
            None => {
                self.has_strangers = true;
            }
        }
    }
}

/// As `ls -l /proc/*/ns` shows it.
fn name((_, inode): Identity) -> String {
    format!("net:[{inode}]")
}

#[cfg(test)]
mod tests;
