//! Which TCP backends are in quarantine on this node, by what became of handshakes with them. Pure:
//! the caller brings counts and time, and makes the trials.

mod track;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Instant,
};

use lb_common::handshakes::Handshakes;
use track::Track;

/// Every backend that is watched.
#[derive(Debug, Default)]
pub struct Quarantine(BTreeMap<SocketAddr, Track>);

/// What a look or a trial has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Handshakes failed, and none was answered: it is in quarantine.
    Failed,
    /// It answers again.
    Answered,
    /// It was away for so long that clients try it themselves.
    Released,
}

impl Quarantine {
    /// Forgets all but these.
    pub fn keep(&mut self, watched: &BTreeSet<SocketAddr>) {
        self.0.retain(|at, _| watched.contains(at));
    }

    /// What was counted of a backend until now.
    pub fn counted(&mut self, at: SocketAddr, counts: Handshakes, now: Instant) -> Option<Change> {
        let Some(track) = self.0.get_mut(&at) else {
            self.0.insert(at, Track::new(counts, now));
            return None;
        };
        track.counted(counts, now)
    }

    /// Backends in quarantine to which a trial connection is due; each is due once until its result
    /// is told.
    pub fn trials(&mut self, now: Instant) -> Vec<SocketAddr> {
        let tracks = self.0.iter_mut();
        let due = tracks.filter_map(|(at, track)| track.takes_trial(now).then_some(*at));
        due.collect()
    }

    /// Whether a trial connection was answered.
    pub fn tried(&mut self, at: SocketAddr, answered: bool, now: Instant) -> Option<Change> {
        self.0.get_mut(&at)?.tried(answered, now)
    }

    /// Those in quarantine, the first one first.
    #[must_use]
    pub fn out(&self) -> Vec<SocketAddr> {
        let tracks = self.0.iter();
        let mut out: Vec<_> = tracks
            .filter_map(|(at, track)| Some((track.out_since()?, *at)))
            .collect();
        out.sort_unstable();
        out.into_iter().map(|(_, at)| at).collect()
    }
}

#[cfg(test)]
mod tests;
