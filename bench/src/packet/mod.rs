//! The suite `packet`: what a packet from outside to a node port costs, by XDP and by tc, to
//! backends elsewhere and here, beside the smallest programs, plain routing and kube-proxy's rules.
//! Owns the rows and the bars.

mod asm;
pub(crate) mod balance;
mod balancers;
mod found;
mod kinds;
mod network;
mod programs;
mod sample;
mod settle;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    net::Ipv4Addr,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use testbed::{cluster::Cluster, host::Host};

pub(crate) use self::programs::template;
use self::{
    balancers::{LOCAL_PORT, REMOTE_PORT, TARGET},
    kinds::{KINDS, Kind, MANY, NEW, SMALL},
    network::{DOWN, Hop, LOCAL, Network, REMOTE, UP, backend, ifindex},
    programs::{Cell, Shape, Sink, Then, generator},
    settle::settled,
};
use crate::{
    client::Client,
    frame::{self, BLOCKS, PATIENCE, Plan},
    header::Header,
    progress::say,
    report::{Over, Part, Report},
    wire::Program,
};

/// Flows die when nothing comes for half a minute, in the kernel's table and in ours: before that
/// they are woken.
const WARM: Duration = Duration::from_secs(15);

/// Where a row's packets end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// At the first program: no packet is forwarded.
    Node,
    /// Where they come from.
    Client,
    Server,
    Pod,
}

/// Services of a kind of backend.
#[derive(Debug, Clone, Copy)]
struct Balanced {
    network: Ipv4Addr,
    port: u16,
}

/// One line of the report.
struct Row {
    name: String,
    hop: Rc<Hop>,
    end: End,
    /// The sink on the node's own device.
    at_node: Option<Sink>,
    /// By kind of packets.
    generators: Vec<(Program, Cell)>,
    /// For the look at some packets.
    sample: Program,
    balanced: Option<Balanced>,
    /// Whose table of flows is to be emptied before new ones.
    by_rules: bool,
    /// By the mask of flows: frames of another length, or that are answered, are of the same.
    woken: RefCell<BTreeMap<u32, Instant>>,
    lost: RefCell<BTreeMap<usize, f64>>,
}

impl Row {
    fn sink(&self) -> &Sink {
        let pod = self.hop.at_pod.as_ref();
        match (self.end, &self.at_node, pod) {
            (End::Node, Some(sink), _) | (End::Pod, _, Some(sink)) => sink,
            (End::Client, _, _) => &self.hop.at_client,
            _ => &self.hop.at_server,
        }
    }

    fn receiver<'a>(&'a self, network: &'a Network) -> &'a Host {
        match self.end {
            End::Pod => self.hop.node.pod(0),
            _ => &network.server,
        }
    }
}

/// Builds it all, measures, removes it all.
pub(crate) fn run(quick: bool, rounds: usize) -> Result<Report> {
    let header = Header::look()?;
    let cluster = Cluster::start()?;
    balancers::create(&cluster)?;
    let network = Network::new()?;
    let mut client = Client::start()?;
    let rows = rows(&cluster, &network)?;
    say(format_args!("packet: all rules and maps are written"));
    for row in &rows {
        if let Some(balanced) = row.balanced {
            sample::verify(&network, &mut client, row, balanced)?;
        }
    }
    say(format_args!("packet: every row's packets were verified"));
    let plan = Plan {
        suite: "packet",
        rows: rows.iter().map(|row| row.name.clone()).collect(),
        steps: &KINDS.each_ref().map(Kind::step),
        control: Some(0),
        rounds,
        most: rounds * PATIENCE,
        blocks: if quick { 1 } else { BLOCKS },
    };
    let samples = frame::run(&plan, |turn| {
        let kind = KINDS[turn.step];
        if quick && kind.is_crowd() {
            return Ok(None);
        }
        let frames = kind.frames(quick);
        block(&network, &mut client, &rows[turn.row], turn.step, frames)
    })?;
    for row in &rows {
        if let Some(balanced) = row.balanced {
            sample::verify(&network, &mut client, row, balanced)?;
        }
    }
    Ok(Report {
        suite: "packet",
        quick,
        header,
        bars: found::bars(&samples),
        tables: vec![found::marginal(&samples), found::lost(&rows)],
        parts: vec![Part {
            title: String::new(),
            over: Some(Over::row(&samples, 1)),
            samples,
            charts: vec![MANY, NEW],
        }],
        notes: vec![
            "sender, balancer and receiver share one CPU; more is better".to_owned(),
            format!(
                "every row of `lb-agent` and `kube-proxy` has {} services of {} backends each; a sample of its packets was verified before and after the rounds",
                programs::SERVICES,
                network::BACKENDS
            ),
        ],
    })
}

const FLOOR: &str = "XDP_DROP: what sending costs";
const REDIRECT: &str = "XDP_REDIRECT, the smallest program";

