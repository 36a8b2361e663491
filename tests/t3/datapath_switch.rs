//! Invariant 1 at full speed: the sync engine switches, deletes and inserts services as fast as it
//! can, in maps so small that every index, slot and id is used again at once, while sockets
//! connect. What a socket got is read from its record.

use std::{
    net::{Ipv4Addr, UdpSocket},
    num::NonZeroU16,
    os::fd::AsRawFd as _,
    path::Path,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use lb_agent::{
    hooks::{
        attach::{Attachments, TcMode},
        cgroup::Cgroup as AgentCgroup,
    },
    load::{self, OBJECT, Options},
    maps::{Maps, dir::BpfDir, stats::Stats},
    model::{Endpoint, Event, ObjectKey, Policy, Scheduler, Service, Slice, testing},
    plan::PlanConfig,
    settings::values::XdpMode,
    sync::Engine,
};
use lb_common::{
    Proto, Reason,
    sock::{SockRecord, kind},
};
use testbed::{cgroup::Cgroup, netns::Netns, pins::PinDir, process, sandbox::Sandbox};

const PORT: NonZeroU16 = NonZeroU16::new(80).unwrap();
/// Turns of an empty loop between the steps of each lookup, some hundred microseconds: time for
/// several switches.
const TEST_DELAY: u32 = 20_000;
const STORM: Duration = Duration::from_secs(6);
/// Two services that come and go, and one that stays while its endpoints and its policy change.
const SERVICES: u8 = 3;
const STAYS: u8 = 2;
/// Where the reader finds the pins.
const PINS: &str = "LB_TEST_PINS";

fn vip(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 96, 0, 10 + n)
}

fn name(n: u8) -> String {
    format!("web-{n}")
}

fn key(n: u8) -> ObjectKey {
    testing::key(&name(n))
}

/// The service that stays has a node port, so that a change of its internal policy makes its
/// cluster IP lead elsewhere.
fn staying(internal_policy: Policy) -> Service {
    let mut service = service(STAYS).node_port(30080);
    service.internal_policy = internal_policy;
    service
}

fn service(n: u8) -> Service {
    Service::cluster_ip(&name(n), vip(n))
        .port("", Proto::Udp, PORT.get())
        .scheduled(Scheduler::Random)
}

/// Endpoints of service `n` stand in 10.`n`.0.0/16, and nowhere else.
fn slice(n: u8, random: &mut Random) -> Slice {
    let endpoints = (0..=random.below(30)).map(|_| {
        Endpoint::ready(Ipv4Addr::new(10, n, random.below(2), random.below(200))).on("n1")
    });
    Slice::new(key(n), &name(n))
        .port("", Proto::Udp, PORT.get())
        .endpoints(endpoints)
}

/// A sequence of numbers that is the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u8) -> u8 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        u8::try_from((self.0 >> 33) % u64::from(n)).unwrap_or(0)
    }
}

#[test]
fn no_reader_sees_a_half_written_or_foreign_service_at_full_speed() -> Result<()> {
    if let Ok(pins) = std::env::var(PINS) {
        return readers(Path::new(&pins));
    }
    let netns = Netns::new("sw")?;
    // A route, so that what is not translated can be connected too.
    netns.ip("link add eth0 type veth peer name peer0\n\
         addr add 198.18.7.1/24 dev eth0\n\
         link set eth0 up\n\
         link set peer0 up\n\
         route add default via 198.18.7.2\n")?;
    let cgroup = Cgroup::new("sw")?;
    let pins = PinDir::new("sw")?;
    let (rounds, said) = netns.block(|| storm(&netns, &cgroup, pins.path()))?;
    let tally = said
        .lines()
        .find_map(|line| line.strip_prefix("tally "))
        .with_context(|| format!("the reader said no tally: {said}"))?;
    let stats = Stats::open(&BpfDir::at(pins.path()))?.reasons()?;
    let of = |reason| {
        stats
            .iter()
            .find(|(r, _)| *r == reason)
            .map_or(0, |(_, n)| *n)
    };
    eprintln!(
        "{rounds} rounds; {tally}; retried {}, stale {}",
        of(Reason::SlotRetried),
        of(Reason::StaleSlot)
    );
    assert_eq!(of(Reason::BadIndex), 0);
    assert!(rounds > 30, "only {rounds} rounds");
    Ok(())
}

