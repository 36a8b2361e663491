//! Thousands of objects through the API server: everything is programmed, a restart and a relist
//! write nothing, one endpoint writes a handful. Counted by the agent's metrics, never timed.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures::stream::{self, TryStreamExt as _};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Request};
use lb_agent::maps::{bpf, dir::BpfDir, pinned::Access};
use lb_tests::scale::{
    read,
    world::{Content, Service, expected, world},
    yaml,
};
use serde_json::{Value, json};
use testbed::{
    agent_output,
    cluster::{Client, Cluster},
    node::Node,
    poll,
};

use crate::cluster::common::agent;

/// Making one takes the API server some milliseconds.
const SERVICES: u32 = 500;
const LARGES: u32 = 1;
const WRITTEN: Duration = Duration::from_mins(2);
/// Requests under way at once.
const AT_ONCE: usize = 32;
/// Posted by one call, which has a deadline.
const PART: usize = 200;

const SERVICE_PATH: &str = "/api/v1/namespaces/default/services";
const SLICE_PATH: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

fn post(api: &Client, path: &'static str, documents: &[String]) -> Result<()> {
    for part in documents.chunks(PART) {
        let bodies: Result<Vec<Vec<u8>>> = part
            .iter()
            .map(|text| Ok(serde_json::to_vec(&serde_saphyr::from_str::<Value>(text)?)?))
            .collect();
        let bodies = bodies?;
        api.run(move |client| {
            Box::pin(async move {
                stream::iter(bodies.into_iter().map(Ok))
                    .try_for_each_concurrent(AT_ONCE, |body| {
                        let client = client.clone();
                        async move {
                            let request =
                                Request::new(path).create(&PostParams::default(), body)?;
                            client.request_text(request).await?;
                            Ok(())
                        }
                    })
                    .await
            })
        })?;
    }
    Ok(())
}

/// The maps without the API server's own Service.
fn content(node: &Node) -> Result<Content> {
    let mut maps = bpf::open(&BpfDir::at(node.bpf_dir()), Access::Read)?;
    let mut content = read::content(&mut maps)?;
    let own = testbed::cluster::SERVICE_HOST.parse()?;
    content.marks.retain(|(ip, _)| *ip != own);
    let gone: Vec<_> = content
        .fronts
        .iter()
        .filter(|(key, _)| key.0 == Some(own))
        .collect();
    let theirs: Vec<_> = gone
        .into_iter()
        .flat_map(|(_, pool)| pool.slots.clone())
        .collect();
    content.fronts.retain(|key, _| key.0 != Some(own));
    content
        .backends
        .retain(|key, _| !theirs.contains(&(key.0, key.1)));
    Ok(content)
}

fn compare(node: &Node, services: &[Service]) -> Result<()> {
    let difference = expected(services).differs(&content(node)?);
    ensure!(difference.is_none(), "{}", difference.unwrap_or_default());
    Ok(())
}

fn written(node: &Node) -> Result<u64> {
    let sum = agent_output::metric_sum(node, "lb_agent_map_writes_total")?;
    format!("{sum:.0}").parse().context("a count")
}

#[test]
fn five_hundred_services_and_a_large_one_through_the_api_server() -> Result<()> {
    // Of its own: its addresses are chosen here, and its servers have much to do.
    let mut cluster = Cluster::start()?;
    let node = cluster.node(15)?;
    let mut all = world(SERVICES, LARGES);
    for service in &mut all {
        // The API server would give one to each of its ports.
        service.node_port = None;
    }
    let api = cluster.client();
    let heads: Vec<String> = all.iter().map(yaml::head).collect();
    post(api, SERVICE_PATH, &heads)?;
    let slices = all
        .iter()
        .flat_map(|s| (0..s.slices.len()).map(|n| yaml::slice(s, n)));
    post(api, SLICE_PATH, &slices.collect::<Vec<_>>())?;

    let running = agent(&cluster, &node)?;
    compare(&node, &all)?;
    let status = fs::read_to_string(format!("/proc/{}/status", running.pid()))?;
    let rss = status
        .lines()
        .find(|l| l.starts_with("VmRSS"))
        .context("VmRSS")?;
    println!("{} endpoints: {rss}", expected(&all).backends.len());
    running.kill()?;
    let _running = agent(&cluster, &node)?;
    ensure!(
        written(&node)? == 0,
        "the restart wrote {}",
        written(&node)?
    );

    // One endpoint of three goes: a member, two slots, an entry, and after a while a backend.
    let service = all.iter_mut().find(|s| s.number == 403).context("there")?;
    service.slices[0].remove(0);
    let path = format!("{SLICE_PATH}/{}", service.slice_name(0));
    let endpoints: Vec<Value> = service.slices[0]
        .iter()
        .map(|e| json!({"addresses": [e.addr]}))
        .collect();
    let patch = Patch::Merge(json!({"endpoints": endpoints}));
    let (folder, name) = path.rsplit_once('/').context("a path")?;
    let request = Request::new(folder).patch(name, &PatchParams::default(), &patch)?;
    api.with(|client| async move { client.request_text(request).await })?;
    poll::until_true(WRITTEN, "one endpoint is gone", || {
        let now = written(&node)?;
        ensure!(now <= 5, "{now} elements for one endpoint");
        Ok(now == 5)
    })?;
    compare(&node, &all)?;

    // The API server starts again, and everything is listed anew: nothing is written for it.
    let before = written(&node)?;
    cluster.control_plane_mut().stop_api()?;
    cluster.control_plane_mut().start_api()?;
    let gone = all.remove(0);
    let api = cluster.client();
    let (name, endpoints) = (gone.name(), gone.endpoints().count() as u64);
    let request = Request::new(SERVICE_PATH).delete(&name, &DeleteParams::default())?;
    api.with(|client| async move { client.request_text(request).await })?;
    // Marks and frontends, members; then its entry and its backends are cleared.
    let wanted = before + 4 + endpoints + 1 + endpoints;
    poll::until_true(WRITTEN, "what the large Service held is freed", || {
        let now = written(&node)?;
        ensure!(
            now >= wanted,
            "{} of {} written",
            now - before,
            wanted - before
        );
        Ok(true)
    })?;
    // The API server takes its own endpoint away when it stops, and brings it back: that is a
    // handful too.
    let more = written(&node)? - wanted;
    ensure!(
        more <= 20,
        "{more} elements written for a list that says the same"
    );
    compare(&node, &all)
}
