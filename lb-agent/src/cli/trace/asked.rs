//! From words and names to what the programs are asked for.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Result, bail};
use lb_common::{
    Addr, Proto,
    trace::{Hook, set},
};

use crate::{
    cli::args::{Party, Trace},
    model::Cidr,
    names::{Book, NamedService},
    trace::{Asked, Vip},
};

/// The protocols that Services have.
const PROTOCOLS: [Proto; 3] = [Proto::Tcp, Proto::Udp, Proto::Sctp];

/// What the command line asks for.
pub(super) fn asked(args: &Trace, book: &Book) -> Result<Asked> {
    let mut hooks: Vec<Hook> = Vec::new();
    for hook in args.hook.iter().flat_map(|word| word.hooks()) {
        if !hooks.contains(hook) {
            hooks.push(*hook);
        }
    }
    if hooks.is_empty() {
        hooks = Hook::ALL.to_vec();
    }
    let mut reasons = match &args.reason[..] {
        [] => u64::MAX,
        some => set::of(some),
    };
    if args.drops {
        reasons &= set::REFUSALS;
    }
    if reasons == 0 {
        bail!("--drops leaves none of these reasons: nothing is refused or dropped under them");
    }
    let nets = |party: &Option<Party>| {
        let party = party.as_ref();
        party.map(|party| nets(args, party, book)).transpose()
    };
    let backend_port = match &args.backend {
        Some(Party::Net(_, port)) => *port,
        _ => 0,
    };
    Ok(Asked {
        hooks,
        reasons,
        vips: args
            .target
            .as_deref()
            .map(|target| vips(args, target, book))
            .transpose()?,
        clients: nets(&args.client)?,
        backends: nets(&args.backend)?,
        backend_port,
        limit: args.limit,
    })
}

/// The networks of a client or backend: those of every pod of that name.
fn nets(args: &Trace, party: &Party, book: &Book) -> Result<Vec<Cidr>> {
    let name = match party {
        Party::Net(net, _) => return Ok(vec![*net]),
        Party::Pod(name) => name,
    };
    let (namespace, name) = match name.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (args.namespace.as_deref(), name.as_str()),
    };
    let services = book.services().iter();
    let all: BTreeSet<IpAddr> = services
        .filter(|s| namespace.is_none_or(|namespace| s.namespace == namespace))
        .flat_map(|s| &s.endpoints)
        .filter(|e| e.pod.as_deref() == Some(name))
        .map(|e| e.address)
        .collect();
    if all.is_empty() {
        bail!("pod/{name} is no endpoint of a Service that is known here: give its address");
    }
    Ok(all.into_iter().map(Cidr::host).collect())
}

/// The frontends that the first word names.
fn vips(args: &Trace, target: &str, book: &Book) -> Result<Vec<Vip>> {
    if let Ok(place) = target.parse::<SocketAddr>() {
        return Ok(of_place(place.ip().into(), place.port()));
    }
    if let Ok(ip) = target.parse::<IpAddr>() {
        return Ok(vec![Vip::Whole(ip.into())]);
    }
    if let Some(port) = target.strip_prefix("*:").and_then(|p| p.parse().ok()) {
        let both = [Addr::v4([0; 4]), Addr::ZERO];
        return Ok(both.iter().flat_map(|any| of_place(*any, port)).collect());
    }
    let name = ["svc/", "service/", "services/"]
        .into_iter()
        .find_map(|kind| target.strip_prefix(kind));
    let Some(name) = name else {
        bail!("{target:?} is not svc/NAME, ADDRESS, ADDRESS:PORT or *:PORT");
    };
    let (namespace, name) = match name.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (args.namespace.as_deref(), name),
    };
    let mut all: Vec<Vip> = book
        .services()
        .iter()
        .filter(|s| s.name == name && namespace.is_none_or(|namespace| s.namespace == namespace))
        .flat_map(of_service)
        .collect();
    if all.is_empty() {
        let of = namespace.map(|n| format!(" of namespace {n}"));
        bail!(
            "no frontend of svc/{name}{} is known here: `lb-agent get services` lists those that are",
            of.unwrap_or_default()
        );
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

fn of_place(addr: Addr, port: u16) -> Vec<Vip> {
    let all = PROTOCOLS.iter();
    all.map(|proto| Vip::Port(addr, port, proto.number()))
        .collect()
}

/// Each frontend of a Service, and what becomes of ports that its addresses do not define.
fn of_service(service: &NamedService) -> Vec<Vip> {
    let mut all = Vec::new();
    for port in &service.ports {
        let proto = PROTOCOLS.iter().find(|p| p.to_string() == port.protocol);
        let Some(proto) = proto.map(|p| p.number()) else {
            continue;
        };
        for frontend in &port.frontends {
            if let Ok(place) = frontend.parse::<SocketAddr>() {
                let addr = place.ip().into();
                all.push(Vip::Port(addr, place.port(), proto));
                all.push(Vip::UnknownPorts(addr));
            } else if let Some((any, number)) = frontend.rsplit_once(':')
                && let Ok(number) = number.parse()
            {
                let addr = if any == "*" {
                    Addr::v4([0; 4])
                } else {
                    Addr::ZERO
                };
                all.push(Vip::Port(addr, number, proto));
            }
        }
    }
    all
}
