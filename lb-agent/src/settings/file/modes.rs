//! The sections `iptables`, `nftables` and `ipvs`, of which only that of the file's mode counts, as
//! in kube-proxy; and the section `conntrack`.

use anyhow::{Result, ensure};

use super::{ConfigFile, Mode, fields::Fields};
use crate::{
    model::{Cidr, Scheduler},
    settings::values::{Conntrack, duration},
};

/// kube-proxy's own mark.
const MASQUERADE_BIT: i64 = 14;
const SECOND: i64 = 1_000_000_000;
/// kube-proxy's `syncPeriod` where the file is silent.
const SYNC: i64 = 30 * SECOND;
/// Shorter periods are raised to this: the map audit would never pause, and a change that is
/// pending for twice the period makes the agent unhealthy.
const SHORTEST_SYNC: i64 = SECOND;

/// The sections `iptables`, `ipvs` and `nftables`.
pub(super) fn modes(fields: &mut Fields, mode: Mode, read: &mut ConfigFile) -> Result<()> {
    let mut iptables = fields.section("iptables")?;
    masquerade(&mut iptables, mode, true, &mut read.warnings)?;
    if iptables.flag("localhostNodePorts")? == Some(false) && mode == Mode::IpTables {
        read.warnings.push(
            "iptables.localhostNodePorts: nodePortAddresses decides whether node ports answer on loopback; no packet from outside reaches them there"
                .to_owned(),
        );
    }
    if iptables.flag("snatNodeInternalIP")? == Some(true) {
        read.warnings.push(
            "iptables.snatNodeInternalIP: the source is that of the route to the backend"
                .to_owned(),
        );
    }
    periods(&mut iptables, mode == Mode::IpTables, SECOND, read)?;
    iptables.end()?;

    let mut nftables = fields.section("nftables")?;
    let ours = mode == Mode::NfTables;
    masquerade(&mut nftables, mode, ours, &mut read.warnings)?;
    periods(&mut nftables, ours, SECOND, read)?;
    nftables.end()?;

    let mut ipvs = fields.section("ipvs")?;
    periods(&mut ipvs, mode == Mode::Ipvs, 0, read)?;
    let wanted = ipvs.text("scheduler")?;
    if mode == Mode::Ipvs {
        let name = wanted.as_deref().unwrap_or("rr");
        match scheduler(name) {
            Ok((found, told)) => {
                read.settings.scheduler = Some(found);
                read.warnings.extend(told);
            }
            Err(reason) => read.warnings.push(reason),
        }
    } else if wanted.is_some() {
        read.warnings.push(format!(
            "ipvs.scheduler: the mode is {}, and it counts in mode ipvs only",
            mode.name()
        ));
    }
    rest_of_ipvs(&mut ipvs, mode, &mut read.warnings)?;
    ipvs.end()
}

/// The mark and the switch of a section; both are read in any mode, and count where `checked`.
fn masquerade(
    section: &mut Fields,
    mode: Mode,
    checked: bool,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let bit = section.number("masqueradeBit", i32::MIN.into(), i32::MAX.into())?;
    let path = section.path("masqueradeBit");
    if let Some(bit) = bit.filter(|bit| *bit != MASQUERADE_BIT) {
        ensure!(
            !checked || (0..32).contains(&bit),
            "{path}: {bit} is not from 0 to 31"
        );
        warnings.push(format!("{path}: no packet is marked"));
    }
    if section.flag("masqueradeAll")? == Some(true) {
        let path = section.path("masqueradeAll");
        let reason = if checked && path.starts_with(mode.name()) || mode == Mode::Ipvs {
            "backends see the client's own address, and only what is sent on to another node gets this node's: start with --forwarding snat to give all of it this node's"
        } else {
            "it belongs to another mode"
        };
        warnings.push(format!("{path}: {reason}"));
    }
    Ok(())
}

/// The periods of a section, which count if it is the mode's own.
fn periods(section: &mut Fields, counts: bool, min: i64, read: &mut ConfigFile) -> Result<()> {
    let given_min = section.duration("minSyncPeriod")?.filter(|n| *n != 0);
    let given = section.duration("syncPeriod")?.filter(|n| *n != 0);
    if !counts {
        return Ok(());
    }
    let (min, period) = (given_min.unwrap_or(min), given.unwrap_or(SYNC));
    let (path_min, path) = (section.path("minSyncPeriod"), section.path("syncPeriod"));
    ensure!(min >= 0, "{path_min}: {} is negative", duration::show(min));
    ensure!(period > 0, "{path}: {} is negative", duration::show(period));
    ensure!(
        min <= period,
        "{path}: {} is shorter than minSyncPeriod, {}",
        duration::show(period),
        duration::show(min)
    );
    read.settings.min_sync_period = given_min.map(duration::std);
    if given.is_some_and(|given| given < SHORTEST_SYNC) {
        read.warnings.push(format!(
            "{path}: {} is too short for an audit of all maps, {} is used instead",
            duration::show(period),
            duration::show(SHORTEST_SYNC)
        ));
    }
    let given = given.map(|given| given.max(SHORTEST_SYNC));
    read.settings.sync_period = given.map(duration::std);
    Ok(())
}

