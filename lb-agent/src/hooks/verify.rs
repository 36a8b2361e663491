//! Whether what was attached is still attached: another process may take a link or a qdisc away
//! without asking, and no hook reports that.

use anyhow::Result;
use lb_sys::{LinkTarget, TcHook};
use nix::net::if_::if_indextoname;

use super::{
    attach::{Attachments, TcMode},
    clsact,
    link_pin::device_pin,
};
use crate::{
    load::programs::{self, Hook, Spec},
    model::{Attached, Device, Verification},
};

/// The state of one hook.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    InPlace,
    Misplaced,
    Lost,
}

impl State {
    fn of(attached: bool) -> Self {
        if attached { Self::InPlace } else { Self::Lost }
    }
}

impl Attachments {
    /// Asks the kernel whether each program that was attached to the cgroup, to `devices` and to
    /// `lb0` is still there. (The iterator cannot be taken away: its link has no pin, and the
    /// kernel detaches none of its kind.)
    pub fn verify(&mut self, devices: &[Device]) -> Result<Verification> {
        let mut found = Verification::default();
        for spec in programs::ALL {
            for (device, pin) in self.attached(spec, devices) {
                let state = self.state(spec, device.as_ref(), &pin)?;
                let attached = || Attached {
                    program: spec.name,
                    device: device.as_ref().map(|d| d.name.clone()).unwrap_or_default(),
                };
                match state {
                    State::InPlace => {}
                    State::Misplaced => found.misplaced.push(attached()),
                    State::Lost => {
                        found.lost.push(attached());
                        self.links.forget(&pin);
                        self.lost.insert(pin);
                    }
                }
            }
        }
        Ok(found)
    }

    /// How many programs were found lost and could not be attached again.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.lost.len()
    }

    /// Forgets what was lost and is back, or does not belong there any more.
    pub(super) fn settle_lost(&mut self, devices: &[Device]) {
        let mut lost = std::mem::take(&mut self.lost);
        lost.retain(|pin| {
            programs::ALL.iter().any(|spec| {
                self.wanted(spec, devices)
                    .iter()
                    .any(|(device, name)| name == pin && !self.tc_does(spec, device.as_ref()))
            }) && !self.links.is_current(pin)
        });
        self.lost = lost;
    }

    /// tc does the work of XDP on a device whose XDP cannot be had.
    fn tc_does(&self, spec: &Spec, device: Option<&Device>) -> bool {
        spec.hook == Hook::Xdp && device.is_some_and(|d| self.no_xdp(d.ifindex).is_some())
    }

    /// Where the program belongs, each with the name of its pin.
    fn wanted(&self, spec: &Spec, devices: &[Device]) -> Vec<(Option<Device>, String)> {
        match spec.hook {
            Hook::Cgroup(_) => vec![(None, spec.name.to_owned())],
            Hook::IterSockets => Vec::new(),
            Hook::TcIngress | Hook::TcEgress | Hook::Lb0Out | Hook::Lb0Back | Hook::Xdp => {
                let places = self.places(spec.hook, devices).into_iter();
                places
                    .map(|d| {
                        let pin = device_pin(spec.name, &d.name, d.ifindex);
                        (Some(d), pin)
                    })
                    .collect()
            }
        }
    }

    /// Where this agent has attached the program, each with the name of its pin. A device that is
    /// gone took its programs along; netlink tells that.
    fn attached(&self, spec: &Spec, devices: &[Device]) -> Vec<(Option<Device>, String)> {
        let mut all = self.wanted(spec, devices);
        all.retain(|(device, pin)| {
            self.links.is_current(pin) && device.as_ref().is_none_or(|d| exists(d.ifindex))
        });
        all
    }

    fn state(&self, spec: &Spec, device: Option<&Device>, pin: &str) -> Result<State> {
        let Some(program) = programs::descriptor(&self.ebpf, spec.name)? else {
            return Ok(State::InPlace);
        };
        let program = lb_sys::program_id(program)?;
        let held = |target| State::of(self.links.holds(pin, program, target));
        let Some(device) = device else {
            return Ok(held(LinkTarget::Cgroup(self.cgroup().id)));
        };
        match (spec.hook.tc(), self.tc) {
            (None, _) => Ok(held(LinkTarget::Xdp(device.ifindex))),
            (Some(hook), TcMode::Clsact) => {
                let attached = clsact::is_attached(device.ifindex, hook, program)?;
                Ok(State::of(attached))
            }
            (Some(hook), TcMode::Tcx) => {
                if held(LinkTarget::Tcx(device.ifindex)) == State::Lost {
                    return Ok(State::Lost);
                }
                let order = lb_sys::query_tcx(device.ifindex, hook)?;
                Ok(place(&order, hook, program))
            }
        }
    }
}

/// First of all at ingress, last of all at egress.
fn place(order: &[u32], hook: TcHook, program: u32) -> State {
    let ours = match hook {
        TcHook::Ingress => order.first(),
        TcHook::Egress => order.last(),
    };
    if ours == Some(&program) {
        State::InPlace
    } else if order.contains(&program) {
        State::Misplaced
    } else {
        State::Lost
    }
}

/// (nix 0.31 gives an empty name instead of an error.)
fn exists(ifindex: u32) -> bool {
    if_indextoname(ifindex).is_ok_and(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_first_at_ingress_and_last_at_egress() {
        for (order, ingress, egress) in [
            (&[7][..], State::InPlace, State::InPlace),
            (&[7, 8], State::InPlace, State::Misplaced),
            (&[8, 7], State::Misplaced, State::InPlace),
            (&[8, 7, 9], State::Misplaced, State::Misplaced),
            (&[8, 9], State::Lost, State::Lost),
            (&[], State::Lost, State::Lost),
        ] {
            assert_eq!(place(order, TcHook::Ingress, 7), ingress, "{order:?}");
            assert_eq!(place(order, TcHook::Egress, 7), egress, "{order:?}");
        }
    }
}
