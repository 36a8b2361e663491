//! The rule of nftables that masquerades: made when the first Service asks for it, before its pools
//! are written, and put back when somebody removed it.
//!
//! It stays when no Service asks any more, since open connections go through it; `lb-agent cleanup`
//! removes it.

use std::io;

use tracing::{info, warn};

use crate::{
    model::{Event, Forwarding, Service},
    netfilter::{Socket, masquerade},
};

/// Whether the rule is wanted, and whether it stands.
pub(super) struct Masquerade {
    /// `--forwarding`
    default: Forwarding,
    /// Some Service has asked for it.
    wanted: bool,
    state: State,
}

/// Whether it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Untried,
    /// The kernel refused it: tried again with each look, not with each change of a Service.
    Failed,
    Stands,
}

impl Masquerade {
    /// Nothing is asked yet.
    pub(super) fn new(default: Forwarding) -> Self {
        Self {
            default,
            wanted: false,
            state: State::Untried,
        }
    }

    /// An event was received.
    pub(super) fn received(&mut self, event: &Event) {
        let asks =
            |service: &Service| service.forwarding.unwrap_or(self.default) == Forwarding::Snat;
        self.wanted |= match event {
            Event::Service(service) => asks(service),
            Event::Services(all) => all.iter().any(asks),
            _ => false,
        };
    }

    /// Makes the rule, if it is wanted and was never tried. Its problem now, if it was.
    pub(super) fn make(&mut self) -> Option<Result<(), String>> {
        (self.wanted && self.state == State::Untried).then(|| self.put())
    }

    /// Looks whether the rule is still there as it was made, and puts it back.
    pub(super) fn verify(&mut self) -> Option<Result<(), String>> {
        if !self.wanted {
            return None;
        }
        if self.state == State::Stands {
            match Socket::open().and_then(|mut socket| masquerade::stands(&mut socket)) {
                Ok(true) => return Some(Ok(())),
                Ok(false) => warn!(
                    table = masquerade::TABLE,
                    "another process removed or changed the rule that masquerades, putting it back"
                ),
                Err(error) => return Some(Err(told(&error))),
            }
        }
        Some(self.put())
    }

    fn put(&mut self) -> Result<(), String> {
        let put = Socket::open().and_then(|mut socket| masquerade::put(&mut socket));
        self.state = match put {
            Ok(()) => State::Stands,
            Err(_) => State::Failed,
        };
        if put.is_ok() {
            info!(
                table = masquerade::TABLE,
                "sources are masqueraded for Services that ask for it"
            );
        }
        put.map_err(|error| told(&error))
    }
}

fn told(error: &io::Error) -> String {
    format!(
        "cannot make the nftables table inet {}: {error}; backends on this node see clients although their Services ask for snat: the kernel needs nf_tables with nat and masquerade",
        masquerade::TABLE
    )
}
