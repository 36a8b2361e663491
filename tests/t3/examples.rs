//! `examples/manifests`, as the README starts it, with servers where its endpoints are.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use testbed::{
    agent::{CHANGE, Start},
    agent_output,
    lan::{Lan, Offloads},
    node::{Node, PodNetwork},
    poll,
    probe::{Family, Kind},
};

/// The name that the README gives to the machine.
const NAME: &str = "standalone";

/// Every file, with addresses of this node's pods instead of those for documentation.
fn copy(node: &Node) -> Result<()> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/manifests");
    let mut files = 0;
    for entry in fs::read_dir(&dir).with_context(|| format!("list {}", dir.display()))? {
        let path = entry?.path();
        let mut text = fs::read_to_string(&path)?;
        let own = node.addr().v4.to_string();
        text = text.replace("address: 192.0.2.1}", &format!("address: {own}}}"));
        for (index, pod) in node.pods().iter().enumerate().take(3) {
            text = text.replace(
                &format!("192.0.2.1{}", index + 1),
                &pod.addr().v4.to_string(),
            );
        }
        ensure!(
            !text.contains("192.0.2."),
            "{}: an address of no server",
            path.display()
        );
        let name = path
            .file_name()
            .context("no name")?
            .to_string_lossy()
            .into_owned();
        node.write_manifest(&name, &text)?;
        files += 1;
    }
    ensure!(
        files == 3,
        "{files} examples instead of 3: this test must know the new ones"
    );
    Ok(())
}

#[test]
fn the_example_manifests_work() -> Result<()> {
    let lan = Lan::new(Offloads::On)?;
    let mut node = Node::new(&lan, 1, PodNetwork::Routed)?;
    for (name, port) in [
        ("web-1", 8080),
        ("web-2", 8080),
        ("dns-1", 5353),
        ("client", 9),
    ] {
        node.add_pod(name)?.serve(port)?;
    }
    copy(&node)?;
    let mut agent = Start::new().args(&["--node-name", NAME]).on(&node)?;
    let client = node.pod(3);
    let web = "10.96.0.80:80".parse()?;
    // By turns: two connections, both servers.
    let mut names = [
        client.ask(Kind::Tcp, web)?.name,
        client.ask(Kind::Tcp, web)?.name,
    ];
    names.sort();
    assert_eq!(names, ["web-1", "web-2"]);
    for kind in [Kind::Udp, Kind::Tcp] {
        assert_eq!(client.ask(kind, "10.96.0.10:53".parse()?)?.name, "dns-1");
    }
    let outside = lan.client(1)?;
    let node_port = node.addr().at(Family::V4, 30080);
    poll::until_true(CHANGE, "the node port answers outside", || {
        Ok(outside.ask(Kind::Tcp, node_port).is_ok())
    })?;
    let frontends = agent_output::frontends(&node)?;
    ensure!(
        frontends.iter().any(|it| it.address == "10.96.0.80"),
        "{frontends:?}"
    );
    ensure!(agent.runs()?, "the agent ended");
    Ok(())
}
