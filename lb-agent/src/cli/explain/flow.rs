//! One connection: which frontend it meets, what is known of it, and what a new one would get. Read
//! from the pins, so that it works without an agent.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context as _, Result};
use lb_common::{Addr, affinity::AffinityKey, frontend::NodeAddr, maps};

use crate::{
    cli::{
        args::Explain,
        get::{self, book, flows},
        state::state_dir,
    },
    inventory::{self, Frontend},
    maps::{
        dir::BpfDir,
        pinned::{Access, HashPin},
    },
    model::BackendState,
    names::NameFiles,
};

/// What is known of a connection from `source` to `destination`.
pub(super) fn explain(args: &Explain, source: &str, destination: &str) -> Result<String> {
    let (destination, proto) = destination.split_once('/').unwrap_or((destination, "TCP"));
    let proto = proto.to_uppercase();
    let to: SocketAddr = destination.parse().with_context(|| {
        format!("{destination:?} is no destination such as 10.96.0.10:80 or [fd00::a]:53/UDP")
    })?;
    let (from, port) = if let Ok(address) = source.parse::<SocketAddr>() {
        (address.ip(), Some(address.port()))
    } else {
        let ip: IpAddr = source
            .parse()
            .with_context(|| format!("{source:?} is neither an address nor ADDRESS:PORT"))?;
        (ip, None)
    };
    let dir = BpfDir::at(args.pins.dir());
    let book = book(&NameFiles::of(&state_dir(&args.state, &dir), dir.root()));
    let frontends = inventory::named(&dir, &book)?;
    let met = meets(&frontends, &dir, &proto, to)?;
    let mut text = String::new();
    let client = port.map_or_else(
        || from.to_string(),
        |p| SocketAddr::new(from, p).to_string(),
    );
    let _ = writeln!(text, "{client} to {to}/{proto}");
    if met.is_empty() {
        text.push_str("meets no frontend: it is not translated, and routed as it is\n");
    }
    for frontend in &met {
        one(frontend, &dir, from, &mut text)?;
    }
    known(
        &flows::list(&dir, &book)?.rows,
        from,
        port,
        to,
        &proto,
        &mut text,
    );
    Ok(text)
}

/// The frontends that a destination meets: of one address, or of a node port where the address is
/// the node's.
fn meets<'a>(
    all: &'a [Frontend],
    dir: &BpfDir,
    proto: &str,
    to: SocketAddr,
) -> Result<Vec<&'a Frontend>> {
    let shown = to.to_string();
    let of_port = |f: &&Frontend| f.protocol == proto && f.port == to.port();
    let of_address = |f: &&Frontend| format!("{}:{}", f.address, f.port) == shown;
    let exact: Vec<&Frontend> = all.iter().filter(of_port).filter(of_address).collect();
    let addresses = HashPin::<Addr, NodeAddr>::open(dir, maps::NODEADDRS, Access::Read)?;
    let is_ours = addresses.map().get(&to.ip().into())?.is_some();
    if !exact.is_empty() || !is_ours {
        return Ok(exact);
    }
    let any = if to.is_ipv4() { "*" } else { "[*]" };
    Ok(all
        .iter()
        .filter(of_port)
        .filter(|f| f.address == any)
        .collect())
}

fn one(f: &Frontend, dir: &BpfDir, from: IpAddr, text: &mut String) -> Result<()> {
    let service = f.service.as_ref();
    let service = service.map_or_else(
        || "a Service whose name nobody knows".to_owned(),
        ToString::to_string,
    );
    let scopes: Vec<&str> = f.scopes.iter().map(|s| s.name).collect();
    let _ = writeln!(
        text,
        "meets {}:{} of {service}, {}, for clients {}",
        f.address,
        f.port,
        f.kinds.join(","),
        scopes.join(" and ")
    );
    if f.source_ranges {
        text.push_str("  sources outside of loadBalancerSourceRanges are dropped\n");
    }
    if f.affinity_seconds > 0 {
        let records = HashPin::open(dir, maps::AFFINITY, Access::Read)?;
        // Both scopes are mostly one pool.
        let mut pools: Vec<u32> = f.scopes.iter().map(|scope| scope.pool).collect();
        pools.dedup();
        for pool in pools {
            let key = AffinityKey {
                client: from.into(),
                pool,
            };
            let found: Option<lb_common::affinity::Affinity> = records.map().get(&key)?;
            let backend = found.and_then(|a| f.backends.iter().find(|b| b.id == a.backend));
            if let Some(b) = backend {
                let _ = writeln!(text, "  is remembered: it keeps {}:{}", b.address, b.port);
            }
        }
    }
    match f.without_backends {
        Some("no-local-endpoint") => {
            text.push_str("  a new connection finds no endpoint on this node (policy Local)\n");
        }
        Some(_) => text.push_str("  a new connection is refused: no endpoint is ready\n"),
        None => {
            let _ = writeln!(
                text,
                "  a new connection gets one of these, chosen by {}:",
                f.scheduler
            );
        }
    }
    for b in f.backends.iter().filter(|b| b.weight > 0) {
        let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "-".to_owned());
        let _ = writeln!(
            text,
            "    {}:{} {} {} {}{}",
            b.address,
            b.port,
            name(&b.place.pod),
            name(&b.place.node),
            name(&b.place.zone),
            if b.state == BackendState::Spill {
                " if it spills"
            } else {
                ""
            }
        );
    }
    Ok(())
}

/// The connections of this tuple that are open.
fn known(
    rows: &[get::Row<flows::Flow>],
    from: IpAddr,
    port: Option<u16>,
    to: SocketAddr,
    proto: &str,
    text: &mut String,
) {
    let is_it = |f: &flows::Flow| {
        let client: Option<SocketAddr> = f.client.parse().ok();
        let client = client.is_some_and(|c| c.ip() == from && port.is_none_or(|p| p == c.port()));
        client && f.frontend == to.to_string() && f.protocol == proto
    };
    let mut any = false;
    for flow in rows.iter().map(|row| &row.item).filter(|f| is_it(f)) {
        any = true;
        let _ = writeln!(
            text,
            "open: {} to {} at {} ({}), {}, idle for {}s",
            flow.client,
            flow.frontend,
            flow.backend,
            flow.place.pod.as_deref().unwrap_or("-"),
            flow.state,
            flow.idle_seconds
        );
    }
    if !any {
        text.push_str("no packets of it are being translated; `get sockets` lists what sockets of this node have open\n");
    }
}
