//! The event loop: the one task that writes. It feeds facts to the engine, has the engine write to
//! the maps, and attaches the programs.

use std::{future::pending, time::Instant};

use anyhow::{Context as _, Result};
use tokio::{sync::mpsc, time::sleep_until};

use super::{
    Stop,
    edges::Edges,
    engine::Core,
    explain,
    hooks::Hooks,
    machine::Machine,
    observer::Observer,
    phase::Phase,
    ports,
    schedule::{Due, Left, Schedule},
};
use crate::{
    lb0, maps::Table, model::Event, node, observe::node_conditions::Lb0Part, serve::local::Asked,
};

/// Events taken in before something is written.
const DRAIN: usize = 10_000;

/// The running agent.
pub(super) struct Agent {
    /// Engine and maps.
    pub(super) core: Core,
    /// Programs.
    pub(super) hooks: Hooks,
    /// Devices and addresses.
    pub(super) machine: Machine,
    /// When what is due.
    pub(super) schedule: Schedule,
    /// The API server's addresses, `lb0`, sockets.
    pub(super) edges: Edges,
    /// Log, metrics, Events, health.
    pub(super) observer: Observer,
    /// How far the start has come.
    pub(super) phase: Phase,
}

/// What the event loop waits for.
pub(super) struct Inputs {
    /// From the source of objects.
    pub(super) events: mpsc::Receiver<Event>,
    /// From netlink.
    pub(super) machine: mpsc::Receiver<node::State>,
    /// From verbs.
    pub(super) questions: mpsc::Receiver<Asked>,
    /// SIGTERM or SIGINT.
    pub(super) stop: Stop,
}

impl Agent {
    /// Until a signal arrives. Fails where the programs cannot be attached at all.
    pub(super) async fn run(mut self, inputs: Inputs) -> Result<()> {
        let Inputs {
            mut events,
            mut machine,
            mut questions,
            mut stop,
        } = inputs;
        loop {
            let next = self.schedule.next();
            tokio::select! {
                () = stop.wait() => {
                    self.observer.finish().await;
                    return Ok(());
                }
                event = events.recv() => {
                    let mut of_held = self.take(event.context("the source of objects has ended")?);
                    for _ in 0..DRAIN {
                        let Ok(event) = events.try_recv() else { break };
                        of_held |= self.take(event);
                    }
                    // Once for all of them: the sockets of the whole machine are listed.
                    if of_held {
                        self.look_at_held();
                    }
                }
                state = machine.recv() => {
                    self.see_machine(state.context("the watch of this machine's devices has ended")?)?;
                }
                found = self.machine.listed() => {
                    let event = self.machine.take_listed(found, self.core.cluster());
                    self.held_event(event);
                }
                Some(asked) = questions.recv() => explain::answer(asked, self.core.engine()),
                news = self.edges.quarantines.news() => {
                    self.observer.quarantines(&news);
                    self.core.handle(Event::Quarantined(news.quarantined));
                    self.queued(Instant::now());
                }
                question = self.edges.sockets.question() => question.answer(self.core.engine()),
                status = self.edges.lb0.next() => {
                    self.see_lb0(&status.context("the watch of lb0 has ended")?)?;
                }
                // Where services are reached depends on this machine: nothing is planned before its
                // state is known.
                due = sleep_until_due(next), if self.machine.state().is_some() => match due {
                    Due::Sync => self.sync()?,
                    Due::Settle => self.settle(),
                    Due::Audit => self.audit(),
                    Due::Attach => self.attach()?,
                    Due::Verify => self.verify()?,
                    Due::Held => {
                        self.machine.list_held();
                        self.schedule.held(Instant::now(), Left::Something);
                    }
                },
            }
        }
    }

    /// Takes in an event; true if it is about a cluster IP that this machine has itself.
    fn take(&mut self, event: Event) -> bool {
        let of_node = matches!(event, Event::Node(_) | Event::NodeGone);
        self.edges.received(&event);
        self.edges
            .rewriting
            .ports
            .new
            .received(&event, self.core.engine());
        self.observer.received(&event);
        if self.machine.received(&event) {
            self.schedule.attach(Instant::now());
        }
        let of_held = self.machine.holds_one_of(&event);
        self.core.handle(event);
        if of_node {
            self.refresh_addresses();
        }
        self.queued(Instant::now());
        of_held
    }

    /// Something is to be written.
    fn queued(&mut self, now: Instant) {
        self.observer.queued(now);
        self.schedule.change(now);
    }

    /// Netlink has shown a change of this machine.
    fn see_machine(&mut self, state: node::State) -> Result<()> {
        self.observer.missing_devices(&state.missing);
        self.observer.unwatched_devices(&state.unwatched);
        let event = self.machine.update(state, self.core.cluster());
        self.edges.lb0.received(&event);
        self.core.handle(event);
        self.machine.look_again(self.core.cluster());
        self.held_seen();
        self.schedule.change(Instant::now());
        self.refresh_addresses();
        self.attach()
    }

    /// Ports of cluster IPs that this machine has itself are left to the processes that serve them.
    fn look_at_held(&mut self) {
        let event = self.machine.look_at_held(self.core.cluster());
        self.held_event(event);
    }

    /// It was looked at which ports of such cluster IPs are served; an event if those are others.
    fn held_event(&mut self, event: Option<Event>) {
        if let Some(event) = event {
            self.core.handle(event);
            self.queued(Instant::now());
        }
        self.held_seen();
    }

