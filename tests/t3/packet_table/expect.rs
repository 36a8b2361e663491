//! What a row says of a packet that leaves: where it goes, and as what.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result, bail};
use testbed::{addr, probe::Family};

use crate::packet_table::{
    packet::{
        Answer, At, Body, Change, Ends, History, Packet, Tuple, answered, icmp_sum, rewrite,
        transport, tuple,
    },
    plan::{BACKEND_PORT, Backend, CLIENT, ICMP_SOURCE_V4, TO_CLIENT, TO_ROUTER, Way},
};

/// How a packet leaves a hook.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Out {
    /// To the next program or the stack.
    Stack,
    /// To another machine, by this way; `None`: back by the device it came in on, by tc.
    Sent(Option<Way>),
    /// To the stack, as if it came in on `lb0`.
    Handed,
    /// Nowhere.
    Dropped,
    /// Wherever it went, the sum that the card had told is no longer that of the packet, says the
    /// kernel.
    SumBroken,
}

/// What is expected of a packet, once it is known what came out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Expected {
    /// That it leaves so, as these bytes from the network header on.
    Packet(Out, Vec<u8>),
    /// What came out cannot be it.
    Not(String),
}

/// The source port of a translated packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Port {
    /// The client's own.
    Own,
    /// One of the node's range for rewritten sources.
    Range,
}

/// Which address an ICMP error comes from after its translation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum By {
    /// The host that sent it.
    Sender,
    /// The address that the receiver had sent its packet to.
    Addressed,
    /// [`ICMP_SOURCE_V4`] for a load balancer's address on `lb0` (IPv6: the address itself).
    IcmpSource,
}

