//! The demo's story: what a person would try, one chapter after the other, each checked as well as
//! shown.

use anyhow::{Context as _, Result, ensure};
use testbed::{agent, agent_output, poll};

use crate::{
    show,
    stage::{NODE_PORT, Stage, WEB, WEB_VIP},
};

/// How many times each address is asked.
const TIMES: usize = 60;

pub(crate) fn tell(stage: &mut Stage) -> Result<()> {
    names(stage)?;
    cluster_ip(stage)?;
    node_port(stage)?;
    look(stage)?;
    going(stage)
}

fn names(stage: &Stage) -> Result<()> {
    show::title("A pod asks for the name `web`, through the VIP of the DNS");
    let client = stage.client()?;
    show::run("client", client, "cat /etc/resolv.conf")?;
    let said = show::run("client", client, "nslookup web")?;
    ensure!(
        said.contains(&WEB_VIP.v4.to_string()),
        "nslookup did not find {}",
        WEB_VIP.v4
    );
    show::run("client", client, "wget -qO- http://web/")?;
    Ok(())
}

fn cluster_ip(stage: &Stage) -> Result<()> {
    show::title(
        "Many connections, by the name, by the ClusterIP, and by IPv6: the count of each pod",
    );
    let client = stage.client()?;
    for to in [
        "web".to_owned(),
        WEB_VIP.v4.to_string(),
        format!("[{}]", WEB_VIP.v6),
    ] {
        let counted = show::run("client", client, &many(&format!("http://{to}/")))?;
        show::expect_names(&counted, &WEB)?;
    }
    Ok(())
}

fn node_port(stage: &Stage) -> Result<()> {
    show::title("From outside, by the node port, through XDP");
    show::run_as(
        "node",
        &stage.node,
        "ip link show eth0",
        "ip link show eth0 | head -3",
        3,
    )?;
    let to = format!("http://{}:{NODE_PORT}/", stage.node.addr().v4);
    let counted = show::run("outside", &stage.outside, &many(&to))?;
    show::expect_names(&counted, &WEB)
}

fn look(stage: &Stage) -> Result<()> {
    show::title("What the kernel holds");
    show::prompt("node", "lb-agent get services");
    show::lines(&agent::verb(&stage.node, &["get", "services"])?, 60);
    let pin = stage.node.bpf_dir().join("maps/lb_frontends");
    let look = "grep -m1 -B6 -A9 '\"port\": 80,'";
    show::run_as(
        "node",
        &stage.node,
        &format!("bpftool map dump pinned …/maps/lb_frontends | {look}"),
        &format!("bpftool map dump pinned {} | {look}", pin.display()),
        20,
    )
    .map(drop)
}

fn going(stage: &Stage) -> Result<()> {
    show::title("A backend goes, and traffic moves on");
    let [gone, rest @ ..] = WEB;
    stage.remove_backend(gone)?;
    poll::until_true(agent::CHANGE, "the agent has followed", || {
        let frontend = agent_output::frontend(&stage.node, "TCP", &WEB_VIP.v4.to_string(), 80)?;
        Ok(frontend
            .backends
            .iter()
            .filter(|backend| backend.weight > 0)
            .count()
            == rest.len())
    })?;
    let counted = show::run("client", stage.client()?, &many("http://web/"))?;
    show::expect_names(&counted, &rest)?;
    let to = format!("http://{}:{NODE_PORT}/", stage.node.addr().v4);
    let counted = show::run("outside", &stage.outside, &many(&to))?;
    show::expect_names(&counted, &rest).context("from outside")
}

/// A shell's loop that counts who answered.
fn many(url: &str) -> String {
    format!("for i in $(seq {TIMES}); do wget -qO- {url}; done | sort | uniq -c")
}
