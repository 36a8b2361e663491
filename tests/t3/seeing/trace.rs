//! `trace`: each decision as it is made, and nothing of it when nobody looks.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use lb_common::{reason::REASONS, trace::Decision};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use testbed::{
    addr::{self, Both, LOOPBACK},
    agent::{self, CHANGE, Start},
    agent_output,
    matrix::families,
    node::Node,
    one_node::{self, NODE_PORT, OneNode, PORT, TARGET, WEB_VIP},
    poll,
    probe::{Family, Kind, errno},
    process::Process,
};

use super::schema::{problems, schema};

/// Without endpoints.
const EMPTY_VIP: Both = addr::vip(20);
const EMPTY_NODE_PORT: u16 = 30081;

/// A running `trace -o json`.
struct Trace(Process);

impl Trace {
    /// Starts it with these words more, and waits until it looks on.
    fn start(node: &Node, name: &str, words: &[&str]) -> Result<Self> {
        let binary = agent::binary()?.display().to_string();
        let dir = node.bpf_dir().display().to_string();
        let line = [
            &[binary.as_str(), "trace", "-o", "json", "--bpf-dir", &dir][..],
            words,
        ]
        .concat();
        let log = node.files().join(format!("trace-{name}"));
        let mut trace = Self(node.spawn(&line, &log)?);
        poll::until_true(CHANGE, "trace looks on", || {
            ensure!(trace.0.ended()?.is_none(), "it ended: {}", trace.0.said()?);
            Ok(trace.0.said()?.contains("lb-agent: tracing\n"))
        })?;
        Ok(trace)
    }

    /// The decisions that it has shown.
    fn decisions(&self) -> Result<Vec<Value>> {
        let said = self.0.said()?;
        // The last line may be half written.
        let whole = said.rfind('\n').map_or("", |end| &said[..end]);
        let lines = whole.lines().filter(|line| line.starts_with('{'));
        lines
            .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
            .collect()
    }

    /// The decisions until there is one of which this holds.
    fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Vec<Value>> {
        let seen = poll::until(CHANGE, what, || {
            let all = self.decisions()?;
            Ok(all.iter().any(&holds).then_some(all))
        });
        seen.with_context(|| self.0.said().unwrap_or_default())
    }
}

/// Was it counted under this reason?
fn has(decision: &Value, reason: &str) -> bool {
    let all = decision["reasons"].as_array().into_iter().flatten();
    all.into_iter().any(|r| r == reason)
}

fn is_for(decision: &Value, frontend: SocketAddr) -> bool {
    decision["frontend"] == frontend.to_string()
}

/// The services `web` and `empty`, whose names are kept.
fn stage(start: Start) -> Result<OneNode> {
    let bed = OneNode::with(start, |node| {
        let empty = one_node::behind("empty", EMPTY_VIP, &[]);
        let empty = empty.node_port(PORT, TARGET, EMPTY_NODE_PORT);
        vec![one_node::web(node), empty]
    })?;
    poll::until_true(CHANGE, "the names are kept", || {
        let text = agent::verb(&bed.node, &["get", "services", "-o", "name"])?;
        Ok(text.contains("default/web") && text.contains("default/empty"))
    })?;
    Ok(bed)
}

#[test]
fn a_connect_is_shown_with_the_names_of_what_it_meets() -> Result<()> {
    let bed = stage(Start::new())?;
    let trace = Trace::start(&bed.node, "all", &[])?;
    for family in families() {
        let to = WEB_VIP.at(family, PORT);
        let answer = bed.client().ask(Kind::Tcp, to)?;
        let all = trace.until("the connect is shown", |d| is_for(d, to))?;
        let d = all.iter().find(|d| is_for(d, to)).context("it")?;
        ensure!(d["hook"] == "connect" && has(d, "sock_translated"), "{d:#}");
        ensure!(d["refused"] == false && d["verdict"] == "pass", "{d:#}");
        ensure!(d["protocol"] == "TCP", "{d:#}");
        ensure!(d["service"]["name"] == "web", "{d:#}");
        let pod = format!("default/{}", answer.name);
        ensure!(d["pod"] == pod, "{d:#} is not {pod}");
        let client = bed.client().addr().at(family, 0).ip().to_string();
        ensure!(d["client"] == client, "{d:#} is not of {client}");
        ensure!(d["process"]["pid"].as_u64() > Some(0), "{d:#}");

        let to = EMPTY_VIP.at(family, PORT);
        ensure!(errno(bed.client().connect(Kind::Tcp, to)).is_some());
        let all = trace.until("the refusal is shown", |d| is_for(d, to))?;
        let d = all.iter().find(|d| is_for(d, to)).context("it")?;
        ensure!(has(d, "sock_no_endpoint") && d["refused"] == true, "{d:#}");
        ensure!(d["verdict"] == "refuse" && d["backend"].is_null(), "{d:#}");
    }
    Ok(())
}

