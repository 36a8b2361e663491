//! The suite `socket`: what a connect and a send cost on this node, to VIPs and to anything else,
//! beside no load balancer and beside kube-proxy's rules. Owns the rows and the bars.

mod agents;
mod bars;
mod proxies;
mod run_time;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lb_common::scheduler::Scheduler;
use testbed::{
    cgroup::Cgroup,
    lan::{Lan, Offloads},
    netns::Netns,
};

pub(crate) use self::agents::Balanced;
use self::proxies::Rules;
use crate::{
    client::{Client, Set},
    frame::{self, BLOCKS, Metric, PATIENCE, Plan, Step},
    ground::Ground,
    header::Header,
    progress::say,
    report::{Part, Report},
    services::{Class, backends, backends_v6, shuffled, vip, vip_v6},
    wire::{Where, Work},
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
/// Services of each kind other than plain.
const SPECIAL: usize = 64;
/// The scale at which they are.
const SPECIAL_AT: u32 = 1000;
/// The class that needs other targets.
const V6: &str = "IPv6";
/// Those that the agent knows, besides the default.
fn schedulers() -> impl Iterator<Item = &'static str> {
    let others = Scheduler::ALL
        .iter()
        .filter(|s| **s != Scheduler::default());
    others.map(|s| s.name())
}

/// What nothing stands behind.
const DIRECT: &str = "direct";
const DIRECT_V6: &str = "direct, IPv6";
/// It goes to so many addresses.
const ADDRESSES: u32 = 100;
/// Targets of a row whose way is looked at before and after the rounds.
const SAMPLE: usize = 24;

/// One line of the report.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) place: Where,
    pub(crate) set: Set,
    /// Of rules in netfilter, a connect without a packet says nothing.
    by_rules: bool,
    /// Who may be reached by which target.
    sample: Vec<(SocketAddr, Vec<SocketAddr>)>,
    /// `--bpf-dir`, where programs run.
    programs: Option<PathBuf>,
}

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

    let mut rows = Rows::of(&mut client);
    let outside = place_of(&plain, &free);
    rows.direct(DIRECT, &outside, None)?;
    rows.direct_v6(DIRECT_V6, &outside, None)?;
    rows.ours(&plain, &balanced)?;
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
            classes.extend([Class::Affinity; SPECIAL]);
            classes.extend([Class::V6; SPECIAL]);
            for name in schedulers() {
                classes.extend([Class::Scheduler(name); SPECIAL]);
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

fn ours(scale: u32) -> String {
    format!("VIP, {scale} services")
}

fn missed(scale: u32) -> String {
    format!("not a VIP, {scale} services")
}

/// Where a row's sockets are made.
pub(crate) fn place_of(netns: &Netns, cgroup: &Cgroup) -> Where {
    Where {
        netns: netns.path(),
        cgroup: cgroup.path().to_owned(),
    }
}

/// Rows in the making.
pub(crate) struct Rows<'a> {
    client: &'a mut Client,
    rows: Vec<Row>,
}

impl<'a> Rows<'a> {
    /// None yet.
    pub(crate) const fn of(client: &'a mut Client) -> Self {
        Self {
            client,
            rows: Vec::new(),
        }
    }

    /// The client, which knows their targets, and the rows.
    pub(crate) fn into_parts(self) -> (&'a mut Client, Vec<Row>) {
        (self.client, self.rows)
    }

