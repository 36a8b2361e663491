//! The first sync of a large cluster is written in parts; what stands in the end is what one part
//! would have written.

use std::net::IpAddr;

use super::fixtures::{Rig, endpoint, service, slice};
use crate::{
    maps::{
        Table,
        mem::{self, Limits},
    },
    model::{Service, Slice},
};

/// More than two parts.
const SERVICES: u32 = 1200;
const LIMITS: Limits = Limits {
    hash: 1 << 14,
    pools: 1 << 12,
    slots: 1 << 12,
    backends: 1 << 12,
};

/// Every third one wants the address of another that is older, and one that comes in a later part
/// by its name.
fn cluster() -> (Vec<Service>, Vec<Slice>) {
    let services = (0..SERVICES).map(|n| {
        let of = if n % 3 == 0 { (n + 700) % SERVICES } else { n };
        let vip = format!("10.96.{}.{}", of / 250, of % 250);
        let mut service = service(&format!("s{n:04}"), &vip);
        let age = i64::from(if n % 3 == 0 { n } else { SERVICES + n });
        service.created = jiff::Timestamp::from_second(age).ok();
        service
    });
    let slices = (0..SERVICES).map(|n| {
        let address = format!("10.1.{}.{}", n / 250, n % 250);
        slice(&format!("s{n:04}-1"), vec![endpoint(&address, "there")])
    });
    (services.collect(), slices.collect())
}

#[test]
fn a_first_sync_in_parts_writes_each_frontend_once() {
    let (services, slices) = cluster();
    let addresses: std::collections::BTreeSet<IpAddr> =
        services.iter().map(|s| s.cluster_ips[0]).collect();
    let mut rig = Rig::unsynced(mem::new(LIMITS));
    let report = rig.list(services.clone(), slices.clone());
    assert_eq!(report.planned, SERVICES as usize);
    assert!(
        report.first_synced && report.failed.is_empty(),
        "{:?}",
        report.failed
    );
    assert_eq!(
        report.barriers, 0,
        "none of them was written for a loser first"
    );
    let each = report.writes[Table::Frontends] / addresses.len() as u64;
    assert_eq!(
        report.writes[Table::Frontends],
        each * addresses.len() as u64
    );
    assert_eq!(
        rig.engine.problems().len(),
        services.len() - addresses.len()
    );

    // The next agent finds every frontend as it should be, whatever was in which part.
    let mut rig = rig.restart();
    let report = rig.list(services, slices);
    assert!(report.first_synced);
    assert_eq!(report.writes[Table::Frontends], 0, "{:?}", report.writes);
    rig.empty();
}
