//! What is asked for, and nothing else.

use anyhow::{Result, ensure};
use serde_json::Value;
use testbed::{
    addr::{self, Both},
    agent::{CHANGE, Start},
    agent_output,
    matrix::families,
    one_node::{self, NODE_PORT, OneNode, PORT, TARGET, WEB_VIP},
    poll,
    probe::{Family, Kind, errno},
};

use super::{EMPTY_VIP, Trace, has, is_for, stage};

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
