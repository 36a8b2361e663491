//! The control of this suite: a client that lists and watches the API server and does nothing with
//! what it hears.

use std::{
    net::IpAddr,
    sync::mpsc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{
    Api,
    api::{ListParams, Request, WatchEvent, WatchParams},
};
use testbed::cluster::Client;

use crate::{bulk::NAMESPACE, stats::median};

const PATIENCE: Duration = Duration::from_secs(10);

/// A list of few services is a matter of moments, and a moment is easily disturbed: so many, or so
/// many as that time has room for.
const LISTS: usize = 5;
const LISTING: f64 = 1.0;

/// Seconds for the lists of everything, as text: the median of some.
pub(super) fn list(api: &Client) -> Result<f64> {
    let mut all = Vec::new();
    while all.len() < LISTS && all.iter().sum::<f64>() < LISTING {
        all.push(one(api)?);
    }
    median(&all).context("no lists")
}

fn one(api: &Client) -> Result<f64> {
    let start = Instant::now();
    for path in [
        "/api/v1/services",
        "/apis/discovery.k8s.io/v1/endpointslices",
    ] {
        let text = api.run(move |client| {
            Box::pin(async move {
                let request = Request::new(path).list(&ListParams::default())?;
                Ok(client.request_text(request).await?)
            })
        })?;
        anyhow::ensure!(!text.is_empty(), "an empty list at {path}");
    }
    Ok(start.elapsed().as_secs_f64())
}

/// A watch of the slice of the service `probe`.
pub(super) struct Watch {
    heard: mpsc::Receiver<(Instant, IpAddr)>,
}

impl Watch {
    /// Runs until this value is dropped.
    pub(super) fn new(api: &Client) -> Result<Self> {
        let (tell, heard) = mpsc::channel();
        api.run(move |client| {
            Box::pin(async move {
                let api = Api::<EndpointSlice>::namespaced(client, NAMESPACE);
                let version = api.list_metadata(&ListParams::default().limit(1)).await?;
                let version = version.metadata.resource_version.unwrap_or_default();
                let params = WatchParams::default().fields("metadata.name=probe-a");
                let mut events = api.watch(&params, &version).await?.boxed();
                tokio::spawn(async move {
                    while let Ok(Some(event)) = events.try_next().await {
                        let now = Instant::now();
                        let address = match event {
                            WatchEvent::Modified(slice) => first(&slice),
                            _ => None,
                        };
                        if let Some(address) = address
                            && tell.send((now, address)).is_err()
                        {
                            return;
                        }
                    }
                });
                Ok(())
            })
        })
        .context("watch a slice")?;
        Ok(Self { heard })
    }

    /// When it was first heard that the endpoint is this one.
    pub(super) fn heard(&self, wanted: IpAddr) -> Result<Instant> {
        loop {
            let (at, address) = self
                .heard
                .recv_timeout(PATIENCE)
                .context("the watch says nothing")?;
            if address == wanted {
                return Ok(at);
            }
        }
    }
}

fn first(slice: &EndpointSlice) -> Option<IpAddr> {
    let endpoints = slice.endpoints.as_ref()?;
    endpoints.first()?.addresses.first()?.parse().ok()
}
