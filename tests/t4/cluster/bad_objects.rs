//! The table of bad objects through the API server: what it refuses needs no word of ours, what it
//! takes is told by an Event.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Event, Service};
use kube::api::{Patch, PatchParams, PostParams, Request};
use lb_tests::bad::{Api, Bad, PAIR, Said, TABLE};
use serde_json::{Value, json};
use testbed::{
    agent::CHANGE,
    agent_output,
    cluster::{Client, Cluster},
    poll,
};

use crate::cluster::common::agent;

const NAMESPACE: &str = "default";

/// Posts one document, and its status behind it; false if the server does not take it as it is.
fn post(api: &Client, document: &str) -> Result<bool> {
    let mut object: Value = serde_saphyr::from_str(document).context("a document of the table")?;
    let path = match object["kind"].as_str() {
        Some("Service") => "/api/v1/namespaces/default/services",
        Some("EndpointSlice") => "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
        other => anyhow::bail!("{other:?} is no kind of the table"),
    };
    let status = object.as_object_mut().and_then(|o| o.remove("status"));
    let name = object["metadata"]["name"].as_str().map(str::to_owned);
    let body = serde_json::to_vec(&object)?;
    api.run(move |client| {
        Box::pin(async move {
            let request = Request::new(path).create(&PostParams::default(), body)?;
            if refused(client.request_text(request).await)? {
                return Ok(false);
            }
            let (Some(status), Some(name)) = (status, name) else {
                return Ok(true);
            };
            let patch = Patch::Merge(json!({"status": status}));
            let params = PatchParams::default();
            let request = Request::new(path).patch_subresource("status", &name, &params, &patch)?;
            Ok(!refused(client.request_text(request).await)?)
        })
    })
}

/// The server says that the object is no good (a port that it cannot allocate is a 500); anything
/// else is an error.
fn refused(answer: kube::Result<String>) -> Result<bool> {
    match answer {
        Ok(_) => Ok(false),
        Err(kube::Error::Api(status)) if [400, 409, 422, 500].contains(&status.code) => Ok(true),
        Err(other) => Err(other.into()),
    }
}

fn documents(bad: &Bad) -> impl Iterator<Item = &'static str> {
    bad.yaml.split("---\n").filter(|d| !d.trim().is_empty())
}

fn backends(node: &testbed::node::Node, address: &str, port: u16) -> Result<Option<usize>> {
    let all = agent_output::frontends(node)?;
    let found = all.iter().find(|f| f.address == address && f.port == port);
    Ok(found.map(|f| f.backends.len()))
}

#[test]
fn what_the_api_server_takes_and_we_do_not_carry_is_told_by_an_event() -> Result<()> {
    // One of its own: some of these keep kube-proxy from writing any rule, and other tests need it.
    let cluster = Cluster::start()?;
    let api = cluster.client();
    let node = cluster.node(14)?;
    let _agent = agent(&cluster, &node)?;
    let mut wrong = Vec::new();
    for bad in TABLE.iter().filter(|bad| bad.api != Api::Never) {
        let taken: Result<Vec<bool>> = documents(bad).map(|d| post(api, d)).collect();
        let all = taken?.iter().all(|taken| *taken);
        if all != (bad.api == Api::Takes) {
            wrong.push((bad.name, all));
        }
    }
    ensure!(
        wrong.is_empty(),
        "not as the table says, took all of it: {wrong:?}"
    );
    for bad in TABLE.iter().filter(|bad| bad.api == Api::Takes) {
        if let Some((address, port, wanted)) = bad.serves {
            poll::until_true(CHANGE, &format!("{} serves what it can", bad.name), || {
                Ok(backends(&node, address, port)? == Some(wanted))
            })?;
        }
        let Said::OfService(service, reason) = bad.said else {
            continue;
        };
        poll::until_true(CHANGE, &format!("{} is told", bad.name), || {
            let named = agent_output::partially_programmed(&node)?;
            let of = named
                .iter()
                .find(|n| n.service == format!("{NAMESPACE}/{service}"));
            Ok(of.is_some_and(|n| n.problems.iter().any(|p| p.contains(reason))))
        })?;
        poll::until_true(CHANGE, &format!("{} has its Event", bad.name), || {
            let events = api.list::<Event>(NAMESPACE, "")?;
            let of = events
                .iter()
                .filter(|e| e.involved_object.name.as_deref() == Some(service));
            let mut notes = of.filter_map(|e| e.message.as_deref());
            Ok(notes.any(|note| note.contains(reason)))
        })?;
    }
    // The older one goes: the newer one has what it asked for.
    let (older, newer, address) = PAIR;
    api.delete::<Service>(NAMESPACE, older)?;
    poll::until_true(CHANGE, "the newer one has the address", || {
        let named = agent_output::partially_programmed(&node)?;
        let still = named.iter().any(|n| n.service.ends_with(newer));
        Ok(backends(&node, address, 80)? == Some(2) && !still)
    })
}