/// Over `lb0`, whose programs choose its backend: the call is shown all the same.
#[test]
fn a_connect_of_a_socket_that_is_bound_to_loopback_is_shown() -> Result<()> {
    let bed = stage(Start::new())?;
    crate::lb0::common::routed(&bed.node)?;
    let trace = Trace::start(&bed.node, "loopback", &["--hook", "connect"])?;
    for family in families() {
        let to = LOOPBACK.at(family, NODE_PORT);
        let sock = bed.node.socket(Kind::Tcp, family)?;
        sock.bind(LOOPBACK.at(family, 0))?;
        sock.connect(to)?;
        let all = trace.until("the connect is shown", |d| is_for(d, to))?;
        let d = all.iter().find(|d| is_for(d, to)).context("it")?;
        ensure!(has(d, "sock_translated") && d["refused"] == false, "{d:#}");
        ensure!(d["service"]["name"] == "web", "{d:#}");
        sock.ask("x")?;
    }
    Ok(())
}

/// A run that the end of a session has cut short leaves its mark behind: another session does not
/// mind.
#[test]
fn what_another_session_has_left_behind_does_not_count() -> Result<()> {
    let bed = stage(Start::new())?;
    let outside = bed.lan.client(1)?;
    let to = bed.node.addr().at(Family::V4, NODE_PORT);
    let vip = WEB_VIP.at(Family::V4, PORT);
    let shown = |name: &str| -> Result<Trace> {
        let trace = Trace::start(&bed.node, name, &["--limit", "0"])?;
        outside.ask(Kind::Tcp, to)?;
        bed.client().ask(Kind::Tcp, vip)?;
        for (hook, to) in [("tc_ingress", to), ("connect", vip)] {
            trace.until(hook, |d| is_for(d, to) && d["hook"] == hook)?;
        }
        Ok(trace)
    };
    let mut first = shown("first")?;
    first.0.signal(Signal::SIGTERM)?;
    first.0.wait(CHANGE)?;
    leave_runs_behind(&bed)?;
    shown("second")?;
    Ok(())
}

/// Words of an element of `lb_tr_runs`: the first is the session and what runs, the last are the
/// counters and the record.
const RUN: usize = 18 + REASONS as usize + size_of::<Decision>() / 8;

/// As if the switch had gone off while a program of packets and one of sockets ran on each CPU.
fn leave_runs_behind(bed: &OneNode) -> Result<()> {
    let pin = lb_sys::open_pin(&bed.node.bpf_dir().join("maps/lb_tr_runs"))?;
    let runs: lb_sys::PerCpuArray<[u64; RUN]> = lb_sys::PerCpuArray::new(pin)?;
    let packets = runs.get(0)?;
    let session = packets.iter().map(|run| run[0] & u64::from(u32::MAX)).max();
    let session = session
        .filter(|session| *session != 0)
        .context("a session")?;
    for element in 0..runs.len() {
        let mut all = runs.get(element)?;
        for run in &mut all {
            run[0] = 1 << 32 | session;
        }
        runs.set(element, &all)?;
    }
    Ok(())
}

#[test]
fn a_switch_that_no_program_reads_is_of_another_agent() -> Result<()> {
    let mut bed = stage(Start::new())?;
    let path = bed.node.bpf_dir().join("trace/switch");
    // An agent looks after its pin: meanwhile there is none.
    bed.agent.take().context("it runs")?.stop()?;
    let info = lb_sys::map_info(lb_sys::open_pin(&path)?)?;
    std::fs::remove_file(&path)?;
    lb_sys::pin(lb_sys::create_map(info)?, &path)?;
    let trace = || agent::verb(&bed.node, &["trace", "--duration", "1s"]);
    let error = trace().err().context("it traces what nobody reads")?;
    let error = format!("{error:#}");
    ensure!(error.contains("does not know `trace`"), "{error}");
    let agent = Start::new().on(&bed.node)?;
    trace()?;
    drop(agent);
    Ok(())
}

