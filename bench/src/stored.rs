//! The writing of thousands of services that differ in nothing but their addresses: the API server
//! makes the first, and the others go into etcd as copies of what it made. It takes five
//! milliseconds for each else.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{core::v1::Service, discovery::v1::EndpointSlice},
};
use kube::{
    Api,
    api::{GetParams, ListParams, Request},
    core::Resource,
};
use serde_json::{Value, json};
use testbed::{
    cluster::{Client, Cluster, client::Object},
    poll,
};

use crate::bulk::{self, NAMESPACE};

/// Objects that are in memory at once.
const PART: usize = 1000;
/// The control plane has nothing left to do when it takes less than this of a CPU for a moment.
const RESTING: f64 = 0.2;
const MOMENT: Duration = Duration::from_millis(500);
/// Until the API server has heard of all.
const HEARD: Duration = Duration::from_mins(2);

/// Where the API server has what it keeps of a kind: group and version, resource, folder in etcd.
const SERVICES: (&str, &str, &str) = ("/api/v1", "services", "services/specs");
const SLICES: (&str, &str, &str) = (
    "/apis/discovery.k8s.io/v1",
    "endpointslices",
    "endpointslices",
);
const ADDRESSES: (&str, &str, &str) = ("/apis/networking.k8s.io/v1", "ipaddresses", "ipaddresses");

/// Service and slice.
type Pair = (Value, Value);

/// Services with a slice each. All are known to the API server when this returns.
pub(crate) fn create(cluster: &Cluster, objects: impl IntoIterator<Item = Pair>) -> Result<()> {
    let api = cluster.client();
    let mut objects = objects.into_iter();
    let Some((service, slice)) = objects.next() else {
        return Ok(());
    };
    let before = (count::<Service>(api)?, count::<EndpointSlice>(api)?);
    let names = [&service, &slice].map(|object| name(object).to_owned());
    let address = text(&service["spec"]["clusterIP"]).to_owned();
    bulk::create::<Service>(api, [service])?;
    bulk::create::<EndpointSlice>(api, [slice])?;
    let (service, slice) = (
        made(api, SERVICES, Some(NAMESPACE), &names[0])?,
        made(api, SLICES, Some(NAMESPACE), &names[1])?,
    );
    let address = made(api, ADDRESSES, None, &address)?;
    let rest: Vec<Pair> = objects.collect();
    // Addresses first: the API server gives one to each service that has none.
    let put = |of: &dyn Fn(usize, &Pair) -> (String, Value)| -> Result<()> {
        for (part, pairs) in rest.chunks(PART).enumerate() {
            let numbers = before.0 + part * PART..;
            let entries: Vec<_> = numbers.zip(pairs).map(|(n, pair)| of(n, pair)).collect();
            cluster.put_stored(&entries)?;
        }
        Ok(())
    };
    put(&|n, (wanted, _)| stored(ADDRESSES, address_like(&address, wanted), n))?;
    put(&|n, (wanted, _)| stored(SERVICES, service_like(&service, wanted), n))?;
    put(&|n, (_, wanted)| stored(SLICES, slice_like(&slice, wanted), n))?;
    let more = rest.len() + 1;
    poll::until(HEARD, "the API server has heard of all objects", || {
        let now = (count::<Service>(api)?, count::<EndpointSlice>(api)?);
        let all = (before.0 + more, before.1 + more);
        ensure!(now == all, "it knows {now:?} of {all:?}");
        Ok(Some(()))
    })?;
    rests(cluster)
}

/// The control plane's loops look at every new service, one after the other; nothing is measured
/// until they are done.
fn rests(cluster: &Cluster) -> Result<()> {
    poll::until_true(HEARD, "the control plane rests", || {
        let before = cluster.control_plane().cpu_seconds()?;
        std::thread::sleep(MOMENT);
        Ok(cluster.control_plane().cpu_seconds()? - before < RESTING * MOMENT.as_secs_f64())
    })
}

