//! The suite `ipvs`: what a new flow costs on this node beside the kernel's own IPVS, in a guest
//! that has it. Owns the rows and the bars. Time in that guest is the number of instructions, so
//! only ratios say anything.

mod rules;

use anyhow::Result;
use testbed::{
    cgroup::Cgroup,
    lan::{Lan, Offloads},
    netns::Netns,
};

use self::rules::Virtual;
use crate::{
    bar::{Bar, Of},
    client::Client,
    frame::{self, BLOCKS, Metric, PATIENCE, Plan, Step},
    ground::Ground,
    header::Header,
    progress::say,
    report::{Over, Part, Report},
    samples::Samples,
    services::{Class, shuffled},
    socket::{Balanced, Rows, place_of, verify},
    wire::Work,
};

/// Work, its calls in a block, what comes of it.
const WORKS: [(Work, u32, Metric); 3] = [
    (Work::FirstPacket, 300, metric(FIRST_PACKET)),
    (Work::TcpConnect, 100, metric(TCP_CONNECT)),
    (Work::Transaction, 50, metric(TRANSACTION)),
];
const FIRST_PACKET: &str = "first packet";
const TCP_CONNECT: &str = "TCP connect p50";
const TRANSACTION: &str = "connect-request-close";
const STEPS: [&[Metric]; 3] = [&[WORKS[0].2], &[WORKS[1].2], &[WORKS[2].2]];

/// Where instructions are counted, one round is like the next.
const ROUNDS: usize = 3;
const DIRECT: &str = "direct";

const fn metric(name: &'static str) -> Metric {
    let unit = match name.as_bytes() {
        b"first packet" => "ns",
        _ => "µs",
    };
    Metric { name, unit }
}

fn ours(services: u32) -> String {
    format!("lb-agent, {services} services")
}

fn theirs(services: u32) -> String {
    format!("IPVS, {services} services")
}

/// Builds it all, measures, removes it all.
pub(crate) fn run(quick: bool, rounds: usize) -> Result<Report> {
    rules::load()?;
    let header = Header::look_at_the_agent()?;
    let scales: &[u32] = if quick { &[100] } else { &[100, 1000] };
    let ground = Ground::new()?;
    let plain = Netns::new("client")?;
    ground.plug(&plain)?;
    let free = Cgroup::new("direct")?;
    let mut client = Client::start()?;
    let lan = Lan::new(Offloads::On)?;

    let mut there = Vec::new();
    for (number, &scale) in (1..).zip(scales) {
        say(format_args!(
            "ipvs: {scale} services, by IPVS and by an agent"
        ));
        let classes = vec![Class::Plain; usize::try_from(scale)?];
        there.push((
            scale,
            Virtual::new(&ground, scale)?,
            Balanced::new(&lan, number, &classes)?,
        ));
    }

    let mut rows = Rows::of(&mut client);
    rows.direct(DIRECT, &place_of(&plain, &free), None)?;
    for (scale, ipvs, agent) in &there {
        let (by_us, by_ipvs) = (
            place_of(&plain, &agent.cgroup),
            place_of(&ipvs.netns, &ipvs.cgroup),
        );
        rows.direct(&format!("{}: not a VIP", ours(*scale)), &by_us, None)?;
        rows.direct(&format!("{}: not a VIP", theirs(*scale)), &by_ipvs, None)?;
        rows.vips(ours(*scale), &by_us, shuffled(*scale), None)?;
        rows.vips(theirs(*scale), &by_ipvs, shuffled(*scale), None)?;
    }
    let (client, rows) = rows.into_parts();

    verify(&ground, client, &rows)?;
    let rounds = rounds.min(if quick { 1 } else { ROUNDS });
    let plan = Plan {
        suite: "ipvs",
        rows: rows.iter().map(|row| row.name.clone()).collect(),
        steps: &STEPS.map(Step::new),
        control: Some(0),
        rounds,
        most: rounds * PATIENCE,
        blocks: if quick { 1 } else { BLOCKS },
    };
    let part = if quick { 2 } else { 1 };
    let samples = frame::run(&plan, |turn| {
        let (row, (work, calls, _)) = (&rows[turn.row], WORKS[turn.step]);
        client
            .measure(&row.place, row.set, work, calls / part)
            .map(Some)
    })?;
    verify(&ground, client, &rows)?;
    Ok(Report {
        suite: "ipvs",
        quick,
        header,
        bars: bars(&samples, scales),
        parts: vec![Part {
            title: String::new(),
            over: Some(Over::row(&samples, 0)),
            samples,
            charts: vec![FIRST_PACKET, TCP_CONNECT, TRANSACTION],
        }],
        tables: Vec::new(),
        notes: vec![
            "an emulated machine whose clock counts instructions, a nanosecond for each: only ratios say anything, and they \
             know nothing of caches"
                .to_owned(),
        ],
    })
}

fn bars(samples: &Samples, scales: &[u32]) -> Vec<Bar> {
    let mut bars = Vec::new();
    for &scale in scales {
        for name in [FIRST_PACKET, TCP_CONNECT, TRANSACTION] {
            bars.push(Bar::at_most_times(
                format!("{name}, lb-agent over IPVS, {scale} services"),
                Of::new(samples, name, &ours(scale), &theirs(scale)),
                1.0,
            ));
        }
    }
    bars
}
