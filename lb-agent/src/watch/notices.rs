//! Events on Services whose objects ask for what cannot be honoured, so that `kubectl describe` shows it. Without an API
//! server, or without the right to write Events, the log has them all the same.

use k8s_openapi::api::core::v1::Service;
use kube::{
    Api, Client, Resource as _,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::sync::{mpsc, watch};
use tracing::debug;

use crate::model::ObjectKey;

use super::api::chain;

/// A problem of a Service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// Which one.
    pub service: ObjectKey,
    /// One word, for machines.
    pub reason: &'static str,
    /// What was being done, one word.
    pub action: &'static str,
    /// What cannot be honoured, and the remedy.
    pub text: String,
}

/// Publishes until nobody has anything to tell.
pub async fn publish(
    node: String,
    client: watch::Receiver<Option<Client>>,
    mut notices: mpsc::Receiver<Notice>,
) {
    while let Some(notice) = notices.recv().await {
        let Notice {
            service,
            reason,
            action,
            text,
        } = notice;
        let Some(client) = client.borrow().clone() else {
            continue;
        };
        let reporter = Reporter {
            controller: "lb-agent".to_owned(),
            instance: Some(node.clone()),
        };
        let event = Event {
            type_: EventType::Warning,
            reason: reason.to_owned(),
            note: Some(text),
            action: action.to_owned(),
            secondary: None,
        };
        // `kubectl describe` looks for the very object: by its uid, not by its name.
        let api = Api::<Service>::namespaced(client.clone(), &service.namespace);
        let published = match api.get_metadata_opt(&service.name).await {
            Ok(Some(object)) => {
                let about = object.object_ref(&());
                Recorder::new(client, reporter)
                    .publish(&event, &about)
                    .await
            }
            // Gone meanwhile: there is nothing to describe.
            Ok(None) => continue,
            Err(error) => Err(error),
        };
        if let Err(error) = published {
            debug!(%service, error = %chain(&error), "cannot write an Event");
        }
    }
}