    /// All rows with our programs.
    fn ours(&mut self, plain: &Netns, balanced: &[(u32, Balanced)]) -> Result<()> {
        for (scale, one) in balanced {
            let place = place_of(plain, &one.cgroup);
            let dir = one.node.bpf_dir().to_owned();
            self.direct(&missed(*scale), &place, Some(dir.clone()))?;
            if *scale == SPECIAL_AT {
                self.direct_v6(&format!("{}, IPv6", missed(*scale)), &place, Some(dir))?;
            }
        }
        for (scale, one) in balanced {
            let place = place_of(plain, &one.cgroup);
            let add = |rows: &mut Self, name: String, numbers: Vec<u32>| {
                rows.vips(name, &place, numbers, Some(one.node.bpf_dir().to_owned()))
            };
            add(self, ours(*scale), shuffled(*scale))?;
            if Some(*scale) == balanced.last().map(|(most, _)| *most) {
                let programs = Some(one.node.bpf_dir());
                self.places(&ours(*scale), &place, *scale, programs)?;
            }
            if *scale == SPECIAL_AT {
                let classes = ["affinity", V6].into_iter().chain(schedulers());
                let starts = (*scale..).step_by(SPECIAL);
                for (class, start) in classes.zip(starts) {
                    let numbers: Vec<u32> = (start..).take(SPECIAL).collect();
                    let name = format!("{}, {class}", ours(*scale));
                    if class == V6 {
                        let pairs = numbers.into_iter().map(|i| (vip_v6(i), backends_v6(i)));
                        self.add(
                            name,
                            &place,
                            pairs.collect(),
                            Some(one.node.bpf_dir().to_owned()),
                        )?;
                    } else {
                        add(self, name, numbers)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// To backends, without a VIP.
    pub(crate) fn direct(
        &mut self,
        name: &str,
        place: &Where,
        programs: Option<PathBuf>,
    ) -> Result<()> {
        let pairs = shuffled(ADDRESSES)
            .into_iter()
            .filter_map(|i| backends(i).first().copied())
            .map(|backend| (backend, vec![backend]))
            .collect();
        self.add(name.to_owned(), place, pairs, programs)
    }

    /// [`Self::direct`] of IPv6.
    fn direct_v6(&mut self, name: &str, place: &Where, programs: Option<PathBuf>) -> Result<()> {
        let pairs = shuffled(ADDRESSES)
            .into_iter()
            .filter_map(|i| backends_v6(i).first().copied())
            .map(|backend| (backend, vec![backend]))
            .collect();
        self.add(name.to_owned(), place, pairs, programs)
    }

    /// To the VIP of the first service alone, of the middle one, of the last.
    fn places(
        &mut self,
        title: &str,
        place: &Where,
        services: u32,
        programs: Option<&Path>,
    ) -> Result<()> {
        for (word, i) in [
            ("first", 0),
            ("middle", services / 2),
            ("last", services - 1),
        ] {
            self.vips(
                format!("{title}, {word}"),
                place,
                vec![i],
                programs.map(Path::to_owned),
            )?;
        }
        Ok(())
    }

    /// To the VIPs of these services.
    pub(crate) fn vips(
        &mut self,
        name: String,
        place: &Where,
        numbers: Vec<u32>,
        programs: Option<PathBuf>,
    ) -> Result<()> {
        let pairs = numbers.into_iter().map(|i| (vip(i), backends(i))).collect();
        self.add(name, place, pairs, programs)
    }

    fn add(
        &mut self,
        name: String,
        place: &Where,
        pairs: Vec<(SocketAddr, Vec<SocketAddr>)>,
        programs: Option<PathBuf>,
    ) -> Result<()> {
        let set = self
            .client
            .targets(pairs.iter().map(|(target, _)| *target).collect())?;
        let step = pairs.len().div_ceil(SAMPLE);
        self.rows.push(Row {
            by_rules: name.starts_with("kube-proxy") || name.starts_with("IPVS"),
            name,
            place: place.clone(),
            set,
            sample: pairs.into_iter().step_by(step).collect(),
            programs,
        });
        Ok(())
    }
}

/// A fast wrong way must fail: TCP, connected UDP and unconnected UDP of every row reach whom they
/// should.
pub(crate) fn verify(ground: &Ground, client: &mut Client, rows: &[Row]) -> Result<()> {
    for row in rows {
        let targets = row.sample.iter().map(|(target, _)| *target).collect();
        let reached = client
            .reach(&row.place, targets)
            .with_context(|| format!("look where {} leads", row.name))?;
        for ((target, allowed), reached) in row.sample.iter().zip(reached) {
            let udp = row.by_rules || allowed.contains(&reached.udp);
            ensure!(
                udp && allowed.contains(&reached.tcp),
                "{}: {target} leads to {reached:?}, not to {allowed:?}",
                row.name
            );
        }
        let before = ground.datagrams()?;
        client.measure(&row.place, row.set, Work::SendTo, 1000)?;
        let arrived = ground.datagrams()? - before;
        ensure!(
            arrived >= 990,
            "{}: of 1000 datagrams {arrived} have arrived",
            row.name
        );
    }
    Ok(())
}
