//! `get services --stats`, `--rate`, `--thresholds`, `--persistent-conn`: ipvsadm's tables, with true
//! numbers.

use anyhow::{Context as _, Result, ensure};
use testbed::{
    agent::{self, CHANGE},
    one_node::{NODE_PORT, OneNode, PORT, WEB, WEB_LB, WEB_VIP},
    poll,
    probe::{Family, Kind},
};

use super::bed;

/// Connections of the client that are open.
const OPEN: usize = 5;

/// The lines of a view of this frontend of TCP: its own, and those of its backends.
fn lines(bed: &OneNode, flags: &[&str], frontend: &str) -> Result<Vec<Vec<String>>> {
    let words = [&["get", "services", frontend], flags].concat();
    let text = agent::verb(&bed.node, &words)?;
    let lines = text
        .lines()
        .map(|line| line.split_whitespace().map(str::to_owned).collect());
    let lines: Vec<Vec<String>> = lines.collect();
    let at = lines.iter().position(|words| words[0] == "TCP");
    let at = at.with_context(|| format!("no TCP in {text}"))?;
    let found = lines[at..=at + WEB.len()].to_vec();
    ensure!(found[1..].iter().all(|words| words[0] == "->"), "{text}");
    Ok(found)
}

fn number(words: &[String], at: usize) -> Result<f64> {
    words[at].parse().with_context(|| format!("{words:?}"))
}

#[test]
fn the_tables_of_ipvsadm_have_true_numbers_and_need_no_agent() -> Result<()> {
    let mut bed = bed()?;
    let to = WEB_VIP.at(Family::V4, PORT);
    let vip = to.to_string();
    let held = (0..OPEN).map(|_| bed.client().connect(Kind::Tcp, to));
    let held = held.collect::<Result<Vec<_>, _>>()?;
    let name = held[0].ask("who")?.name;
    let is_mine = |words: &[String]| words.last() == Some(&format!("default/{name}"));
    bed.agent.take().expect("it was started").kill()?;

    // Five connections of one client, which is remembered once.
    for (flags, [mine, other]) in [
        (&["--persistent-conn"][..], ["100 1 5 0", "100 0 0 0"]),
        (&["--thresholds"], ["0 0 5 0", "0 0 0 0"]),
    ] {
        let found = lines(&bed, flags, &vip)?;
        assert_eq!(found[0][..3], ["TCP", &vip, "random"]);
        for words in &found[1..] {
            let expected = if is_mine(words) { mine } else { other };
            assert_eq!(words[2..6].join(" "), expected, "{flags:?}");
        }
    }

    // Nobody else has connected, and sockets have no packets.
    let stats = lines(&bed, &["--stats"], &vip)?;
    assert_eq!(stats[0][2..6].join(" "), format!("{OPEN} 0 0 0"));
    for words in &stats[1..] {
        assert_eq!(words[2..7].join(" "), "- - - - -");
    }
    drop(held);
    poll::until_true(CHANGE, "closed connections are not counted", || {
        let found = lines(&bed, &["--persistent-conn"], &vip)?;
        let mine = found.iter().find(|words| is_mine(words));
        let mine = mine.context("no backend of mine")?;
        // The client is remembered all the same.
        Ok(mine[2..6].join(" ") == "100 1 0 0")
    })?;

    // A client from outside has packets, of both directions.
    let balancer = WEB_LB.at(Family::V4, PORT).to_string();
    let before = lines(&bed, &["--stats"], &balancer)?;
    let outside = bed.lan.client(1)?;
    outside.ask(Kind::Tcp, bed.node.addr().at(Family::V4, NODE_PORT))?;
    let after = lines(&bed, &["--stats"], &balancer)?;
    let more = |at| Ok::<_, anyhow::Error>(number(&after[0], at)? - number(&before[0], at)?);
    ensure!((more(2)? - 1.0).abs() < 0.01, "{before:?} {after:?}");
    // Five of TCP and a word each way at least, of 40 bytes at least.
    ensure!(more(3)? >= 7.0 && more(4)? >= 280.0, "{after:?}");

    // With JSON there are other ways to the numbers.
    for (words, reason) in [
        (
            &["services", "--rate", "-o", "json"][..],
            "top --once -o json",
        ),
        (&["flows", "--stats"], "get services --stats"),
        (&["services", "--rate", "--stats"], "cannot be used with"),
        (
            &["services", "nobody", "--thresholds"],
            "nothing is found for nobody",
        ),
    ] {
        let error = agent::verb(&bed.node, &[&["get"], words].concat());
        let error = format!("{:#}", error.expect_err("it is wrong"));
        ensure!(error.contains(reason), "{words:?}: {error}");
    }
    Ok(())
}

#[test]
fn rates_of_a_frontend_are_those_of_the_interval() -> Result<()> {
    let bed = bed()?;
    let vip = WEB_VIP.at(Family::V4, PORT).to_string();
    let rate = |flags: &[&str]| lines(&bed, &[&["--rate"], flags].concat(), &vip);
    let quiet = rate(&["--no-headers", "--interval", "200ms"])?;
    assert_eq!(quiet[0][2..6].join(" "), "0.0 0.0 0.0 0.0");
    let hammer = bed.hammer_web()?;
    let busy = rate(&["-A", "-l", "app=web", "--interval", "2s"])?;
    hammer.stop()?;
    ensure!(number(&busy[0], 2)? > 1.0, "{busy:?}");
    let service = busy[0].last().context("a name")?;
    ensure!(service.starts_with("default/web:"), "{busy:?}");
    Ok(())
}
