//! What kube-proxy leaves on a machine, made here by hand: what the real one leaves is in
//! `t4::cluster`.

mod refuse;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_agent::{
    maps::dir::BpfDir,
    takeover::{
        connections::Frontends,
        find::Leftovers,
        remove::{self, How},
    },
};
use testbed::{
    agent::{self, Agent, CHANGE, Start},
    lan::{Lan, Offloads},
    manifest,
    matrix::families,
    node::Node,
    one_node::{self, NODE_PORT, PORT, TARGET, WEB_VIP, node_with_pods},
    poll,
    probe::{Family, Hammer, HammerPlan, Kind},
    process::Output,
};

/// The agent looks every 15 seconds, and believes what it saw twice.
const LETS_GO: Duration = Duration::from_mins(1);

/// A node with the service `web`, and no agent yet.
struct Stage {
    lan: Lan,
    node: Node,
}

impl Stage {
    fn new() -> Result<Self> {
        let lan = Lan::new(Offloads::On)?;
        let node = node_with_pods(&lan)?;
        node.write_manifest("node.yaml", &manifest::node(&node))?;
        let web = one_node::web(&node);
        node.write_manifest(&web.file(), &web.yaml())?;
        node.netns().sysctls(&[
            // Closed connections are forgotten at once.
            ("net/netfilter/nf_conntrack_tcp_timeout_time_wait", "1"),
            ("net/netfilter/nf_conntrack_tcp_timeout_close", "1"),
            ("net/netfilter/nf_conntrack_tcp_timeout_last_ack", "1"),
        ])?;
        Ok(Self { lan, node })
    }

    fn agent(&self) -> Result<Agent> {
        Start::new().on(&self.node)
    }

    fn cleanup(&self, more: &[&str]) -> Result<Output> {
        self.verb(&[&["cleanup", "--kube-proxy"], more].concat())
    }

    fn verb(&self, words: &[&str]) -> Result<Output> {
        let binary = agent::binary()?.display().to_string();
        let dir = self.node.bpf_dir().display().to_string();
        let line = [&[binary.as_str()], words, &["--bpf-dir", &dir]].concat();
        self.node.output(&line)
    }

    fn nft(&self, text: &str) -> Result<String> {
        self.node.run(&["nft", text])
    }

    fn iptables(&self, lines: &[&str]) -> Result<()> {
        for line in lines {
            let words: Vec<&str> = ["iptables"].into_iter().chain(line.split(' ')).collect();
            self.node.run(&words)?;
        }
        Ok(())
    }

    /// The first pod serves the VIP and the second one the node port, for both families.
    fn like_kube_proxy(&self) -> Result<()> {
        let [first, second] = [0, 1].map(|i| self.node.pod(i).addr());
        for (family, vip, to_first, to_second) in [
            (
                "ip",
                WEB_VIP.v4.to_string(),
                format!("{}:{TARGET}", first.v4),
                format!("{}:{TARGET}", second.v4),
            ),
            (
                "ip6",
                WEB_VIP.v6.to_string(),
                format!("[{}]:{TARGET}", first.v6),
                format!("[{}]:{TARGET}", second.v6),
            ),
        ] {
            let mut lines = vec![format!("add table {family} kube-proxy")];
            for hook in ["prerouting", "output"] {
                let chain = format!("{family} kube-proxy {hook}");
                lines.push(format!(
                    "add chain {chain} {{ type nat hook {hook} priority -100; }}"
                ));
                for protocol in ["tcp", "udp"] {
                    lines.push(format!(
                        "add rule {chain} {family} daddr {vip} {protocol} dport {PORT} dnat to {to_first}"
                    ));
                    lines.push(format!(
                        "add rule {chain} fib daddr type local {protocol} dport {NODE_PORT} dnat to {to_second}"
                    ));
                }
            }
            let text = lines.join("; ");
            self.nft(&text)?;
        }
        Ok(())
    }

    fn tables(&self) -> Result<String> {
        self.nft("list tables")
    }
}