    fn held_seen(&mut self) {
        let held = self.machine.held();
        let left = if held.is_empty() {
            Left::Nothing
        } else {
            Left::Something
        };
        self.schedule.held(Instant::now(), left);
        self.observer.held(&held.left_behind());
    }

    /// Gives the engine the addresses that node ports answer on, if they are known and new.
    fn refresh_addresses(&mut self) {
        let Some(new) = self.machine.new_addresses(self.core.cluster()) else {
            return;
        };
        self.observer.node_ports(self.machine.words(), &new);
        self.core.handle(Event::Addresses(new.addresses));
        self.queued(Instant::now());
    }

    fn see_lb0(&mut self, status: &lb0::PairStatus) -> Result<()> {
        self.observer.lb0(Lb0Part::Device, &status.problems);
        if self.edges.lb0.set_pair(status.pair) {
            self.attach()?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        if self.schedule.begin(Instant::now()) {
            self.core.retry();
        }
        if self.phase.is_synced() {
            self.edges.rewriting.ports.new.learn();
        }
        let rule = self.edges.rewriting.masquerade.make();
        self.observer.masquerade(rule);
        let done = self.core.sync();
        self.edges.rewriting.ports.new.written();
        self.schedule.synced(done.end, done.outcome());
        if done.report.synced {
            self.phase.synced();
        }
        self.observer.synced(&done, self.core.engine(), self.phase);
        if done.report.first_synced || done.report.writes[Table::NodePorts] > 0 {
            self.schedule.verify_soon(done.end);
        }
        if self.phase == Phase::Synced {
            self.attach()?;
        }
        let engine = self.core.engine();
        let problems = self.edges.synced(&done, engine, &self.machine, self.phase);
        if let Some(problems) = problems {
            self.observer.lb0(Lb0Part::Routing, &problems);
        }
        if done.report.first_synced || done.report.writes[Table::NodePorts] > 0 {
            self.refresh_ports();
        }
        Ok(())
    }

    /// The ports of rewritten sources follow this machine and the node ports of Services, once
    /// those are known.
    fn refresh_ports(&mut self) {
        if !self.phase.is_synced() {
            return;
        }
        let refreshed = self.edges.rewriting.ports.refresh(self.core.engine());
        self.observer.snat_ports(&refreshed);
    }

    fn settle(&mut self) {
        let (report, snapshot) = self.core.settle();
        let left = if snapshot.unsettled {
            Left::Something
        } else {
            Left::Nothing
        };
        self.schedule.settled(Instant::now(), left);
        self.observer.settled(&report, &snapshot);
    }

    fn audit(&mut self) {
        let (step, took, left) = self.core.audit();
        self.observer.audited(step, took, left);
        if left == Left::Nothing {
            self.refresh_ports();
        }
        self.schedule.audited(Instant::now(), left);
    }

    /// Attaches the programs to the devices as they are now.
    fn attach(&mut self) -> Result<()> {
        self.schedule.attaching();
        let Some(devices) = self.machine.devices() else {
            return Ok(());
        };
        self.observer.left_out_devices(&self.machine.left_out());
        let lb0 = self.edges.lb0.pair();
        let Some(report) = self.hooks.attach(&devices, lb0, self.phase)? else {
            return Ok(());
        };
        self.phase.attached();
        self.schedule.attached(Instant::now());
        if !report.problems.is_empty() {
            self.schedule.attach_failed(Instant::now());
        }
        self.observer.attached(&report, self.phase);
        self.edges.lb0.attached(report.lb0);
        let started = self.edges.quarantines.start();
        started.context("open the counts of handshakes")?;
        self.edges.sockets.start(self.hooks.attachments())
    }

    /// Attaches what another process has detached, and looks which ports it uses.
    fn verify(&mut self) -> Result<()> {
        self.schedule.verified(Instant::now());
        let are_others = self.machine.look_again(self.core.cluster());
        let Some(devices) = self.machine.devices() else {
            return Ok(());
        };
        if let Some(answers) = self.machine.answers() {
            self.observer
                .ports(ports::look(self.core.cluster(), &answers));
        }
        let rule = self.edges.rewriting.masquerade.verify();
        self.observer.masquerade(rule);
        let lost = self.observer.verified(self.hooks.verify(&devices));
        if lost || are_others {
            self.attach()
        } else {
            Ok(())
        }
    }
}

/// Returns what is due at its time, or at once if that has come: a timer would round it up to the
/// next millisecond, and one more, which is many times the work of a change. Waits forever if
/// nothing is due.
async fn sleep_until_due(next: Option<(Instant, Due)>) -> Due {
    let Some((at, due)) = next else {
        return pending().await;
    };
    if at > Instant::now() {
        sleep_until(at.into()).await;
    }
    due
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, time::Duration};

    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn what_is_due_does_not_wait_for_a_timer() {
        let now = Instant::now();
        let at_once = pin!(sleep_until_due(Some((now, Due::Sync)))).now_or_never();
        assert_eq!(at_once, Some(Due::Sync));
        let soon = now + Duration::from_millis(20);
        let late = Some((soon + Duration::from_hours(1), Due::Sync));
        assert_eq!(pin!(sleep_until_due(late)).now_or_never(), None);
        assert_eq!(pin!(sleep_until_due(None)).now_or_never(), None);
        assert_eq!(sleep_until_due(Some((soon, Due::Audit))).await, Due::Audit);
        assert!(Instant::now() >= soon);
    }
}
