//! An explanation for people.

use std::{fmt::Write as _, time::Duration};

use super::Side;
use crate::{
    cli::get::columns::{borderless, word},
    explain::{Explanation, Front},
};

/// In front of what is the node's alone.
pub(in crate::cli) const THIS_NODE: &str = "This node";

pub(super) fn of(explanation: &Explanation, side: Option<Side>) -> String {
    let e = explanation;
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<11} {value}");
    };
    line(
        "Service",
        format!("{}/{}, type {}", e.namespace, e.name, e.r#type),
    );
    line(
        "Policies",
        format!(
            "internal {}, external {}",
            e.internal_traffic_policy, e.external_traffic_policy
        ),
    );
    line(
        "Affinity",
        match e.affinity_seconds {
            0 => "none".to_owned(),
            n => format!("ClientIP, {n} seconds: a client that is remembered keeps its backend"),
        },
    );
    if e.max_connections > 0 {
        let most = e.max_connections;
        line(
            "Bound",
            format!("{most} open connections a backend, of this node's clients"),
        );
    }
    if e.spill_percent > 0 {
        let percent = e.spill_percent;
        line(
            "Spill",
            format!(
                "above {percent} % of the average, connections leave the endpoints that topology hints prefer"
            ),
        );
    }
    if e.max_connection_age_seconds > 0 {
        let age = Duration::from_secs(e.max_connection_age_seconds.into());
        line(
            "Age",
            format!("a TCP connection older than {age:?} is reset, one after another"),
        );
    }
    if !e.source_ranges.is_empty() {
        let only = e.source_ranges.join(", ");
        line("Sources", format!("load-balancer IPs admit {only} only"));
    }
    let zone = e.zone.as_deref().unwrap_or("none");
    line(THIS_NODE, format!("{}, zone {zone}", word(Some(&e.node))));
    line(
        "Client",
        match side {
            None => "any".to_owned(),
            Some(Side::Inside) => {
                "inside of the cluster: a pod, or a process of this node".to_owned()
            }
            Some(Side::Outside) => "outside of the cluster".to_owned(),
        },
    );
    frontends(e, side, &mut text);
    pools(e, side, &mut text);
    if e.problems.is_empty() {
        text.push_str("\nNothing is left unprogrammed.\n");
    } else {
        text.push_str("\nNot as the object asks:\n");
        for problem in &e.problems {
            let _ = writeln!(text, "  {problem}");
        }
    }
    text
}

/// The pool of a frontend as it is called below.
fn letter(pool: Option<usize>) -> String {
    pool.map_or_else(|| "-".to_owned(), |n| format!("#{}", n + 1))
}

fn frontends(e: &Explanation, side: Option<Side>, text: &mut String) {
    let mut head = vec!["FRONTEND", "PROT", "PORT", "KIND"];
    if side != Some(Side::Outside) {
        head.push("INSIDE");
    }
    if side != Some(Side::Inside) {
        head.push("OUTSIDE");
    }
    head.push("PROGRAMMED");
    let rows = e.frontends.iter().map(|f| {
        let mut row = vec![
            f.frontend.clone(),
            f.protocol.clone(),
            word(Some(&f.port)),
            f.kinds.join(","),
        ];
        if side != Some(Side::Outside) {
            row.push(letter(f.inside));
        }
        if side != Some(Side::Inside) {
            row.push(letter(f.outside));
        }
        row.push(match f.programmed {
            None => "not asked".to_owned(),
            Some(true) => "yes".to_owned(),
            Some(false) => "no: see below".to_owned(),
        });
        row
    });
    text.push('\n');
    text.push_str(&borderless(&head, rows.collect()));
    if e.frontends.is_empty() {
        text.push_str("none: the Service has no address or no port that can be served\n");
    }
}

fn pools(e: &Explanation, side: Option<Side>, text: &mut String) {
    let leads = |f: &Front, n: usize| {
        let inside = side != Some(Side::Outside) && f.inside == Some(n);
        inside || (side != Some(Side::Inside) && f.outside == Some(n))
    };
    for (n, pool) in e.pools.iter().enumerate() {
        if !e.frontends.iter().any(|f| leads(f, n)) {
            continue;
        }
        let _ = writeln!(
            text,
            "\n{} port {}/{}, {}, policy {}: a new connection gets {}",
            letter(Some(n)),
            word(Some(&pool.port)),
            pool.protocol,
            pool.family,
            pool.policy,
            pool.outcome()
        );
        let rows = pool.endpoints.iter().map(|e| {
            let mark = if e.eligible { "yes" } else { "no" };
            vec![
                e.address.clone(),
                word(e.pod.as_ref()),
                word(e.node.as_ref()),
                word(e.zone.as_ref()),
                mark.to_owned(),
                e.rule.clone(),
            ]
        });
        let rows: Vec<Vec<String>> = rows.collect();
        if !rows.is_empty() {
            let head = ["ENDPOINT", "POD", "NODE", "ZONE", "NEW", "RULE"];
            for line in borderless(&head, rows).lines() {
                let _ = writeln!(text, "  {line}");
            }
        }
    }
}