#[test]
fn what_a_name_stands_for_is_looked_up_again() -> Result<()> {
    const NEW_VIP: Both = addr::vip(21);
    let bed = stage(Start::new())?;
    let trace = Trace::start(&bed.node, "renamed", &["svc/empty"])?;
    bed.apply(&one_node::behind("empty", NEW_VIP, &[]).port(PORT, TARGET))?;
    poll::until_true(CHANGE, "its new address is written", || {
        let vip = NEW_VIP.v4.to_string();
        Ok(agent_output::frontend(&bed.node, "TCP", &vip, PORT).is_ok())
    })?;
    let to = NEW_VIP.at(Family::V4, PORT);
    poll::until_true(CHANGE, "its new address is shown", || {
        ensure!(errno(bed.client().connect(Kind::Tcp, to)).is_some());
        Ok(trace.decisions()?.iter().any(|d| is_for(d, to)))
    })
}

#[test]
fn network_namespaces_that_find_no_room_are_told() -> Result<()> {
    let bed = stage(Start::new().args(&["--map-capacity", "lb_tr_netns=1"]))?;
    let trace = Trace::start(&bed.node, "many", &["--client", "0.0.0.0/0"])?;
    poll::until_true(CHANGE, "it is told", || {
        Ok(trace.0.said()?.contains("lb_tr_netns is full"))
    })
}

/// The word that the programs ask for.
fn switch(bed: &OneNode) -> Result<u64> {
    let pin = lb_sys::open_pin(&bed.node.bpf_dir().join("trace/switch"))?;
    let map: lb_sys::Map<u32, u64> = lb_sys::Map::new(pin)?;
    map.get(&0)?.context("it has one word")
}

#[test]
fn packets_are_shown_at_tc_and_xdp_in_both_directions() -> Result<()> {
    let bed = stage(Start::new().xdp("eth0"))?;
    let outside = bed.lan.client(1)?;
    let trace = Trace::start(&bed.node, "packets", &["--hook", "tc,xdp", "--limit", "0"])?;
    for family in families() {
        let to = bed.node.addr().at(family, NODE_PORT);
        let answer = outside.ask(Kind::Tcp, to)?;
        let pod = format!("default/{}", answer.name);
        for (hook, reply) in [("xdp", false), ("tc_egress", true)] {
            let mine = |d: &Value| is_for(d, to) && d["hook"] == hook && d["reply"] == reply;
            let all = trace.until(hook, mine)?;
            let d = all.iter().find(|d| mine(d)).context("it")?;
            ensure!(d["client"] == answer.client.to_string(), "{d:#}");
            ensure!(d["service"]["name"] == "web" && d["pod"] == pod, "{d:#}");
            ensure!(d["process"].is_null() && d["refused"] == false, "{d:#}");
        }
        let to = bed.node.addr().at(family, EMPTY_NODE_PORT);
        ensure!(errno(outside.connect(Kind::Tcp, to)).is_some());
        let mine = |d: &Value| is_for(d, to) && d["hook"] == "tc_ingress";
        let all = trace.until("the refusal", mine)?;
        let d = all.iter().find(|d| mine(d)).context("it")?;
        ensure!(has(d, "pkt_no_endpoint") && d["refused"] == true, "{d:#}");
        ensure!(
            d["backend"].is_null() && d["service"]["name"] == "empty",
            "{d:#}"
        );
    }
    Ok(())
}

#[test]
fn packets_of_lb0_are_shown() -> Result<()> {
    let bed = stage(Start::new().args(&["--socket-lb", "off"]))?;
    let trace = Trace::start(&bed.node, "lb0", &["--hook", "lb0"])?;
    for family in families() {
        let to = WEB_VIP.at(family, PORT);
        bed.client().ask(Kind::Tcp, to)?;
        for hook in ["lb0_out", "lb0_back"] {
            let mine = |d: &Value| is_for(d, to) && d["hook"] == hook;
            let all = trace.until(hook, mine)?;
            let d = all.iter().find(|d| mine(d)).context("it")?;
            ensure!(d["reply"] == (hook == "lb0_back"), "{d:#}");
            ensure!(
                d["clientPod"].is_null() && d["service"]["name"] == "web",
                "{d:#}"
            );
        }
        let to = EMPTY_VIP.at(family, PORT);
        ensure!(errno(bed.client().connect(Kind::Tcp, to)).is_some());
        let all = trace.until("the refusal", |d| is_for(d, to))?;
        let d = all.iter().find(|d| is_for(d, to)).context("it")?;
        ensure!(has(d, "pkt_no_endpoint") && d["backend"].is_null(), "{d:#}");
    }
    Ok(())
}

