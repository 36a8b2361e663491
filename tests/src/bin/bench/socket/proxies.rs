//! Owns nodes with the rules of the real kube-proxy: it wrote them from a real API server, and both were stopped so that only
//! the rules are there to be measured. Knows nothing of clients.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::PostParams;
use lb_tests::cluster::objects::object;
use lb_tests::cluster::{Client as ApiClient, Cluster, KubeProxy};
use lb_tests::node::Node;
use lb_tests::poll;

use super::Ground;
use super::place_of;
use super::services::{backends, json, vip};
use crate::client::Client;

/// It looks at its rules every so often at the latest.
const RULES: Duration = Duration::from_mins(2);
/// Objects on their way to the API server at once.
const AT_ONCE: usize = 40;
const NAMESPACE: &str = "bench";

/// The rules go with this value.
pub(super) struct Ruled {
    pub(super) mode: &'static str,
    pub(super) services: u32,
    pub(super) node: Node,
}

/// One node for each mode and each number of services, which must grow.
pub(super) fn rules(
    ground: &Ground,
    client: &mut Client,
    modes: &[&'static str],
    scales: &[u32],
) -> Result<Vec<Ruled>> {
    let cluster = Cluster::start()?;
    cluster.client().add_namespace(NAMESPACE)?;
    let mut all = Vec::new();
    let mut there = 0;
    for &services in scales {
        create(cluster.client(), there..services)?;
        there = services;
        for &mode in modes {
            let number = u8::try_from(all.len() + 1).context("more nodes than addresses")?;
            let node = cluster.node(number)?;
            ground.plug(node.netns())?;
            let mut kube_proxy = KubeProxy::start_in(&cluster, node.place(), node.name(), mode)?;
            // Its healthz may be a moment ahead of its rules.
            let place = place_of(node.netns(), node.cgroup());
            let sample: Vec<u32> = (0..services).step_by(10).chain([services - 1]).collect();
            poll::until_true(RULES, "kube-proxy has written all its rules", || {
                kube_proxy.check()?;
                let reached = client.reach(&place, sample.iter().map(|&i| vip(i)).collect())?;
                Ok(reached
                    .iter()
                    .zip(&sample)
                    .all(|(reached, &i)| backends(i).contains(&reached.tcp)))
            })?;
            all.push(Ruled {
                mode,
                services,
                node,
            });
        }
    }
    Ok(all)
}

fn create(api: &ApiClient, numbers: std::ops::Range<u32>) -> Result<()> {
    let objects: Vec<(Service, EndpointSlice)> = numbers
        .map(|i| {
            let (service, slice) = json(i);
            Ok((object(service)?, object(slice)?))
        })
        .collect::<Result<_>>()?;
    for part in objects.chunks(AT_ONCE) {
        let part = part.to_vec();
        api.run(move |client| {
            Box::pin(async move {
                let services = Api::<Service>::namespaced(client.clone(), NAMESPACE);
                let slices = Api::<EndpointSlice>::namespaced(client, NAMESPACE);
                let params = PostParams::default();
                let calls = part.iter().map(|(service, slice)| async {
                    services.create(&params, service).await?;
                    slices.create(&params, slice).await
                });
                futures::future::try_join_all(calls).await?;
                Ok(())
            })
        })
        .context("create services")?;
    }
    Ok(())
}