/// By the name that IPVS has for it: the same here, or the nearest, and how the two differ.
fn scheduler(name: &str) -> Result<(Scheduler, Option<String>), String> {
    if let Some(found) = Scheduler::parse(name) {
        return Ok((found, None));
    }
    let (nearest, differs) = match name {
        "mh" => (
            Scheduler::Maglev,
            "it hashes the client's port too: sh keeps a client with its backend",
        ),
        "dh" => (
            Scheduler::SourceHash,
            "the destination is the Service itself, whose hash is one backend for all clients: the client's address is hashed instead",
        ),
        "sed" => (
            Scheduler::WeightedLeastConnections,
            "connections are counted without the one to come, which matters where weights differ and few are open",
        ),
        "nq" => (
            Scheduler::WeightedLeastConnections,
            "of idle backends, one is taken by weight",
        ),
        "lblc" | "lblcr" => (
            Scheduler::WeightedLeastConnections,
            "the destination is the Service itself, so no backend is nearer to it",
        ),
        _ => {
            let (names, default) = (Scheduler::names(), Scheduler::default().name());
            return Err(format!(
                "ipvs.scheduler: {name}: there is no such scheduler (known: {names}): {default} is used, unless --scheduler or a Service's annotation names another"
            ));
        }
    };
    let told = format!(
        "ipvs.scheduler: {name}: {} is used, the nearest: {differs}",
        nearest.name()
    );
    Ok((nearest, Some(told)))
}

fn rest_of_ipvs(ipvs: &mut Fields, mode: Mode, warnings: &mut Vec<String>) -> Result<()> {
    let counts = mode == Mode::Ipvs;
    for name in ["tcpTimeout", "tcpFinTimeout", "udpTimeout"] {
        let timeout = ipvs.duration(name)?.unwrap_or(0);
        let path = ipvs.path(name);
        ensure!(
            !counts || timeout >= 0,
            "{path}: {} is negative",
            duration::show(timeout)
        );
        if timeout != 0 {
            warnings.push(format!("{path}: there is no table of IPVS"));
        }
    }
    let excluded = ipvs.texts("excludeCIDRs")?;
    for (n, text) in excluded.iter().enumerate() {
        ensure!(
            !counts || text.trim() == text && Cidr::parse(text).is_some(),
            "ipvs.excludeCIDRs[{n}]: {text:?} is no network"
        );
    }
    if !excluded.is_empty() {
        warnings.push("ipvs.excludeCIDRs: there are no rules of IPVS to spare".to_owned());
    }
    if ipvs.flag("strictARP")? == Some(true) {
        warnings.push(
            "ipvs.strictARP: no address is assigned to a device, so no ARP answer is to be held back"
                .to_owned(),
        );
    }
    Ok(())
}

/// The section `conntrack`.
pub(super) fn conntrack(
    fields: &mut Fields,
    warnings: &mut Vec<String>,
) -> Result<Option<Conntrack>> {
    let mut section = fields.section("conntrack")?;
    let mut number = |name: &str| -> Result<Option<u32>> {
        let number = section.number(name, 0, i32::MAX.into())?;
        Ok(number.and_then(|n| u32::try_from(n).ok()))
    };
    let (max_per_core, min) = (number("maxPerCore")?, number("min")?);
    let be_liberal = section.flag("tcpBeLiberal")?.unwrap_or(false);
    let mut period = |name: &str| -> Result<_> { Ok(section.period(name)?.map(duration::std)) };
    let read = Conntrack {
        max_per_core: max_per_core.filter(|n| *n > 0),
        min,
        be_liberal,
        tcp_established: period("tcpEstablishedTimeout")?,
        tcp_close_wait: period("tcpCloseWaitTimeout")?,
        // As kubeadm writes them: 0 says what absence says.
        udp: period("udpTimeout")?.filter(|period| !period.is_zero()),
        udp_stream: period("udpStreamTimeout")?.filter(|period| !period.is_zero()),
    };
    section.dropped("max", warnings);
    section.end()?;
    Ok(Some(read).filter(|read| *read != Conntrack::default()))
}
