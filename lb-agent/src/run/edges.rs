//! What else acts on this machine beside the maps: the memory of the API server's addresses, `lb0`,
//! and the tasks that read sockets.

use std::path::Path;

use tokio::sync::watch;
use tracing::warn;

use super::{
    cluster_key::ClusterKey, engine::Synced, lb0::Lb0, machine::Machine, masquerade::Masquerade,
    phase::Phase, quarantine::Quarantines, snat_ports::Ports, sockets::Sockets,
};
use crate::{
    bootstrap::{Known, Memory, StateFile},
    model::Event,
    sync::Engine,
};

/// The edges of the event loop.
pub(super) struct Edges {
    api: ApiAddresses,
    /// The device and what is routed to it.
    pub(super) lb0: Lb0,
    /// Recounts and resets.
    pub(super) sockets: Sockets,
    /// What packets are rewritten with.
    pub(super) rewriting: Rewriting,
    /// Backends whose handshakes fail.
    pub(super) quarantines: Quarantines,
}

/// What packets are rewritten with, and placed by.
pub(super) struct Rewriting {
    /// The key of the hashes.
    pub(super) key: ClusterKey,
    /// The ports of rewritten sources.
    pub(super) ports: Ports,
    /// The rule of the stack's own.
    pub(super) masquerade: Masquerade,
}

impl Edges {
    /// Nothing happens yet.
    pub(super) fn new(
        api: ApiAddresses,
        lb0: Lb0,
        sockets: Sockets,
        rewriting: Rewriting,
        quarantines: Quarantines,
    ) -> Self {
        Self {
            api,
            lb0,
            sockets,
            rewriting,
            quarantines,
        }
    }

    /// An event was received.
    pub(super) fn received(&mut self, event: &Event) {
        self.api.received(event);
        self.lb0.received(event);
        self.rewriting.key.received(event);
        self.rewriting.masquerade.received(event);
    }

    /// A sync has ended: routes follow what is planned now, and stale sockets are looked for.
    /// Returns the problems of the routes, if they were looked at.
    pub(super) fn synced(
        &mut self,
        done: &Synced,
        engine: &Engine,
        machine: &Machine,
        phase: Phase,
    ) -> Option<Vec<String>> {
        let lost = done.report.udp_lost + done.report.connections_lost;
        self.sockets.set_tcp(engine.resets());
        self.sockets.set_ages(engine.ages());
        if done.report.first_synced || lost > 0 {
            self.sockets.wake();
        }
        if done.report.planned > 0 {
            self.quarantines.watch(engine.watched());
        }
        self.lb0.refresh(engine, machine.state(), phase)
    }
}

/// The API server's own addresses, learnt from events and kept for the next start.
pub(super) struct ApiAddresses {
    memory: Memory,
    file: StateFile,
    known: watch::Sender<Known>,
}

impl ApiAddresses {
    /// Begins with what a previous agent kept; the source of objects dials by what is received.
    pub(super) fn load(state_dir: &Path) -> (Self, watch::Receiver<Known>) {
        let file = StateFile::in_dir(state_dir);
        let known = file.load().unwrap_or_else(|error| {
            warn!(error = %format!("{error:#}"), "starting without the API server's last known addresses");
            Known::default()
        });
        let (sender, receiver) = watch::channel(known.clone());
        let addresses = Self {
            memory: Memory::new(known),
            file,
            known: sender,
        };
        (addresses, receiver)
    }

    fn received(&mut self, event: &Event) {
        let Some(known) = self.memory.see(event) else {
            return;
        };
        if let Err(error) = self.file.store(known) {
            warn!(error = %format!("{error:#}"), "cannot keep the API server's addresses for the next start");
        }
        self.known.send_replace(known.clone());
    }
}
