//! Programs on a device's traffic control before Linux 6.6: filters of the clsact qdisc, which no
//! link holds. A pin of each program beside its filter tells `cleanup` where our filters are.

use std::{collections::BTreeSet, mem, os::fd::AsFd};

use anyhow::{Context, Result};
use aya::programs::{
    SchedClassifier, TcAttachType,
    tc::{
        NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle, qdisc_add_clsact,
        qdisc_detach_program,
    },
};
use lb_sys::TcHook;
use nix::{errno::Errno, net::if_::if_indextoname};
use rtnetlink::{
    packet_route::{
        RouteNetlinkMessage,
        tc::{self, TcAttribute, TcFilterBpfOption, TcHeader, TcMessage, TcOption},
    },
    sys::protocols::NETLINK_ROUTE,
};

use super::link_pin;
use crate::{
    load::programs,
    maps::dir::{BpfDir, names, unpin},
    model::Device,
    netlink,
};

/// Tells our filter from others of the same priority.
const HANDLE: u32 = 0x6c62;

/// First at ingress, last at egress.
const fn priority(hook: TcHook) -> u16 {
    match hook {
        TcHook::Ingress => 1,
        TcHook::Egress => u16::MAX - 1,
    }
}

const fn kind(hook: TcHook) -> TcAttachType {
    match hook {
        TcHook::Ingress => TcAttachType::Ingress,
        TcHook::Egress => TcAttachType::Egress,
    }
}

fn pin_name(program: &str, ifindex: u32) -> String {
    format!("{program}-{ifindex}")
}

/// Adds the filter or swaps its program in place, and pins the program.
pub(crate) fn attach(
    program: &mut SchedClassifier,
    dir: &BpfDir,
    name: &str,
    device: &Device,
    hook: TcHook,
) -> Result<()> {
    let handle = TcHandle::from(HANDLE);
    let swapped =
        SchedClassifierLink::attached(&device.name, kind(hook), priority(hook), handle, None)
            .map_err(Into::into)
            .and_then(|link| program.attach_to_link(link));
    let link = if let Ok(link) = swapped {
        link
    } else {
        // No filter of ours yet. The qdisc may exist already, and need not be ours.
        let _exists = qdisc_add_clsact(&device.name);
        program
            .attach_with_options(
                &device.name,
                kind(hook),
                TcAttachOptions::Netlink(NlOptions {
                    priority: priority(hook),
                    handle,
                    classid: None,
                }),
            )
            .context("cannot add a filter to the clsact qdisc")?
    };
    // The filter must outlive this process, and aya's link removes it when it is dropped.
    mem::forget(program.take_link(link)?);
    let pin = dir.clsact().join(pin_name(name, device.ifindex));
    link_pin::replace(&pin, program.fd()?.as_fd())
}

/// Whether the device has our filter, and it runs the program with this number.
pub(crate) fn is_attached(ifindex: u32, hook: TcHook, program: u32) -> Result<bool> {
    let parent = tc::TcHandle {
        major: tc::TcHandle::CLSACT.major,
        minor: match hook {
            TcHook::Ingress => tc::TcHandle::MIN_INGRESS,
            TcHook::Egress => tc::TcHandle::MIN_EGRESS,
        },
    };
    let mut request = TcMessage::default();
    request.header.index = i32::try_from(ifindex).context("an interface index")?;
    request.header.parent = parent;
    let request = RouteNetlinkMessage::GetTrafficFilter(request);
    let filters: Vec<RouteNetlinkMessage> =
        netlink::dump(NETLINK_ROUTE, request).context("cannot list the filters of a device")?;
    Ok(filters.iter().any(|filter| {
        let RouteNetlinkMessage::NewTrafficFilter(filter) = filter else {
            return false;
        };
        is_ours(&filter.header, hook) && runs(filter, program)
    }))
}

/// By its handle and its priority (the upper half of `info`).
fn is_ours(filter: &TcHeader, hook: TcHook) -> bool {
    u32::from(filter.handle) == HANDLE && filter.info >> 16 == u32::from(priority(hook))
}

fn runs(filter: &TcMessage, program: u32) -> bool {
    let options = filter.attributes.iter().filter_map(|a| match a {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    });
    options
        .flatten()
        .any(|o| *o == TcOption::Bpf(TcFilterBpfOption::ProgId(program)))
}

/// Removes filters from all devices but those of the given indices. Returns the names that the pins
/// of links would have in their place.
pub(crate) fn prune(dir: &BpfDir, keep: &BTreeSet<u32>) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for name in names(&dir.clsact())? {
        let path = dir.clsact().join(&name);
        let Some((program, ifindex)) = name
            .rsplit_once('-')
            .and_then(|(p, i)| Some((p, i.parse::<u32>().ok()?)))
        else {
            continue;
        };
        if keep.contains(&ifindex) {
            continue;
        }
        let spec = programs::ALL.iter().find(|s| s.name == program);
        let Some(hook) = spec.and_then(|s| s.hook.tc()) else {
            continue;
        };
        // Without a name the device is gone, and its filters with it. (nix 0.31 gives an empty name
        // instead of the error.)
        let device = if_indextoname(ifindex).ok();
        if let Some(device) = device.filter(|name| !name.is_empty()) {
            let device = device.to_string_lossy();
            match qdisc_detach_program(&device, kind(hook), program) {
                Ok(()) => tracing::info!(program, device = %device, "detached"),
                Err(TcError::IoError(e))
                    if e.kind() == std::io::ErrorKind::NotFound
                        || e.raw_os_error() == Some(Errno::ENODEV as i32) => {}
                Err(e) => {
                    return Err(e).with_context(|| {
                        format!("cannot remove the filter {program} of {device}")
                    });
                }
            }
            removed.push(link_pin::device_pin(program, &device, ifindex));
        }
        unpin(&path)?;
    }
    Ok(removed)
}
