//! The suite `socket`: what a connect and a send cost on this node, to VIPs and to anything else,
//! beside no load balancer and beside kube-proxy's rules. Owns the works, the rows and the bars.

mod agents;
mod bars;
mod proxies;
mod rows;
mod run_time;
mod special;
mod traced;
mod verify;

use std::time::Duration;

use anyhow::{Result, ensure};
use testbed::{
    cgroup::Cgroup,
    lan::{Lan, Offloads},
    netns::Netns,
};

pub(crate) use self::{
    agents::Balanced,
    rows::{Rows, place_of},
    verify::verify,
};
use self::{
    proxies::Rules,
    special::{SPECIAL_AT, Special},
    traced::Traced,
};
use crate::{
    client::Client,
    frame::{self, BLOCKS, Metric, PATIENCE, Plan, Step},
    ground::Ground,
    header::Header,
    progress::say,
    report::{Part, Report},
    services::{Class, shuffled},
    wire::Work,
};

const fn metric(name: &'static str, unit: &'static str) -> Metric {
    Metric { name, unit }
}

/// Work, its calls in a block, what comes of it.
const WORKS: [(Work, u32, &[Metric]); 6] = [
    (Work::UdpConnect, 20_000, &[metric(UDP_CONNECT, "ns")]),
    (Work::FirstPacket, 3000, &[metric(FIRST_PACKET, "ns")]),
    (Work::SendTo, 6000, &[metric(SENDTO, "ns")]),
    (
        Work::TcpConnect,
        600,
        &[metric(TCP_CONNECT, "µs"), metric("TCP connect p99", "µs")],
    ),
    (
        Work::Transaction,
        400,
        &[metric("connect-request-close", "µs")],
    ),
    (
        Work::Exchange,
        600,
        &[metric("request on an open connection", "µs")],
    ),
];
const UDP_CONNECT: &str = "UDP connect";
const FIRST_PACKET: &str = "first packet";
const SENDTO: &str = "sendto";
const TCP_CONNECT: &str = "TCP connect p50";

/// Rules that may take too long to load, and the time they get.
const SLOW: [(&str, u32, Duration); 2] = [
    ("nftables", 10_000, Duration::from_mins(2)),
    ("iptables", 10_000, Duration::from_secs(30)),
];
/// Numbers of nodes that nobody else has.
const TRACED: [u8; 3] = [21, 22, 23];
/// The class that needs other targets.
const V6: &str = "IPv6";

/// What nothing stands behind.
const DIRECT: &str = "direct";
const DIRECT_V6: &str = "direct, IPv6";

/// Builds it all, measures, removes it all.
pub(crate) fn run(quick: bool, rounds: usize) -> Result<Report> {
    ensure!(
        !run_time::counted_by_others()?,
        "kernel.bpf_stats_enabled is set, which slows every program: sysctl kernel.bpf_stats_enabled=0"
    );
    let header = Header::look()?;
    let (scales, rule_scales): (&[u32], &[u32]) = if quick {
        (&[100, 1000, 10_000], &[100])
    } else {
        (&[100, 1000, 10_000, 50_000], &[100, 1000, 10_000])
    };
    let ground = Ground::new()?;
    let plain = Netns::new("client")?;
    ground.plug(&plain)?;
    let free = Cgroup::new("direct")?;
    let mut client = Client::start()?;

    say(format_args!("socket: kube-proxy writes its rules"));
    let Rules { ruled, missing } = proxies::rules(
        &ground,
        &mut client,
        &["nftables", "iptables"],
        rule_scales,
        &SLOW,
    )?;
    let lan = Lan::new(Offloads::On)?;
    let balanced = balanced(&lan, scales)?;
    let traced = Traced::new(&lan, TRACED)?;

    let mut rows = Rows::of(&mut client);
    let outside = place_of(&plain, &free);
    rows.direct(DIRECT, &outside, None)?;
    rows.direct_v6(DIRECT_V6, &outside, None)?;
    rows.ours(&plain, &balanced)?;
    traced.rows(&mut rows, &plain)?;
    for one in &ruled {
        let place = place_of(one.node.netns(), one.node.cgroup());
        let title = format!("kube-proxy {}, {} services", one.mode, one.services);
        rows.direct(&format!("{title}: not a VIP"), &place, None)?;
        rows.vips(title.clone(), &place, shuffled(one.services), None)?;
        if one.services == SPECIAL_AT {
            rows.places(&title, &place, one.services, None)?;
        }
    }
    let (client, rows) = rows.into_parts();

    verify(&ground, client, &rows)?;
    let plan = Plan {
        suite: "socket",
        rows: rows.iter().map(|row| row.name.clone()).collect(),
        steps: &WORKS.map(|(_, _, metrics)| Step::new(metrics)),
        control: Some(0),
        rounds,
        most: rounds * PATIENCE,
        blocks: BLOCKS,
    };
    let part = if quick { 4 } else { 1 };
    let samples = frame::run(&plan, |turn| {
        let (row, (work, calls, _)) = (&rows[turn.row], WORKS[turn.step]);
        if row.by_rules && work == Work::UdpConnect {
            return Ok(None);
        }
        client
            .measure(&row.place, row.set, work, calls / part)
            .map(Some)
    })?;
    verify(&ground, client, &rows)?;
    let run_times = run_time::table(client, &rows)?;
    say(format_args!("socket: run times are counted"));
    Ok(Report {
        suite: "socket",
        quick,
        header,
        bars: bars::all(&samples, scales),
        parts: vec![Part {
            title: String::new(),
            over: Some(bars::over(&samples)),
            samples,
            charts: vec![UDP_CONNECT, FIRST_PACKET, TCP_CONNECT],
        }],
        tables: vec![run_times],
        notes: missing,
    })
}

/// A node for each number of services.
fn balanced(lan: &Lan, scales: &[u32]) -> Result<Vec<(u32, Balanced)>> {
    let mut balanced = Vec::new();
    for (number, &scale) in (1..).zip(scales) {
        let mut classes = vec![Class::Plain; usize::try_from(scale)?];
        if scale == SPECIAL_AT {
            for Special { class, numbers } in Special::all() {
                classes.extend(numbers.map(|_| class));
            }
        }
        let one = Balanced::new(lan, number, &classes)?;
        say(format_args!(
            "socket: an agent has taken {} services from manifests, {} ms after its start",
            classes.len(),
            one.took.as_millis()
        ));
        balanced.push((scale, one));
    }
    Ok(balanced)
}