#[test]
fn without_any_other_rule_for_translation_connections_live_on() -> Result<()> {
    let stage = Stage::new()?;
    let node = &stage.node;
    let (client, outside) = (node.pod(one_node::WEB.len()), stage.lan.client(1)?);
    stage.like_kube_proxy()?;
    let mut open = Vec::new();
    for family in families() {
        let ways = [
            (&**client, WEB_VIP.at(family, PORT), "web-1"),
            (&**node, WEB_VIP.at(family, PORT), "web-1"),
            (&*outside, node.addr().at(family, NODE_PORT), "web-2"),
        ];
        for (from, to, name) in ways {
            // One of two is chosen by hash, so with eight, some would be sent to another one.
            for _ in 0..8 {
                open.push((from.connect(Kind::Tcp, to)?, to, name));
            }
        }
    }
    let alive = |when: &str| {
        open.iter().try_for_each(|(sock, to, name)| {
            let answer = sock.ask("x").with_context(|| format!("{to} {when}"))?;
            ensure!(
                answer.name == *name,
                "{to} {when}: {} answers, not {name}",
                answer.name
            );
            Ok(())
        })
    };
    alive("through kube-proxy")?;

    let _agent = stage.agent()?;
    alive("beside the agent")?;
    let done = stage.cleanup(&[])?;
    ensure!(done.status.success(), "{done:?}");
    ensure!(!stage.tables()?.contains("kube-proxy"), "{done:?}");
    alive("after the cleanup")?;
    let told = stage.verb(&["check"])?.stdout;
    ensure!(
        told.contains(&format!(
            "table inet lb-agent-keep: {} TCP connections",
            open.len()
        )),
        "{told}"
    );
    // A client's port that was netfilter's is ours when it is used again.
    let (sock, to, _) = open.remove(open.len() - 1);
    drop(sock);
    ensure!(outside.ask(Kind::Tcp, to).is_ok(), "no backend serves {to}");

    drop(open);
    poll::until_true(LETS_GO, "the agent removes what kept them", || {
        Ok(!stage.tables()?.contains("lb-agent-keep"))
    })
}

/// At the moment when frontends are written, some connections have sent their SYN through
/// kube-proxy and nothing else yet.
#[test]
fn connections_under_way_while_the_agent_starts_come_off() -> Result<()> {
    let stage = Stage::new()?;
    let outside = stage.lan.client(1)?;
    stage.like_kube_proxy()?;
    let hammers: Vec<Hammer> = (0..4)
        .map(|_| {
            outside.hammer(HammerPlan {
                kind: Kind::Tcp,
                connected: true,
                to: stage.node.addr().at(Family::V4, NODE_PORT),
                allowed: Vec::new(),
            })
        })
        .collect::<Result<_, _>>()?;
    let _agent = stage.agent()?;
    poll::until_true(CHANGE, "the agent has taken over", || {
        let names = hammers[0].so_far()?.answers;
        Ok(names.contains_key("web-1") && names.contains_key("web-2"))
    })?;
    for hammer in hammers {
        let tally = hammer.stop()?;
        ensure!(tally.failures.is_empty(), "{tally:?}");
    }
    Ok(())
}

#[test]
fn rules_of_others_that_lead_to_its_chains_keep_those() -> Result<()> {
    let stage = Stage::new()?;
    let _agent = stage.agent()?;
    stage.iptables(&[
        "-t nat -N KUBE-SERVICES",
        "-t nat -N KUBE-MARK-MASQ",
        "-t nat -N KUBE-POSTROUTING",
        "-t nat -N CNI-HOSTPORT-SETMARK",
        "-t nat -A PREROUTING -j CNI-HOSTPORT-SETMARK",
        "-t nat -A KUBE-MARK-MASQ -j MARK --or-mark 0x4000",
        "-t nat -A KUBE-POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE",
        "-t nat -A POSTROUTING -j KUBE-POSTROUTING",
        "-t nat -A CNI-HOSTPORT-SETMARK -j KUBE-MARK-MASQ",
    ])?;
    let before = stage.node.run(&["nft", "-s", "list", "ruleset"])?;
    stage.iptables(&["-t nat -A PREROUTING -j KUBE-SERVICES"])?;
    let done = stage.cleanup(&[])?;
    ensure!(
        done.status.success()
            && done
                .stdout
                .contains("KUBE-MARK-MASQ, since CNI-HOSTPORT-SETMARK jumps there"),
        "{done:?}"
    );
    let without = |text: &str| text.replace("\tchain KUBE-SERVICES {\n\t}\n\n", "");
    assert_eq!(
        stage.node.run(&["nft", "-s", "list", "ruleset"])?,
        without(&before)
    );
    assert_ne!(before, without(&before));
    Ok(())
}

