//! Names for tests.

use std::{path::PathBuf, sync::Arc};

use lb_common::Proto;

use super::{Draft, NameFiles, store::shard};
use crate::{
    model::{Endpoint, ObjectKey, Service, Slice},
    plan::{PlanConfig, plan},
};

/// A Service of this name in the namespace `shop`, with one endpoint.
pub(crate) fn draft(name: &str) -> (ObjectKey, Draft) {
    let key = ObjectKey::new("shop", name);
    let mut service = Service::cluster_ip(name, "10.96.0.1").port("http", Proto::Tcp, 80);
    service.key = key.clone();
    let mut endpoint = Endpoint::ready("10.0.0.1").on("node-1");
    endpoint.pod = Some("web-1".into());
    endpoint.zone = Some("a".into());
    let slice = Slice::new(ObjectKey::new("shop", "web-abc"), name).endpoints([endpoint]);
    let frontends = plan(&service, &[], None, &PlanConfig::default());
    let id = frontends.pools[0].id.clone();
    let draft = Draft {
        service: Arc::new(service),
        slices: [Arc::new(slice)].into(),
        frontends: frontends
            .frontends
            .iter()
            .map(|f| (f.key, id.clone()))
            .collect(),
    };
    (key, draft)
}

/// The file that holds a Service's names.
pub(crate) fn file(files: &NameFiles, key: &ObjectKey) -> PathBuf {
    files.shard(shard(&key.to_string()))
}