/// Runs the readers and, beside them, the engine; returns its rounds and what the readers said.
fn storm(netns: &Netns, cgroup: &Cgroup, pins: &Path) -> Result<(u32, String)> {
    let dir = BpfDir::create(pins)?;
    let options = Options {
        capacities: [
            ("lb_pools", 6),
            ("lb_slots", 256),
            ("lb_backends", 256),
            ("lb_active", 256),
            ("lb_flow_counts", 256),
            ("lb_members", 512),
            ("lb_frontends", 32),
        ]
        .map(|(name, n)| (name.to_owned(), n))
        .into(),
        test_delay: TEST_DELAY,
        ..Options::default()
    };
    let (ebpf, mut maps, commit) = load::load(OBJECT, &dir, &options)?.split();
    let config = PlanConfig {
        node_name: Arc::from("n1"),
        external_ips: vec![],
        scheduler: Scheduler::Random,
        ..PlanConfig::default()
    };
    let mut engine = Engine::restore(&mut maps, config)?;
    let mut random = Random(7);
    engine.handle(Event::Services((0..SERVICES).map(service).collect()));
    engine.handle(Event::Slices(
        (0..SERVICES).map(|n| slice(n, &mut random)).collect(),
    ));
    engine.handle(Event::Service(staying(Policy::Cluster)));
    engine.handle(Event::NodeGone);
    sync(&mut engine, &mut maps)?;
    let agents = AgentCgroup::open(Some(cgroup.path()))?;
    let mut attachments = Attachments::new(ebpf, &dir, agents, TcMode::Tcx, XdpMode::Auto)?;
    let problems = attachments.follow(&[])?;
    ensure!(problems.is_empty(), "{problems:?}");
    commit.run()?;

    let sandbox = Sandbox {
        netns: Some(netns.path()),
        cgroup: Some(cgroup.path().to_owned()),
        resolv_conf: None,
    };
    let me = std::env::current_exe()?;
    let words = [
        me.to_str().context("a path that is no text")?,
        "--exact",
        "datapath_switch::no_reader_sees_a_half_written_or_foreign_service_at_full_speed",
        "--nocapture",
    ];
    let readers = process::command(&sandbox, &words)?
        .env(PINS, pins)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let start = Instant::now();
    let mut rounds = 0;
    while start.elapsed() < STORM + Duration::from_secs(1) {
        round(&mut engine, &mut maps, &mut random)?;
        rounds += 1;
    }
    let output = readers.wait_with_output()?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "{said}");
    Ok((rounds, said))
}

fn sync(engine: &mut Engine, maps: &mut Maps) -> Result<()> {
    let report = engine.sync(maps);
    ensure!(report.failed.is_empty(), "{:?}", report.failed);
    Ok(())
}

fn round(engine: &mut Engine, maps: &mut Maps, random: &mut Random) -> Result<()> {
    match random.below(9) {
        // Its cluster IP leads to another index and back: it may never be absent, nor lead to a
        // stranger.
        2 => {
            for policy in [Policy::Local, Policy::Cluster] {
                engine.handle(Event::Service(staying(policy)));
                sync(engine, maps)?;
            }
        }
        // Both go, and come back in the other one's place.
        0 => {
            engine.handle(Event::ServiceGone(key(0)));
            engine.handle(Event::ServiceGone(key(1)));
            sync(engine, maps)?;
            let first = random.below(2);
            for n in [first, 1 - first] {
                engine.handle(Event::Service(service(n)));
                sync(engine, maps)?;
            }
        }
        // One is replaced by the other within one step.
        1 => {
            let n = random.below(2);
            engine.handle(Event::ServiceGone(key(n)));
            engine.handle(Event::Slice(slice(1 - n, random)));
            sync(engine, maps)?;
            engine.handle(Event::Service(service(n)));
            sync(engine, maps)?;
        }
        _ => {
            let n = random.below(SERVICES);
            engine.handle(Event::Slice(slice(n, random)));
            sync(engine, maps)?;
        }
    }
    Ok(())
}

#[derive(Default, Debug)]
struct Tally {
    connects: u64,
    untranslated: [u64; SERVICES as usize],
    refused: [u64; SERVICES as usize],
}

/// The other process: connects and looks, on more threads than there are processors, so that
/// programs are interrupted.
fn readers(pins: &Path) -> Result<()> {
    let threads: Vec<_> = (0..3)
        .map(|n| {
            let pins = pins.to_owned();
            std::thread::spawn(move || reader(n, &pins))
        })
        .collect();
    let mut sum = Tally::default();
    for thread in threads {
        let tally = thread.join().map_err(|_| anyhow!("a reader panicked"))??;
        sum.connects += tally.connects;
        for n in 0..usize::from(SERVICES) {
            sum.untranslated[n] += tally.untranslated[n];
            sum.refused[n] += tally.refused[n];
        }
    }
    eprintln!("\ntally {sum:?}");
    ensure!(sum.connects > 500, "{sum:?}");
    let stays = usize::from(STAYS);
    ensure!(
        sum.untranslated[stays] == 0 && sum.refused == [0; SERVICES as usize],
        "{sum:?}"
    );
    Ok(())
}

fn reader(seed: u64, pins: &Path) -> Result<Tally> {
    let records = lb_sys::Map::<u32, SockRecord>::new(lb_sys::open_pin(&pins.join("maps/lb_sk"))?)?;
    let mut random = Random(seed);
    let mut tally = Tally::default();
    let end = Instant::now() + STORM;
    while Instant::now() < end {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        for _ in 0..64 {
            let n = random.below(SERVICES);
            let at = usize::from(n);
            tally.connects += 1;
            if let Err(error) = socket.connect((vip(n), PORT.get())) {
                if error.kind() != std::io::ErrorKind::ConnectionRefused {
                    bail!("connect to {}: {error}", vip(n));
                }
                tally.refused[at] += 1;
                continue;
            }
            let fd = socket.as_raw_fd().unsigned_abs();
            match records.get(&fd)? {
                Some(record) if record.kind != kind::NONE => {
                    let ours = record.backend.is_v4()
                        && record.backend.b[12..14] == [10, n]
                        && record.vip.b[12..] == vip(n).octets()
                        && (record.vip_port, record.backend_port) == (80, 80);
                    ensure!(ours, "service {n} led to {record:?}");
                }
                _ => tally.untranslated[at] += 1,
            }
        }
    }
    Ok(tally)
}