fn rows(cluster: &Cluster, network: &Network) -> Result<Vec<Row>> {
    let mut numbers = 1..;
    let mut hop = |with_pod| {
        let number = numbers.next().context("no numbers left")?;
        network.hop(cluster.node(number)?, with_pod)
    };
    let mut rows = Vec::new();

    let drop_hop = hop(false)?;
    let at_node = Sink::new(ifindex(&drop_hop.node, UP)?)?;
    at_node.reset(Then::Drop)?;
    network.attach(drop_hop.node.sandbox(), UP, &at_node.program)?;
    let mut floor = row(network, FLOOR, &Rc::new(drop_hop), End::Node, None)?;
    floor.at_node = Some(at_node);
    rows.push(floor);

    let tx = hop(false)?;
    network.attach(tx.node.sandbox(), UP, programs::smallest_tx()?)?;
    let redirect = hop(false)?;
    for (device, other) in [(UP, DOWN), (DOWN, UP)] {
        let program = programs::smallest_redirect(ifindex(&redirect.node, other)?)?;
        network.attach(redirect.node.sandbox(), device, program)?;
    }
    rows.push(row(
        network,
        REDIRECT,
        &Rc::new(redirect),
        End::Server,
        None,
    )?);
    rows.push(row(
        network,
        "XDP_TX, the smallest program",
        &Rc::new(tx),
        End::Client,
        None,
    )?);
    let routed = Rc::new(hop(false)?);
    rows.push(row(
        network,
        "plain routing, nothing translated",
        &routed,
        End::Server,
        None,
    )?);

    for (name, xdp) in [("lb-agent by XDP", true), ("lb-agent by tc", false)] {
        let hop = Rc::new(hop(true)?);
        balancers::ours(&hop.node, xdp)?;
        for place in PLACES {
            rows.push(balanced(network, name, &hop, place)?);
        }
    }
    for mode in ["nftables", "iptables"] {
        for place in PLACES {
            // Each its own: the kernel's table has room for the flows of one.
            let hop = Rc::new(hop(true)?);
            balancers::theirs(cluster, &hop.node, mode)?;
            rows.push(balanced(
                network,
                &format!("kube-proxy {mode}"),
                &hop,
                place,
            )?);
        }
    }
    Ok(rows)
}

/// Where the backends of a row's services are.
const PLACES: [(&str, End, Balanced); 2] = [
    (
        "remote",
        End::Server,
        Balanced {
            network: REMOTE,
            port: REMOTE_PORT,
        },
    ),
    (
        "local",
        End::Pod,
        Balanced {
            network: LOCAL,
            port: LOCAL_PORT,
        },
    ),
];

fn balanced(
    network: &Network,
    name: &str,
    hop: &Rc<Hop>,
    (place, end, services): (&str, End, Balanced),
) -> Result<Row> {
    row(
        network,
        &format!("{name}, {place}"),
        hop,
        end,
        Some(services),
    )
}

fn row(
    network: &Network,
    name: &str,
    hop: &Rc<Hop>,
    end: End,
    balanced: Option<Balanced>,
) -> Result<Row> {
    let make = |mask, length| -> Result<(Program, Cell)> {
        let (program, cell) = generator(&Shape {
            ifindex: hop.out,
            smac: hop.smac,
            dmac: hop.dmac,
            dst: balanced.map_or(backend(REMOTE, 0), |_| hop.node.addr().v4),
            first_port: balanced.map_or(TARGET, |of| of.port),
            mask,
            length,
        })?;
        let pin = network.pin(program)?;
        Ok((Program { pin, length }, cell))
    };
    let generators = KINDS.iter().map(|kind| make(kind.mask, kind.length));
    let (sample, _) = make(0x3fff, SMALL + 1)?;
    Ok(Row {
        name: name.to_owned(),
        hop: Rc::clone(hop),
        end,
        at_node: None,
        generators: generators.collect::<Result<_>>()?,
        sample,
        balanced,
        by_rules: name.starts_with("kube-proxy"),
        woken: RefCell::default(),
        lost: RefCell::default(),
    })
}

/// Thousands of packets a second that arrive where they should.
fn block(
    network: &Network,
    client: &mut Client,
    row: &Row,
    number: usize,
    frames: u32,
) -> Result<Option<Vec<f64>>> {
    let kind = KINDS[number];
    let no_way_back = matches!(row.end, End::Node | End::Client);
    if kind.replies && no_way_back {
        return Ok(None);
    }
    let (program, _) = &row.generators[number];
    let place = network.sandbox();
    if kind.is_new() {
        if row.by_rules {
            row.hop.node.run(&["conntrack", "-F"])?;
        }
        row.woken.borrow_mut().clear();
    } else if row.balanced.is_some() {
        wake(network, client, row, number)?;
    }
    let counted = if kind.replies {
        row.sink().reset(Then::Reflect)?;
        &row.hop.at_client
    } else {
        row.sink()
    };
    counted.reset(Then::Drop)?;
    let seconds = client.frames(&place, program, frames)?;
    let count = settled(counted)?;
    row.sink().reset(Then::Drop)?;
    let lost = 1.0 - float(count) / f64::from(frames);
    let mut most = row.lost.borrow_mut();
    let most = most.entry(number).or_insert(0.0);
    *most = most.max(lost);
    Ok(Some(vec![float(count) / seconds / 1e3]))
}

/// Every flow has had an answer and asked again, as flows do that last.
fn wake(network: &Network, client: &mut Client, row: &Row, number: usize) -> Result<()> {
    let (mut woken, mask) = (row.woken.borrow_mut(), KINDS[number].mask);
    if woken.get(&mask).is_some_and(|at| at.elapsed() < WARM) {
        return Ok(());
    }
    let flows = mask + 1;
    if row.by_rules && KINDS[number].is_crowd() {
        // The kernel's table holds as many as these are, and no more.
        row.hop.node.run(&["conntrack", "-F"])?;
        woken.clear();
    }
    row.sink().reset(Then::Reflect)?;
    for _ in 0..2 {
        client.frames(&network.sandbox(), &row.generators[number].0, flows)?;
    }
    settled(&row.hop.at_client)?;
    row.sink().reset(Then::Drop)?;
    woken.insert(mask, Instant::now());
    Ok(())
}

fn float(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
