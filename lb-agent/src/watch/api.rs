//! Watches the API server for everything that is balanced. Losing the server changes only a metric.

use anyhow::Result;
use k8s_openapi::api::{
    core::v1 as core, discovery::v1 as discovery, networking::v1 as networking,
};
use kube::Client;
use tokio::sync::mpsc::Sender;

use super::{
    cluster_uid,
    failures::STANDS,
    metrics::WatchMetrics,
    object::{HEADLESS, PROXY_NAME},
    one_kind::{Limit, one_kind, renewed},
};
use crate::model::Event;

/// Follows everything through one client, until the server has failed `patience` times in a row or
/// the receiver is gone.
pub async fn follow(
    client: Client,
    node: &str,
    patience: u32,
    events: Sender<Event>,
    metrics: &WatchMetrics,
) -> Result<()> {
    let services = renewed()
        .labels(&format!("!{PROXY_NAME}"))
        .fields("spec.clusterIP!=None");
    let slices = renewed().labels(&format!("!{HEADLESS}"));
    let our_node = renewed().fields(&format!("metadata.name={node}"));
    let limit = Limit {
        patience,
        stands: STANDS,
    };
    tokio::try_join!(
        one_kind::<core::Service>(&client, services, limit, &events, metrics),
        one_kind::<discovery::EndpointSlice>(&client, slices, limit, &events, metrics),
        one_kind::<core::Node>(&client, our_node, limit, &events, metrics),
        one_kind::<networking::ServiceCIDR>(&client, renewed(), limit, &events, metrics),
        async {
            cluster_uid::tell(&client, &events).await;
            Ok(())
        },
    )?;
    Ok(())
}