/// What the API server made of an object.
fn made(
    api: &Client,
    (group, resource, _): (&'static str, &'static str, &'static str),
    namespace: Option<&str>,
    name: &str,
) -> Result<Value> {
    let path = namespace.map_or_else(
        || format!("{group}/{resource}"),
        |namespace| format!("{group}/namespaces/{namespace}/{resource}"),
    );
    let what = format!("{path}/{name}");
    let name = name.to_owned();
    let text = api.run(move |client| {
        Box::pin(async move {
            let request = Request::new(path).get(&name, &GetParams::default())?;
            Ok(client.request_text(request).await?)
        })
    });
    let text = text.with_context(|| format!("get {what}"))?;
    serde_json::from_str(&text).with_context(|| format!("read {what}"))
}

/// Key and value of an object, number `n` of its kind.
fn stored((_, _, folder): (&str, &str, &str), mut object: Value, n: usize) -> (String, Value) {
    let metadata = &mut object["metadata"];
    // etcd's own number of the change.
    if let Some(fields) = metadata.as_object_mut() {
        fields.remove("resourceVersion");
    }
    // No two kinds have the same.
    let kind = folder.bytes().map(u32::from).sum::<u32>() & 0xfff;
    metadata["uid"] = format!("00000000-0000-4000-8{kind:03x}-{n:012x}").into();
    let name = text(&metadata["name"]);
    let key = match metadata["namespace"].as_str() {
        Some(namespace) => format!("/registry/{folder}/{namespace}/{name}"),
        None => format!("/registry/{folder}/{name}"),
    };
    (key, object)
}

fn service_like(made: &Value, wanted: &Value) -> Value {
    let mut object = made.clone();
    object["metadata"]["name"] = wanted["metadata"]["name"].clone();
    let address = &wanted["spec"]["clusterIP"];
    object["spec"]["clusterIP"] = address.clone();
    object["spec"]["clusterIPs"] = json!([address]);
    object
}

fn slice_like(made: &Value, wanted: &Value) -> Value {
    let mut object = made.clone();
    for field in ["name", "labels"] {
        object["metadata"][field] = wanted["metadata"][field].clone();
    }
    object["endpoints"] = wanted["endpoints"].clone();
    object
}

/// That of a service.
fn address_like(made: &Value, service: &Value) -> Value {
    let mut object = made.clone();
    object["metadata"]["name"] = service["spec"]["clusterIP"].clone();
    object["spec"]["parentRef"]["name"] = service["metadata"]["name"].clone();
    object
}

fn count<K>(api: &Client) -> Result<usize>
where
    K: Object + Resource<Scope = NamespaceResourceScope>,
{
    let list = api.run(|client| {
        Box::pin(async move {
            let api = Api::<K>::namespaced(client, NAMESPACE);
            Ok(api.list_metadata(&ListParams::default().limit(1)).await?)
        })
    })?;
    let more = list.metadata.remaining_item_count.unwrap_or_default();
    Ok(list.items.len() + usize::try_from(more)?)
}

fn name(object: &Value) -> &str {
    text(&object["metadata"]["name"])
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_differs_in_what_makes_it_another_one() {
        let made = json!({
            "kind": "Service",
            "metadata": {"name": "s0", "namespace": "bench", "uid": "a", "resourceVersion": "7"},
            "spec": {"clusterIP": "10.96.1.0", "clusterIPs": ["10.96.1.0"], "type": "ClusterIP"},
        });
        let wanted = json!({"metadata": {"name": "s1"}, "spec": {"clusterIP": "10.96.1.1"}});
        let (key, object) = stored(SERVICES, service_like(&made, &wanted), 1);
        assert_eq!(key, "/registry/services/specs/bench/s1");
        assert_eq!(object["spec"]["clusterIPs"], json!(["10.96.1.1"]));
        assert_eq!(object["spec"]["type"], "ClusterIP");
        assert!(object["metadata"]["resourceVersion"].is_null());
        assert_ne!(object["metadata"]["uid"], "a");
        let made =
            json!({"metadata": {"name": "10.96.1.0"}, "spec": {"parentRef": {"name": "s0"}}});
        let (key, object) = stored(ADDRESSES, address_like(&made, &wanted), 1);
        assert_eq!(key, "/registry/ipaddresses/10.96.1.1");
        assert_eq!(object["spec"]["parentRef"]["name"], "s1");
    }
}
