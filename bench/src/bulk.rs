//! The writing of many objects to an API server at once.

use anyhow::{Context as _, Result};
use k8s_openapi::NamespaceResourceScope;
use kube::{
    api::{Api, Patch, PatchParams, PostParams},
    core::Resource,
};
use serde_json::Value;
use testbed::cluster::{Client, client::Object, objects::object};

/// Where all of them are.
pub(crate) const NAMESPACE: &str = "bench";
/// On their way to the API server at once.
const AT_ONCE: usize = 40;

/// Makes objects, in no order.
pub(crate) fn create<K>(api: &Client, objects: impl IntoIterator<Item = Value>) -> Result<()>
where
    K: Object + Resource<Scope = NamespaceResourceScope>,
{
    let mut objects = objects.into_iter().peekable();
    while objects.peek().is_some() {
        let part: Vec<K> = objects
            .by_ref()
            .take(AT_ONCE)
            .map(object)
            .collect::<Result<_>>()?;
        api.run(move |client| {
            Box::pin(async move {
                let api = Api::<K>::namespaced(client, NAMESPACE);
                let params = PostParams::default();
                let calls = part.iter().map(|object| api.create(&params, object));
                futures::future::try_join_all(calls).await?;
                Ok(())
            })
        })
        .with_context(|| format!("create objects of kind {}", K::kind(&())))?;
    }
    Ok(())
}

/// Merges into objects of these names, in no order.
pub(crate) fn patch<K>(
    api: &Client,
    patches: impl IntoIterator<Item = (String, Value)>,
) -> Result<()>
where
    K: Object + Resource<Scope = NamespaceResourceScope>,
{
    let mut patches = patches.into_iter().peekable();
    while patches.peek().is_some() {
        let part: Vec<(String, Value)> = patches.by_ref().take(AT_ONCE).collect();
        api.run(move |client| {
            Box::pin(async move {
                let api = Api::<K>::namespaced(client, NAMESPACE);
                let calls = part.into_iter().map(|(name, patch)| {
                    let api = api.clone();
                    async move {
                        let patch = Patch::Merge(patch);
                        api.patch(&name, &PatchParams::default(), &patch).await
                    }
                });
                futures::future::try_join_all(calls).await?;
                Ok(())
            })
        })
        .with_context(|| format!("patch objects of kind {}", K::kind(&())))?;
    }
    Ok(())
}
