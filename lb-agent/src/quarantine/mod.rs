//! Which TCP backends are in quarantine on this node, by what became of handshakes with them. Pure:
//! the caller brings counts and time, and makes the trials.

mod track;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use lb_common::handshakes::Handshakes;
use track::Track;

/// Every backend that is watched.
#[derive(Debug, Default)]
pub struct Quarantine(BTreeMap<SocketAddr, Track>);

/// An id, and what was counted under it until now.
pub type Counted = (u32, Handshakes);

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
    /// Forgets all but those that are watched.
    pub fn keep(&mut self, is_watched: impl Fn(&SocketAddr) -> bool) {
        self.0.retain(|at, _| is_watched(at));
    }

    /// What was counted of a backend until now, by each id that it has. What an id had counted before
    /// says nothing: the id may have been another backend's.
    pub fn counted(&mut self, at: SocketAddr, counts: &[Counted], now: Instant) -> Option<Change> {
        let Some(track) = self.0.get_mut(&at) else {
            self.0.insert(at, Track::new(counts, now));
            return None;
        };
        track.counted(counts, now)
    }

    /// Backends in quarantine to which a trial connection is due, `most` of them, those that wait
    /// for longest; each is due once until its result is told.
    pub fn trials(&mut self, now: Instant, most: usize) -> Vec<SocketAddr> {
        let tracks = self.0.iter();
        let mut due: Vec<_> = tracks
            .filter(|(at, _)| may_be_tried(at.ip()))
            .filter_map(|(at, track)| Some((track.trial_due(now)?, *at)))
            .collect();
        due.sort_unstable();
        due.truncate(most);
        let due = due.into_iter().map(|(_, at)| at);
        due.inspect(|at| {
            if let Some(track) = self.0.get_mut(at) {
                track.begin_trial();
            }
        })
        .collect()
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

/// A backend can be anything that an object names; a connection from this node to these would
/// reach its own processes, or nobody in the cluster.
fn may_be_tried(ip: IpAddr) -> bool {
    let local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(local || ip.is_loopback() || ip.is_unspecified() || ip.is_multicast())
}

#[cfg(test)]
mod tests;
