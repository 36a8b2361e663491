//! Every reason that the programs count has a row, or a case of the socket path that asserts it, or
//! an excuse.

use std::{collections::BTreeSet, fmt::Write as _};

use anyhow::{Result, ensure};
use lb_common::Reason;

use super::rows;
use crate::socket_reasons;

/// Why no test asks for a reason.
const EXCUSES: &[(Reason, &str)] = &[
    (
        Reason::SockStorageFailed,
        "a socket must have used up its option memory; no test does that",
    ),
    (
        Reason::UdpPeerFailed,
        "an LRU map takes every entry; only the kernel's own memory can fail",
    ),
    (
        Reason::SlotRetried,
        "a reader must meet a slot between two writes: `datapath_switch` prints how often it did",
    ),
    (
        Reason::FlowInsertFailed,
        "an LRU map takes every entry; only a race with another CPU fails",
    ),
    (
        Reason::SockBackendsFull,
        "a case is one call, and this needs connections that stay: `schedulers::bounds` counts it",
    ),
    (
        Reason::BackendSpilled,
        "which backend is the first depends on a hash: `schedulers::bounds` counts it",
    ),
    (
        Reason::TopologySpilled,
        "it needs connections that stay: `schedulers::spill` counts each",
    ),
    (
        Reason::PktDeviceChosen,
        "a row has packets, and this is about their socket: `lb0::chosen` counts it",
    ),
    (
        Reason::SockLoopbackSource,
        "it needs an agent without `lb0`: `loopback` counts it",
    ),
    (
        Reason::PktReset,
        "two packets leave, one to each side, and a row knows one: `removal::flows` counts it",
    ),
];

#[test]
fn every_reason_has_a_row_or_a_case_or_an_excuse() -> Result<()> {
    // Marked rows too: they say what is right.
    let rows = rows::all();
    let by_rows = rows.iter().flat_map(|row| &row.steps);
    let by_rows = by_rows.filter(|step| !step.then.is_anything());
    let by_rows = by_rows.flat_map(|step| step.counted.iter().copied());
    let by_cases = socket_reasons::CASES.iter().map(|case| case.reason);
    let shown: BTreeSet<Reason> = by_rows.chain(by_cases).collect();
    let mut wrong = String::new();
    for reason in Reason::ALL {
        let excuses = EXCUSES.iter().filter(|(of, _)| of == reason).count();
        let said = match (shown.contains(reason), excuses) {
            (true, 0) | (false, 1) => continue,
            (true, _) => "has a row or a case: its excuse is no longer needed",
            (false, 0) => "has neither a row nor a case nor an excuse",
            (false, _) => "has several excuses",
        };
        let _ = writeln!(wrong, "{} {said}", reason.name());
    }
    for (reason, excuse) in EXCUSES {
        if excuse.is_empty() {
            let _ = writeln!(wrong, "{}: an empty excuse", reason.name());
        }
    }
    ensure!(wrong.is_empty(), "{wrong}");
    Ok(())
}