#[test]
fn the_device_and_the_sets_of_its_ipvs_mode_go() -> Result<()> {
    let stage = Stage::new()?;
    let _agent = stage.agent()?;
    // Its own is of kind dummy, which this kernel may lack.
    stage.node.netns().ip(
        "link add kube-ipvs0 type veth peer name other\naddr add 10.96.0.10/32 dev kube-ipvs0\nlink set kube-ipvs0 up\n",
    )?;
    for (set, kind) in [
        ("KUBE-CLUSTER-IP", "hash:ip,port"),
        ("KUBE-6-CLUSTER-IP", "hash:ip,port"),
        ("KUBE-MINE", "hash:ip"),
    ] {
        stage.node.run(&["ipset", "create", set, kind])?;
    }
    stage.iptables(&[
        "-t nat -N KUBE-SERVICES",
        "-t nat -A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT",
        "-t nat -A PREROUTING -j KUBE-SERVICES",
    ])?;
    let told = stage.verb(&["check"])?.stdout;
    ensure!(
        told.contains("1 chains in iptables nat, 2 ipsets, device kube-ipvs0"),
        "{told}"
    );
    let done = stage.cleanup(&[])?;
    ensure!(done.status.success(), "{done:?}");
    let links = stage.node.run(&["ip", "-o", "link"])?;
    ensure!(!links.contains("kube-ipvs0"), "{links}");
    assert_eq!(stage.node.run(&["ipset", "list", "-n"])?, "KUBE-MINE\n");
    assert_eq!(
        stage.cleanup(&[])?.stdout,
        "nothing of kube-proxy is left\n"
    );
    Ok(())
}

/// Between the look and the removal, another process removes some of it, and a client opens one more
/// flow through the rest.
#[test]
fn what_changed_since_the_look_is_no_failure_and_is_not_forgotten() -> Result<()> {
    let stage = Stage::new()?;
    let node = &stage.node;
    let client = node.pod(one_node::WEB.len());
    stage.like_kube_proxy()?;
    stage.iptables(&[
        "-t nat -N KUBE-SERVICES",
        "-t nat -N KUBE-POSTROUTING",
        "-t nat -A PREROUTING -j KUBE-SERVICES",
        "-t nat -A POSTROUTING -j KUBE-POSTROUTING",
    ])?;
    let left = node
        .netns()
        .block(|| Leftovers::find(&Frontends::default()))?;
    client.ask(Kind::Udp, WEB_VIP.at(Family::V4, PORT))?;
    let _agent = stage.agent()?;
    stage.nft("delete table ip kube-proxy")?;
    stage.iptables(&[
        "-t nat -D PREROUTING -j KUBE-SERVICES",
        "-t nat -X KUBE-SERVICES",
    ])?;
    let frontends = Frontends::read(&BpfDir::at(node.bpf_dir()))?;
    let told = node.netns().block(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(remove::run(&left, &frontends, How::Remove))
    })?;
    ensure!(!told.incomplete, "{told:#?}");
    let now = node.netns().block(|| Leftovers::find(&frontends))?;
    assert_eq!(
        (now.pinned(), now.in_words()),
        (0, String::new()),
        "{told:#?}"
    );
    Ok(())
}

#[test]
fn check_names_rules_of_others_and_touches_nothing() -> Result<()> {
    let stage = Stage::new()?;
    stage.like_kube_proxy()?;
    stage.iptables(&["-N CILIUM_FORWARD", "-N cali-FORWARD", "-P FORWARD DROP"])?;
    stage.nft("add table inet firewall; add chain inet firewall forward { type filter hook forward priority 0; policy drop; }")?;
    let before = stage.node.run(&["nft", "-s", "list", "ruleset"])?;
    let told = stage.verb(&["check"])?.stdout;
    for what in [
        "kube-proxy's rules are there: table ip kube-proxy, table ip6 kube-proxy: `lb-agent cleanup --kube-proxy`",
        "Cilium is or was here: table ip filter",
        "Calico is or was here: table ip filter",
        "packets to pods may be dropped: iptables table ip filter FORWARD",
        "packets to pods may be dropped: table inet firewall forward",
    ] {
        ensure!(told.contains(what), "{what} is not said:\n{told}");
    }
    assert_eq!(stage.node.run(&["nft", "-s", "list", "ruleset"])?, before);
    // With all of it gone, nothing is said of it.
    stage.nft("flush ruleset")?;
    poll::until_true(CHANGE, "check is content", || {
        let told = stage.verb(&["check"])?.stdout;
        Ok(told.contains("ok    nothing of kube-proxy is left")
            && told.contains("ok    no rules of other software in the way"))
    })
}