/// The backend that a packet goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum To {
    This(Backend),
    OneOf(&'static [Backend]),
    /// One of these, and not the row's first.
    Another(&'static [Backend]),
    /// One of these, and the row's first, by a connection of its own.
    First(&'static [Backend]),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    Anything,
    Passed,
    Dropped,
    Backend(To, Option<Port>),
    Client,
    Diverted(Backend),
    Answered(Answer),
    Echoed,
    Error(Out, By),
    SumBroken,
}

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Then(What);

/// It goes to the stack, no byte changed.
pub(crate) const PASSED: Then = Then(What::Passed);
/// It is dropped.
pub(crate) const DROPPED: Then = Then(What::Dropped);
/// It goes back to the client, from where the client had sent its packet.
pub(crate) const TO_THE_CLIENT: Then = Then(What::Client);
/// It is refused as a port without a listener refuses: a reset or port unreachable.
pub(crate) const REFUSED: Then = Then(What::Answered(Answer::Refusal));
/// It is answered with time exceeded.
pub(crate) const EXPIRED: Then = Then(What::Answered(Answer::TimeExceeded));
/// An echo reply comes back.
pub(crate) const ECHOED: Then = Then(What::Echoed);
/// The sum that the card told is no longer that of the packet.
pub(crate) const SUM_BROKEN: Then = Then(What::SumBroken);
/// What becomes of it is another row's business.
pub(crate) const ANYTHING: Then = Then(What::Anything);

/// It is answered with the size that the way on carries.
pub(crate) const fn too_big(mtu: u16) -> Then {
    Then(What::Answered(Answer::TooBig(mtu)))
}

/// It goes to this backend.
pub(crate) const fn to(backend: Backend) -> Then {
    Then(What::Backend(To::This(backend), None))
}

/// It goes to the stack, which fragments it on its way to this backend; its source is rewritten where
/// it leaves.
pub(crate) const fn by_the_stack_to(backend: Backend) -> Then {
    Then(What::Diverted(backend))
}

/// It goes to one of these backends.
pub(crate) const fn to_one_of(backends: &'static [Backend]) -> Then {
    Then(What::Backend(To::OneOf(backends), None))
}

/// It goes to one of these, but not to the one that the row's first packet went to.
pub(crate) const fn to_another(backends: &'static [Backend]) -> Then {
    Then(What::Backend(To::Another(backends), None))
}

/// It goes to that one of these backends that the row's first packet went to.
pub(crate) const fn to_the_first_of(backends: &'static [Backend]) -> Then {
    Then(What::Backend(To::First(backends), None))
}

/// An ICMP error follows the flow it is about, and comes from there.
pub(crate) const fn follows(out: Out, by: By) -> Then {
    Then(What::Error(out, by))
}

impl Then {
    /// With this kind of source port, whatever is usual.
    pub(crate) const fn port(self, port: Port) -> Self {
        match self.0 {
            What::Backend(to, _) => Self(What::Backend(to, Some(port))),
            _ => self,
        }
    }

    /// What is expected of a packet of which `out` has come. An error says that the row does not
    /// fit the packet, whatever came.
    pub(crate) fn expected(
        self,
        packet: &Packet,
        family: Family,
        history: &History,
        sent: &[u8],
        out: &[u8],
    ) -> Result<Expected> {
        let (out, bytes) = match self.0 {
            What::Anything => bail!("anything is expected"),
            What::Passed => (Out::Stack, sent.to_vec()),
            What::Dropped => (Out::Dropped, vec![]),
            What::SumBroken => (Out::SumBroken, vec![]),
            What::Backend(to, port) => {
                return to_backend(to, port, packet, family, history, sent, out);
            }
            What::Diverted(backend) => {
                let before = tuple(sent).context("the packet sent has no ends")?;
                let change = Change {
                    tuple: Tuple {
                        dst: backend.addr.ip(family),
                        dport: BACKEND_PORT,
                        ..before
                    },
                    hops: 0,
                };
                let bytes = rewrite(sent, &change);
                (
                    Out::Stack,
                    bytes.context("the packet sent cannot be translated")?,
                )
            }
            What::Client => to_client(packet, family, history, sent)?,
            What::Answered(answer) => {
                let handed = packet.at == At::Lb0;
                let from = speaker(packet, family);
                let bytes = answered(answer, sent, from, out).context("nothing can answer that")?;
                let out = if handed { Out::Handed } else { Out::Sent(None) };
                (out, bytes)
            }
            What::Echoed => {
                let bytes = answered(Answer::Echo, sent, None, out).context("no echo request")?;
                (Out::Handed, bytes)
            }
            What::Error(out, by) => {
                let bytes = error(out, by, packet, family, history, sent);
                (out, bytes.context("no error about a packet of this row")?)
            }
        };
        Ok(Expected::Packet(out, bytes))
    }

    /// Is it answered by the node itself?
    pub(crate) fn is_answer(self) -> bool {
        matches!(self.0, What::Answered(_))
    }

    /// Is whatever happens as expected?
    pub(crate) fn is_anything(self) -> bool {
        self.0 == What::Anything
    }
}

/// Who answers for a destination instead of itself.
fn speaker(packet: &Packet, family: Family) -> Option<Ipv4Addr> {
    let Ends::Given(_, dst) = packet.ends else {
        return None;
    };
    let outer = dst.addr.v4.octets()[..2] == [198, 19];
    (packet.at == At::Lb0 && family == Family::V4 && outer).then_some(ICMP_SOURCE_V4)
}

fn to_backend(
    target: To,
    port: Option<Port>,
    packet: &Packet,
    family: Family,
    history: &History,
    sent: &[u8],
    out: &[u8],
) -> Result<Expected> {
    let before = tuple(sent).context("the packet sent has no ends")?;
    let not = |why: &str| Ok(Expected::Not(why.to_owned()));
    let Some(now) = tuple(out) else {
        return not("what came out has no ends");
    };
    let is = |backend: &Backend| backend.addr.ip(family) == now.dst;
    let first = history.received().map(|tuple| tuple.dst);
    let (some, fits) = match target {
        To::This(ref backend) => (std::slice::from_ref(backend), true),
        To::OneOf(some) => (some, true),
        To::Another(some) => (some, Some(now.dst) != first),
        To::First(some) => (some, Some(now.dst) == first),
    };
    let backend = match (target, some.iter().find(|b| is(b) && fits)) {
        (To::This(backend), _) => backend,
        (_, Some(backend)) => *backend,
        (_, None) => return not("it is none of these backends"),
    };
    let src = match (backend.way, packet.at) {
        (Some(way), _) => way.source().ip(family),
        (None, At::Lb0) => addr::LB0.ip(family),
        (None, _) => before.src,
    };
    let again = packet.ends == Ends::Client && !matches!(target, To::Another(_));
    let port = port.unwrap_or(Port::Own);
    let sport = match (port, history.received()) {
        // A connection keeps the port that it got.
        (_, Some(first)) if again => first.sport,
        // A later fragment has no ports.
        _ if (before.sport, before.dport) == (0, 0) => 0,
        (Port::Own, _) => before.sport,
        (Port::Range, _) if now.sport >= 61_000 && now.sport != before.sport => now.sport,
        (Port::Range, _) => {
            return not(&format!("source port {} is not of the range", now.sport));
        }
    };
    let change = Change {
        tuple: Tuple {
            src,
            dst: backend.addr.ip(family),
            sport,
            dport: BACKEND_PORT,
        },
        hops: u8::from(backend.way.is_some()),
    };
    let bytes = rewrite(sent, &change).context("the packet sent cannot be translated")?;
    let out = match backend.way {
        Some(way) => Out::Sent(Some(way)),
        None => Out::Stack,
    };
    Ok(Expected::Packet(out, bytes))
}

/// The client of the row is reached by this way.
fn way_to(client: IpAddr, family: Family) -> Way {
    if client == CLIENT.ip(family) {
        TO_CLIENT
    } else {
        TO_ROUTER
    }
}

fn to_client(
    packet: &Packet,
    family: Family,
    history: &History,
    sent: &[u8],
) -> Result<(Out, Vec<u8>)> {
    let first = history.sent().context("no packet of the row came before")?;
    let by_lb0 = history.at == Some(At::Lb0);
    let out = match packet.at {
        At::Ingress(_) if by_lb0 => Out::Handed,
        At::Ingress(_) | At::Tunnel => Out::Sent(Some(way_to(first.src, family))),
        At::Egress(_) | At::Lb0 | At::Lb0Back => Out::Stack,
    };
    let change = Change {
        tuple: first.turned(),
        hops: u8::from(matches!(out, Out::Sent(_))),
    };
    let bytes = rewrite(sent, &change).context("the packet sent cannot be translated")?;
    Ok((out, bytes))
}

fn error(
    out: Out,
    by: By,
    packet: &Packet,
    family: Family,
    history: &History,
    sent: &[u8],
) -> Option<Vec<u8>> {
    let Body::Error(_, quote) = &packet.body else {
        return None;
    };
    let header = transport(sent)?.at;
    let before = tuple(sent)?;
    let (n, _) = quote.index(history)?;
    // What the receiver of the error had sent, as far as it is quoted.
    let own = tuple(&history.packets.get(n)?.0)?;
    let quoted = sent.get(header + 8..)?;
    let inner = rewrite(
        quoted,
        &Change {
            tuple: own,
            hops: 0,
        },
    )?;
    let speaks = match by {
        By::Sender => before.src,
        By::IcmpSource if family == Family::V4 => IpAddr::V4(ICMP_SOURCE_V4),
        By::Addressed | By::IcmpSource => own.dst,
    };
    let ends = Tuple {
        src: speaks,
        dst: own.src,
        ..before
    };
    let change = Change {
        tuple: ends,
        hops: u8::from(matches!(out, Out::Sent(_))),
    };
    let mut bytes = rewrite(sent, &change)?;
    bytes.truncate(header + 8);
    bytes.extend(inner);
    icmp_sum(&mut bytes, header, &ends)?;
    Some(bytes)
}