/// Of which decisions this holds.
type Holds<'a> = &'a dyn Fn(&Value) -> bool;

/// Everything that a filter may have to leave out, then what it is to show.
fn each_filter(bed: &OneNode, family: Family) -> Result<()> {
    let (web, empty) = (WEB_VIP.at(family, PORT), EMPTY_VIP.at(family, PORT));
    let outside = bed.lan.client(1)?;
    let from = outside.addr.at(family, 0).ip().to_string();
    let pod = bed.client().addr().at(family, 0).ip().to_string();
    let first = bed.node.pod(0).addr().at(family, TARGET).to_string();
    let number = i32::from(family == Family::V6);
    let all = || -> Result<()> {
        bed.client().ask(Kind::Tcp, web)?;
        bed.client().ask(Kind::Udp, web)?;
        ensure!(errno(bed.client().connect(Kind::Tcp, empty)).is_some());
        outside.ask(Kind::Tcp, bed.node.addr().at(family, NODE_PORT))?;
        let host = bed.node.socket(Kind::Tcp, family)?;
        ensure!(errno(host.bind(bed.node.addr().at(family, NODE_PORT))).is_some());
        // Each of the three endpoints has its turn.
        for _ in 0..40 {
            bed.client().ask(Kind::Tcp, web)?;
        }
        Ok(())
    };
    let cases: &[(&[&str], Holds<'_>)] = &[
        (&["svc/empty"], &|d| is_for(d, empty)),
        (&["svc/web", "-n", "default"], &|d| {
            d["service"]["name"] == "web"
        }),
        (&[&web.to_string()], &|d| is_for(d, web)),
        (&["*:30080"], &|d| {
            d["frontend"]
                .as_str()
                .is_some_and(|f| f.ends_with(":30080"))
        }),
        (&["--reason", "sock_no_endpoint"], &|d| {
            has(d, "sock_no_endpoint")
        }),
        (&["--drops"], &|d| d["refused"] == true),
        (&["--hook", "bind"], &|d| {
            d["hook"] == "bind" && has(d, "bind_held")
        }),
        (&["--hook", "tc"], &|d| {
            d["hook"].as_str().is_some_and(|h| h.starts_with("tc_"))
        }),
        (&["--client", &from], &|d| {
            d["client"].as_str().is_some_and(|c| c.contains(&from))
        }),
        (&["--client", &pod, "--hook", "connect"], &|d| {
            d["client"] == pod && d["hook"] == "connect"
        }),
        (&["--backend", &first], &|d| d["backend"] == first),
        (&["--backend", "pod/web-1"], &|d| {
            d["pod"] == "default/web-1"
        }),
    ];
    for (n, (words, holds)) in cases.iter().enumerate() {
        let words = [*words, &["--limit", "0"]].concat();
        let trace = Trace::start(&bed.node, &format!("filter-{number}-{n}"), &words)?;
        all()?;
        let seen = trace.until(&words.join(" "), holds)?;
        for d in &seen {
            ensure!(holds(d), "{words:?} shows {d:#}");
        }
        // What came later is its own, too.
        for d in trace.decisions()? {
            ensure!(holds(&d), "{words:?} shows {d:#}");
        }
    }
    Ok(())
}

#[test]
fn each_filter_shows_its_own_and_nothing_else() -> Result<()> {
    let bed = stage(Start::new())?;
    for family in families() {
        each_filter(&bed, family)?;
    }
    Ok(())
}

#[test]
fn a_tracer_that_is_killed_leaves_the_switch_off() -> Result<()> {
    let bed = stage(Start::new())?;
    let to = WEB_VIP.at(Family::V4, PORT);
    assert_eq!(switch(&bed)?, 0, "nobody has traced");
    let mut trace = Trace::start(&bed.node, "killed", &[])?;
    ensure!(switch(&bed)? != 0);
    trace.0.signal(Signal::SIGKILL)?;
    trace.0.wait(CHANGE)?;
    // The first program that finds it late.
    poll::until_true(CHANGE, "the switch is off", || {
        bed.client().ask(Kind::Tcp, to)?;
        Ok(switch(&bed)? == 0)
    })?;
    // One that ends by itself turns it off itself.
    let mut trace = Trace::start(&bed.node, "counted", &["--count", "1"])?;
    bed.client().ask(Kind::Tcp, to)?;
    let status = trace.0.wait(CHANGE)?;
    ensure!(status.success() && switch(&bed)? == 0, "{status}");
    assert_eq!(trace.decisions()?.len(), 1);
    Ok(())
}

#[test]
fn a_second_tracer_is_told_of_the_first() -> Result<()> {
    let bed = stage(Start::new())?;
    let first = Trace::start(&bed.node, "first", &["svc/empty"])?;
    let error = agent::verb(&bed.node, &["trace", "--count", "1"]).unwrap_err();
    let error = format!("{error:#}");
    ensure!(error.contains("another `lb-agent trace`"), "{error}");
    // The first goes on, at what it has asked for.
    bed.client().ask(Kind::Tcp, WEB_VIP.at(Family::V4, PORT))?;
    let to = EMPTY_VIP.at(Family::V4, PORT);
    ensure!(errno(bed.client().connect(Kind::Tcp, to)).is_some());
    let all = first.until("its own", |d| is_for(d, to))?;
    assert_eq!(all.len(), 1, "{all:#?}");
    Ok(())
}

#[test]
fn what_is_left_out_is_counted() -> Result<()> {
    const CALLS: u64 = 60;
    let bed = stage(Start::new())?;
    let words = ["--limit", "3", "--hook", "connect"];
    let trace = Trace::start(&bed.node, "limited", &words)?;
    for _ in 0..CALLS {
        bed.client().ask(Kind::Tcp, WEB_VIP.at(Family::V4, PORT))?;
    }
    poll::until_true(CHANGE, "every call is shown or left out", || {
        let said = trace.0.said()?;
        let left: u64 = said
            .lines()
            .filter_map(|line| {
                line.strip_prefix("lb-agent: ")?
                    .split_once(" decisions left out")
            })
            .filter_map(|(n, _)| n.parse::<u64>().ok())
            .sum();
        let shown = trace.decisions()?.len() as u64;
        ensure!(left == 0 || shown < CALLS, "{said}");
        Ok(left > 0 && shown + left == CALLS)
    })
}

#[test]
fn a_line_is_what_its_schema_promises() -> Result<()> {
    let bed = stage(Start::new())?;
    let trace = Trace::start(&bed.node, "schema", &["--limit", "0"])?;
    bed.client().ask(Kind::Tcp, WEB_VIP.at(Family::V4, PORT))?;
    let to = bed.node.addr().at(Family::V4, NODE_PORT);
    bed.lan.client(1)?.ask(Kind::Tcp, to)?;
    let all = trace.until("a reply", |d| d["reply"] == true)?;
    let schema = schema("decision")?;
    for d in &all {
        let found = problems(&schema, d);
        ensure!(found.is_empty(), "{found:#?}");
        let mut more = d.clone();
        more["colour"] = json!("blue");
        let mut less = d.clone();
        less.as_object_mut().context("an object")?.remove("hook");
        for changed in [more, less] {
            ensure!(!problems(&schema, &changed).is_empty(), "{changed:#}");
        }
    }
    Ok(())
}

#[test]
fn people_see_a_line_a_decision_without_colours_in_a_file() -> Result<()> {
    let bed = stage(Start::new())?;
    let to = WEB_VIP.at(Family::V4, PORT);
    let hammer = bed.hammer_web()?;
    let text = agent::verb(&bed.node, &["trace", "--count", "2", "--hook", "connect"])?;
    hammer.stop()?;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    ensure!(
        lines[0].starts_with("TIME") && !text.contains('\u{1b}'),
        "{text}"
    );
    for line in &lines[1..] {
        for word in ["sock_translated", "default/web", &to.to_string()] {
            ensure!(line.contains(word), "{word}: {line}");
        }
    }
    let error = agent::verb(&bed.node, &["trace", "svc/nobody"]).unwrap_err();
    ensure!(format!("{error:#}").contains("svc/nobody"), "{error:#}");
    Ok(())
}
