//! A connection to the API server from inside a network namespace, for callers that are not async.

use std::{fs::File, future::Future, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use k8s_openapi::NamespaceResourceScope;
use kube::{
    api::{Api, DeleteParams, GetParams, ListParams, Patch, PatchParams, PostParams, Request},
    config::{KubeConfigOptions, Kubeconfig},
    core::{ClusterResourceScope, Resource},
};
use nix::sched::{CloneFlags, setns};
use serde::{Serialize, de::DeserializeOwned};
use tokio::runtime::{Builder, Runtime};

use crate::netns::Netns;

/// A request that takes longer has failed.
const REQUEST: Duration = Duration::from_secs(20);

/// A client whose every socket is made on threads that live in the namespace.
pub struct Client {
    runtime: Runtime,
    client: kube::Client,
}

/// What every object here can do.
pub trait Object:
    Clone
    + std::fmt::Debug
    + DeserializeOwned
    + Serialize
    + Resource<DynamicType = ()>
    + Send
    + Sync
    + 'static
{
}
impl<T> Object for T where
    T: Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Serialize
        + Resource<DynamicType = ()>
        + Send
        + Sync
        + 'static
{
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// A client with the credentials of a kubeconfig.
    pub fn new(netns: &Netns, kubeconfig: &Path) -> Result<Self> {
        let path = netns.path();
        let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .on_thread_start(move || {
                if let Err(error) = setns(&file, CloneFlags::CLONE_NEWNET) {
                    // Whatever this thread then dials is not there: the request fails, and says so.
                    eprintln!("enter a network namespace: {error}");
                }
            })
            .build()
            .context("start a runtime")?;
        let kubeconfig = Kubeconfig::read_from(kubeconfig).context("read a kubeconfig")?;
        let client = run(&runtime, async move {
            let mut config =
                kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                    .await?;
            config.connect_timeout = Some(REQUEST);
            // A whole request has its time; a connection that is idle for longer is not to fail the
            // next one.
            config.read_timeout = None;
            config.proxy_url = None;
            Ok(kube::Client::try_from(config)?)
        })?;
        Ok(Self { runtime, client })
    }

    /// Runs a future inside the namespace.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(kube::Client) -> std::pin::Pin<Box<dyn Future<Output = Result<T>> + Send>>,
    ) -> Result<T> {
        run(&self.runtime, work(self.client.clone()))
    }

    /// Whether the API server says that it is ready.
    pub fn ready(&self) -> Result<bool> {
        self.run(|client| {
            Box::pin(async move {
                let request = Request::new("").get("readyz", &GetParams::default())?;
                Ok(client.request_text(request).await? == "ok")
            })
        })
    }

    /// Makes a namespaced object, and gives it back as the server keeps it.
    pub fn create<K: Object + Resource<Scope = NamespaceResourceScope>>(
        &self,
        namespace: &str,
        object: &K,
    ) -> Result<K> {
        let (namespace, object) = (namespace.to_owned(), object.clone());
        self.with(move |client| async move {
            Api::<K>::namespaced(client, &namespace)
                .create(&PostParams::default(), &object)
                .await
        })
        .with_context(|| format!("create a {}", K::kind(&())))
    }

    /// Makes an object of the cluster.
    pub fn create_global<K: Object + Resource<Scope = ClusterResourceScope>>(
        &self,
        object: &K,
    ) -> Result<K> {
        let object = object.clone();
        self.with(move |client| async move {
            Api::<K>::all(client)
                .create(&PostParams::default(), &object)
                .await
        })
        .with_context(|| format!("create a {}", K::kind(&())))
    }

    /// The object of the cluster of this name; `None` if there is none.
    pub fn get_global<K: Object + Resource<Scope = ClusterResourceScope>>(
        &self,
        name: &str,
    ) -> Result<Option<K>> {
        let wanted = name.to_owned();
        self.with(move |client| async move { Api::<K>::all(client).get_opt(&wanted).await })
            .with_context(|| format!("get {} {name}", K::kind(&())))
    }

    /// The object of this name; `None` if there is none.
    pub fn get<K: Object + Resource<Scope = NamespaceResourceScope>>(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<K>> {
        let (namespace, wanted) = (namespace.to_owned(), name.to_owned());
        self.with(move |client| async move {
            Api::<K>::namespaced(client, &namespace)
                .get_opt(&wanted)
                .await
        })
        .with_context(|| format!("get {} {name}", K::kind(&())))
    }

    /// All of a namespace with these labels (`a=b,c=d`; empty for all).
    pub fn list<K: Object + Resource<Scope = NamespaceResourceScope>>(
        &self,
        namespace: &str,
        labels: &str,
    ) -> Result<Vec<K>> {
        let params = ListParams::default().labels(labels);
        let namespace = namespace.to_owned();
        self.with(move |client| async move {
            Api::<K>::namespaced(client, &namespace).list(&params).await
        })
        .map(|list| list.items)
        .with_context(|| format!("list {}", K::plural(&())))
    }

    /// Merges into an object.
    pub fn patch<K>(&self, namespace: &str, name: &str, patch: serde_json::Value) -> Result<K>
    where
        K: Object + Resource<Scope = NamespaceResourceScope>,
    {
        let (namespace, wanted) = (namespace.to_owned(), name.to_owned());
        self.with(move |client| async move {
            let api = Api::<K>::namespaced(client, &namespace);
            api.patch(&wanted, &PatchParams::default(), &Patch::Merge(patch))
                .await
        })
        .with_context(|| format!("patch {} {name}", K::kind(&())))
    }

    /// Merges into an object's status, as a kubelet does.
    pub fn patch_status<K>(
        &self,
        namespace: &str,
        name: &str,
        patch: serde_json::Value,
    ) -> Result<K>
    where
        K: Object + Resource<Scope = NamespaceResourceScope>,
    {
        let (namespace, wanted) = (namespace.to_owned(), name.to_owned());
        self.with(move |client| async move {
            let api = Api::<K>::namespaced(client, &namespace);
            api.patch_status(&wanted, &PatchParams::default(), &Patch::Merge(patch))
                .await
        })
        .with_context(|| format!("patch the status of {} {name}", K::kind(&())))
    }

    /// Merges into an object of the cluster.
    pub fn patch_global<K>(&self, name: &str, patch: serde_json::Value) -> Result<K>
    where
        K: Object + Resource<Scope = ClusterResourceScope>,
    {
        let wanted = name.to_owned();
        self.with(move |client| async move {
            let api = Api::<K>::all(client);
            api.patch(&wanted, &PatchParams::default(), &Patch::Merge(patch))
                .await
        })
        .with_context(|| format!("patch {} {name}", K::kind(&())))
    }

    /// Merges into the status of an object of the cluster.
    pub fn patch_global_status<K>(&self, name: &str, patch: serde_json::Value) -> Result<K>
    where
        K: Object + Resource<Scope = ClusterResourceScope>,
    {
        let wanted = name.to_owned();
        self.with(move |client| async move {
            Api::<K>::all(client)
                .patch_status(&wanted, &PatchParams::default(), &Patch::Merge(patch))
                .await
        })
        .with_context(|| format!("patch the status of {} {name}", K::kind(&())))
    }

    /// Removes an object at once: there is no kubelet to let a pod go.
    pub fn delete<K: Object + Resource<Scope = NamespaceResourceScope>>(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<()> {
        let (namespace, wanted) = (namespace.to_owned(), name.to_owned());
        let params = DeleteParams::default().grace_period(0);
        self.with(move |client| async move {
            Api::<K>::namespaced(client, &namespace)
                .delete(&wanted, &params)
                .await
        })
        .map(drop)
        .with_context(|| format!("delete {} {name}", K::kind(&())))
    }

    /// Like [`Self::run`], for one call of an API.
    pub fn with<T, F, W>(&self, work: W) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = kube::Result<T>> + Send + 'static,
        W: FnOnce(kube::Client) -> F,
    {
        let call = work(self.client.clone());
        run(&self.runtime, async move { Ok(call.await?) })
    }
}

/// On a worker thread: only those are in the namespace, the caller is not.
fn run<T: Send + 'static>(
    runtime: &Runtime,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let task = runtime.spawn(async move {
        let work = Box::pin(work);
        tokio::time::timeout(REQUEST, work)
            .await
            .context("the API server did not answer in time")?
    });
    runtime.block_on(task).context("a request was given up")?
}
