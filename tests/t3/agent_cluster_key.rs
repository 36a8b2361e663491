//! The key of the hashes that place connections: the same secret is the same key on every node, and
//! a restart without it keeps it.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use lb_agent::{
    flows::hash_key::HashKeyTable,
    maps::{dir::BpfDir, pinned::Access},
};
use lb_common::hash::HashKey;
use testbed::{
    agent::Start,
    node::Node,
    one_node::{self, OneNode},
};

const SECRET: &str = "00112233445566778899aabbccddeeff";

fn key_of(node: &Node) -> Result<HashKey> {
    Ok(HashKeyTable::open(&BpfDir::at(node.bpf_dir()), Access::Read)?.read()?)
}

/// A file with this secret, and the arguments that name it.
fn secret(secret: &str) -> Result<(tempfile::TempDir, Start)> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("key");
    fs::write(&path, secret)?;
    let path = path.to_str().context("a path of letters")?;
    let start = Start::new().args(&["--cluster-key-file", path]);
    Ok((dir, start))
}

#[test]
fn one_secret_is_one_key_and_outlives_a_restart_without_it() -> Result<()> {
    let (_dir, start) = secret(&format!("{SECRET}\n"))?;
    let mut bed = OneNode::with(start, |node| vec![one_node::web(node)])?;
    assert_eq!(key_of(&bed.node)?, HashKey::of(SECRET.as_bytes()));

    bed.agent.take().context("no agent")?.stop()?;
    bed.agent = Some(Start::new().on(&bed.node)?);
    assert_eq!(key_of(&bed.node)?, HashKey::of(SECRET.as_bytes()));

    let (_dir, start) = secret("another secret, of twenty-nine")?;
    bed.agent.take().context("no agent")?.stop()?;
    bed.agent = Some(start.on(&bed.node)?);
    let another = HashKey::of(b"another secret, of twenty-nine");
    assert_eq!(key_of(&bed.node)?, another);
    Ok(())
}

#[test]
fn without_a_secret_and_an_api_server_the_agent_says_that_there_is_no_key() -> Result<()> {
    let bed = OneNode::with(Start::new(), |node| vec![one_node::web(node)])?;
    assert!(key_of(&bed.node)?.is_absent());
    let log = bed.agent.as_ref().context("no agent")?.log()?;
    ensure!(log.contains("no key: "), "{log}");
    Ok(())
}

#[test]
fn a_secret_that_is_too_short_ends_the_start_with_what_is_needed() -> Result<()> {
    let (_dir, start) = secret("too short")?;
    let error = OneNode::with(start, |node| vec![one_node::web(node)]).err();
    let text = format!("{:#}", error.context("it started")?);
    ensure!(
        text.contains("has 9 bytes: 16 or more are needed"),
        "{text}"
    );
    Ok(())
}
