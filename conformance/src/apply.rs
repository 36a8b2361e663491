//! The writing of what has changed between two states of a Service, many of them at a time.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use testbed::cluster::Client;

use crate::{
    numbers::Given,
    objects::{self, Slot},
    plan::Svc,
};

/// Requests under way at a time.
const AT_ONCE: usize = 12;
/// Jobs of one go, so that each go is done well before a request counts as lost.
const GO: usize = 60;

/// Numbers of what is gone are free by then.
const FREED_WITHIN: Duration = Duration::from_secs(10);

/// What the API server gave to a Service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Live {
    /// `spec.clusterIPs`, none of a headless one.
    pub cluster_ips: Vec<IpAddr>,
    /// By position of the port.
    pub node_ports: Vec<Option<u16>>,
}

/// All objects of a Service.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    service: Value,
    ingress: Value,
    slices: Vec<(String, Value)>,
    made: u8,
}

impl Manifest {
    /// Of a Service of a plan, with the numbers that it is given; without, the API server chooses.
    #[must_use]
    pub fn new(slot: &Slot, position: usize, svc: &Svc, given: Option<Given>) -> Self {
        let mut service = objects::service(slot, position, svc);
        if let Some(given) = given {
            given.write(svc, &mut service);
        }
        Self {
            service,
            ingress: objects::ingress(slot, svc),
            slices: objects::slices(slot, position, svc),
            made: svc.made,
        }
    }

    /// For people: as `kubectl apply` takes it, and the status.
    #[must_use]
    pub fn yaml(&self) -> String {
        let mut service = self.service.clone();
        if !self.ingress.is_null() {
            service["status"] = json!({"loadBalancer": {"ingress": self.ingress}});
        }
        let documents = std::iter::once(&service).chain(self.slices.iter().map(|(_, slice)| slice));
        let texts = documents.map(|document| {
            serde_saphyr::to_string(document).unwrap_or_else(|error| format!("# {error}\n"))
        });
        texts.collect::<Vec<_>>().join("---\n")
    }
}

/// One Service from one state to the next.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What stands, and what the server gave to it.
    pub before: Option<(Manifest, Live)>,
    /// What is to stand.
    pub after: Option<Manifest>,
}

/// Does all of them; what the server has given, by job.
pub fn write(client: &Client, jobs: &[Job]) -> Result<Vec<Option<Live>>> {
    let mut all = Vec::with_capacity(jobs.len());
    for go in jobs.chunks(GO) {
        let go = go.to_vec();
        let done = client.run(move |client| {
            Box::pin(async move {
                stream::iter(go)
                    .map(|job| one(client.clone(), job))
                    .buffered(AT_ONCE)
                    .try_collect::<Vec<_>>()
                    .await
            })
        })?;
        all.extend(done);
    }
    Ok(all)
}

async fn one(client: kube::Client, job: Job) -> Result<Option<Live>> {
    let what = format!("write {}/{}", job.namespace, job.name);
    let services = Api::namespaced(client.clone(), &job.namespace);
    let slices = Api::namespaced(client, &job.namespace);
    // Which of the two a proxy hears of first must not matter.
    let slices_first = job.name.bytes().fold(0u8, u8::wrapping_add) % 2 == 0;
    in_order(&services, &slices, &job, slices_first)
        .await
        .context(what)
}

async fn in_order(
    services: &Api<Service>,
    slices: &Api<EndpointSlice>,
    job: &Job,
    slices_first: bool,
) -> Result<Option<Live>> {
    if slices_first {
        write_slices(slices, job).await?;
    }
    let live = write_service(services, job).await?;
    if !slices_first {
        write_slices(slices, job).await?;
    }
    Ok(live)
}

async fn write_service(api: &Api<Service>, job: &Job) -> Result<Option<Live>> {
    let Job {
        name,
        before,
        after,
        ..
    } = job;
    let kept = before
        .as_ref()
        .filter(|(old, _)| after.as_ref().is_some_and(|new| new.made == old.made));
    if before.is_some() && kept.is_none() {
        api.delete(name, &DeleteParams::default()).await?;
    }
    let Some(new) = after else { return Ok(None) };
    let mut remade = false;
    let live = match kept {
        Some((old, live)) if old.service == new.service => live.clone(),
        Some(_) => {
            let object = typed(&new.service)?;
            let replaced = match api.replace(name, &PostParams::default(), &object).await {
                Err(kube::Error::Api(status)) if status.message.contains("duplicate nodePort") => {
                    // The API server gives one number to both protocols, and stumbles over it when
                    // ports change.
                    api.delete(name, &DeleteParams::default()).await?;
                    remade = true;
                    api.create(&PostParams::default(), &object).await
                }
                other => other,
            };
            live_of(&replaced?)?
        }
        None => {
            let object = typed(&new.service)?;
            live_of(&create(api, &object).await?)?
        }
    };
    let shown = kept.filter(|_| !remade);
    let shown = shown.map_or(&Value::Null, |(old, _)| &old.ingress);
    if *shown != new.ingress && !new.ingress.is_null() {
        let status = json!({"status": {"loadBalancer": {"ingress": new.ingress}}});
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(status))
            .await?;
    }
    Ok(Some(live))
}

/// Creates it, with numbers that were another's a moment ago: a busy API server frees what a deleted
/// Service had a little after it has said that it is gone.
async fn create(api: &Api<Service>, object: &Service) -> Result<Service> {
    let until = Instant::now() + FREED_WITHIN;
    loop {
        match api.create(&PostParams::default(), object).await {
            Err(kube::Error::Api(status))
                if status.message.contains("already allocated") && Instant::now() < until =>
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            done => return Ok(done?),
        }
    }
}

async fn write_slices(api: &Api<EndpointSlice>, job: &Job) -> Result<()> {
    let none = Vec::new();
    let before = job.before.as_ref().map_or(&none, |(old, _)| &old.slices);
    let after = job.after.as_ref().map_or(&none, |new| &new.slices);
    for (name, _) in before {
        if !after.iter().any(|(kept, _)| kept == name) {
            api.delete(name, &DeleteParams::default()).await?;
        }
    }
    for (name, value) in after {
        match before.iter().find(|(known, _)| known == name) {
            Some((_, known)) if known == value => {}
            Some(_) => {
                api.replace(name, &PostParams::default(), &typed(value)?)
                    .await?;
            }
            None => {
                api.create(&PostParams::default(), &typed(value)?).await?;
            }
        }
    }
    Ok(())
}

fn typed<K: DeserializeOwned>(value: &Value) -> Result<K> {
    serde_json::from_value(value.clone()).context("a wrong object")
}

fn live_of(service: &Service) -> Result<Live> {
    let spec = service.spec.clone().unwrap_or_default();
    let ips = spec.cluster_ips.unwrap_or_default();
    let cluster_ips = ips.iter().filter(|ip| *ip != "None").map(|ip| ip.parse());
    let ports = spec.ports.unwrap_or_default();
    let node_ports = ports
        .iter()
        .map(|port| port.node_port.and_then(|port| u16::try_from(port).ok()));
    Ok(Live {
        cluster_ips: cluster_ips
            .collect::<Result<_, _>>()
            .context("a ClusterIP is an address")?,
        node_ports: node_ports
            .map(|port| port.filter(|port| *port != 0))
            .collect(),
    })
}
