//! A decision with the names of what it is about.

use std::net::{IpAddr, SocketAddr};

use jiff::Timestamp;
use lb_common::{
    Addr, Reason,
    flow::NONE,
    trace::{Decision, Hook, set},
};
use serde::Serialize;

use super::namespaces::Namespaces;
use crate::{
    cli::get::API_VERSION,
    flows::clock::monotonic,
    inventory::{Place, ServicePort},
    names::{Book, record::protocol},
    visible,
};

/// One line.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    api_version: &'static str,
    kind: &'static str,
    pub(super) time: Timestamp,
    pub(super) hook: &'static str,
    /// What was counted, that under which it was refused first.
    pub(super) reasons: Vec<&'static str>,
    /// Is it refused or dropped?
    pub(super) refused: bool,
    verdict: &'static str,
    /// Of the backend's side, on its way back to the client.
    reply: bool,
    pub(super) protocol: Option<String>,
    pub(super) client: Option<String>,
    pub(super) client_pod: Option<String>,
    pub(super) process: Option<Process>,
    pub(super) frontend: Option<String>,
    pub(super) service: Option<ServicePort>,
    pub(super) backend: Option<String>,
    #[serde(flatten)]
    pub(super) place: Place,
    pool: Option<u32>,
    backend_id: Option<u32>,
    cpu: u32,
}

/// Who calls.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Process {
    pub(super) name: String,
    /// As the initial namespace counts.
    pub(super) pid: u32,
    cgroup_id: u64,
    netns_cookie: u64,
}

impl Row {
    /// Of a decision that was made just now.
    pub(super) fn of(d: &Decision, book: &Book, namespaces: &mut Namespaces) -> Self {
        let hook = Hook::ALL.get(usize::from(d.hook)).copied();
        let is_socket = hook.is_some_and(Hook::is_socket);
        let vip = place(d.vip, d.vip_port);
        let named = vip.and_then(|vip| book.destination(d.proto, vip));
        let backend = place(d.backend, d.backend_port);
        let client = client(d, namespaces);
        let client_pod = client
            .and_then(|(ip, _)| book.backend(ip))
            .and_then(|(s, e)| {
                let pod = e.pod.as_ref()?;
                Some(format!("{}/{pod}", s.namespace))
            });
        Self {
            api_version: API_VERSION,
            kind: "Decision",
            time: time(d.time_ns),
            hook: hook.map_or("unknown", Hook::name),
            reasons: reasons(d.reasons),
            refused: d.reasons & set::REFUSALS != 0,
            verdict: hook.map_or("unknown", |hook| verdict(hook, d.verdict)),
            reply: d.reply != 0,
            protocol: (d.proto != 0).then(|| protocol(d.proto)),
            client: client.map(|(ip, port)| match port {
                0 => ip.to_string(),
                port => SocketAddr::new(ip, port).to_string(),
            }),
            client_pod,
            process: is_socket.then(|| Process {
                name: comm(d),
                pid: d.pid,
                cgroup_id: d.cgroup,
                netns_cookie: d.netns,
            }),
            frontend: vip.map(|vip| vip.to_string()),
            service: named.map(ServicePort::of),
            backend: backend.map(|backend| backend.to_string()),
            place: backend.map_or_else(Place::default, |b| Place::of(book, named, b.ip())),
            pool: Some(d.pool).filter(|pool| *pool != NONE),
            backend_id: Some(d.backend_id).filter(|id| *id != NONE),
            cpu: d.cpu,
        }
    }
}

/// Address and port of the client; a socket that connects has neither, but its namespace may have
/// one address alone.
fn client(d: &Decision, namespaces: &mut Namespaces) -> Option<(IpAddr, u16)> {
    match place(d.client, d.client_port) {
        Some(known) => Some((known.ip(), known.port())),
        None => Some((namespaces.address(d.netns, d.vip.is_v4())?, 0)),
    }
}

fn place(addr: Addr, port: u16) -> Option<SocketAddr> {
    (addr != Addr::ZERO || port != 0).then(|| SocketAddr::new(addr.into(), port))
}

/// Names in the order of their numbers, those of refusals first.
fn reasons(bits: u64) -> Vec<&'static str> {
    let mut all: Vec<Reason> = Reason::ALL
        .iter()
        .copied()
        .filter(|reason| bits >> *reason as u32 & 1 == 1)
        .collect();
    all.sort_by_key(|reason| !reason.is_refusal());
    all.into_iter().map(Reason::name).collect()
}

/// What the program returned, in a word.
fn verdict(hook: Hook, returned: i32) -> &'static str {
    let words: &[(i32, &str)] = match hook {
        Hook::Connect | Hook::Sendmsg | Hook::Bind => &[(0, "refuse"), (1, "pass")],
        // `enum xdp_action`
        Hook::Xdp => &[(1, "drop"), (2, "pass"), (3, "tx"), (4, "redirect")],
        // TC_ACT_*
        Hook::TcIngress | Hook::TcEgress | Hook::Lb0Out | Hook::Lb0Back => {
            &[(-1, "pass"), (2, "drop"), (7, "redirect")]
        }
    };
    let word = words.iter().find(|(number, _)| *number == returned);
    word.map_or("unknown", |(_, word)| *word)
}

/// The name of the process, which may hold anything.
fn comm(d: &Decision) -> String {
    let end = d.comm.iter().position(|b| *b == 0);
    let name = String::from_utf8_lossy(&d.comm[..end.unwrap_or(d.comm.len())]);
    visible::word(&name)
}

/// The time of day of a moment of the monotonic clock.
fn time(monotonic_ns: u64) -> Timestamp {
    let age = monotonic().saturating_sub(monotonic_ns);
    let age = jiff::SignedDuration::from_nanos(i64::try_from(age).unwrap_or_default());
    let now = Timestamp::now();
    now.checked_sub(age).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_named_first() {
        let set = set::of(&[Reason::SlotRetried, Reason::PktNoRoute]);
        assert_eq!(reasons(set), ["pkt_no_route", "slot_retried"]);
        assert!(reasons(0).is_empty());
    }

    #[test]
    fn verdicts_are_words_of_their_hook() {
        assert_eq!(verdict(Hook::Connect, 0), "refuse");
        assert_eq!(verdict(Hook::Connect, 1), "pass");
        assert_eq!(verdict(Hook::Xdp, 2), "pass");
        assert_eq!(verdict(Hook::TcIngress, 2), "drop");
        assert_eq!(verdict(Hook::Lb0Back, -1), "pass");
    }
}
