//! Objects of a watch, converted as soon as they are read: of a list of thousands, one at a time is
//! in memory as the API describes it.

use std::{borrow::Cow, fmt};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::kind::Watched;

/// What is left of an object of kind `K`.
pub(super) struct Converted<K: Watched> {
    /// What a watch needs to go on, and the key.
    pub(super) meta: ObjectMeta,
    /// `None` if it is not ours, or cannot be read.
    pub(super) model: Option<K::Model>,
    /// Why it cannot be read.
    pub(super) error: Option<String>,
}

impl<'de, K: Watched + Deserialize<'de>> Deserialize<'de> for Converted<K> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // An error would be that of the whole list.
        let value = Value::deserialize(from)?;
        let of_meta = |key| Some(value.pointer(key)?.as_str()?.to_owned());
        let meta = ObjectMeta {
            name: of_meta("/metadata/name"),
            namespace: of_meta("/metadata/namespace"),
            resource_version: of_meta("/metadata/resourceVersion"),
            ..ObjectMeta::default()
        };
        let (model, error) = match K::deserialize(value) {
            Ok(object) => (object.convert(), None),
            Err(error) => (None, Some(error.to_string())),
        };
        Ok(Self { meta, model, error })
    }
}

impl<K: Watched> Clone for Converted<K>
where
    K::Model: Clone,
{
    fn clone(&self) -> Self {
        Self {
            meta: self.meta.clone(),
            model: self.model.clone(),
            error: self.error.clone(),
        }
    }
}

impl<K: Watched> fmt::Debug for Converted<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ObjectMeta {
            namespace, name, ..
        } = &self.meta;
        write!(f, "{} {namespace:?}/{name:?}", K::KIND)
    }
}

/// The kind that the API server knows.
impl<K: Watched + Resource<DynamicType = ()>> Resource for Converted<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }
    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }
    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }
    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }
    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
    use serde_json::json;

    use super::*;
    use crate::model::ObjectKey;

    #[test]
    fn what_a_watch_needs_is_kept_and_the_model_is_made_from_the_rest() {
        let object = json!({
            "metadata": {
                "name": "web-x", "namespace": "shop", "resourceVersion": "42", "uid": "u",
                "labels": {"kubernetes.io/service-name": "web"},
                "managedFields": [{"manager": "m", "fieldsV1": {"f:a": {}}}],
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "name": "p"}}],
        });
        let read: Converted<EndpointSlice> = serde_json::from_value(object).unwrap();
        let kept = ObjectMeta {
            name: Some("web-x".to_owned()),
            namespace: Some("shop".to_owned()),
            resource_version: Some("42".to_owned()),
            ..ObjectMeta::default()
        };
        assert_eq!(read.meta, kept);
        let slice = read.model.unwrap();
        assert_eq!(slice.service, ObjectKey::new("shop", "web"));
        assert_eq!(slice.endpoints.len(), 1);
    }

    #[test]
    fn of_one_that_is_none_of_ours_the_name_is_left() {
        let object = json!({
            "metadata": {"name": "web", "namespace": "shop", "resourceVersion": "42"},
            "spec": {"type": "ExternalName", "externalName": "example.org"},
        });
        let read: Converted<Service> = serde_json::from_value(object).unwrap();
        assert!(read.model.is_none());
        assert_eq!(read.meta.name.as_deref(), Some("web"));
    }

    #[test]
    fn one_that_cannot_be_read_has_a_name_and_spoils_no_other() {
        let list = json!([
            {"metadata": {"name": "bad", "namespace": "shop", "resourceVersion": "7"},
             "addressType": "IPv4", "endpoints": [{"addresses": "10.0.0.1"}]},
            {"metadata": {"name": "good", "namespace": "shop",
                          "labels": {"kubernetes.io/service-name": "web"}},
             "addressType": "IPv4", "endpoints": []},
        ]);
        let [bad, good]: [Converted<EndpointSlice>; 2] = serde_json::from_value(list).unwrap();
        assert_eq!(bad.meta.name.as_deref(), Some("bad"));
        assert_eq!(bad.meta.resource_version.as_deref(), Some("7"));
        assert!(bad.model.is_none() && bad.error.unwrap().contains("10.0.0.1"));
        assert!(good.model.is_some() && good.error.is_none());
    }

    #[test]
    fn it_is_asked_for_where_its_kind_is() {
        let path = <Converted<EndpointSlice> as Resource>::url_path(&(), None);
        assert_eq!(path, "/apis/discovery.k8s.io/v1/endpointslices");
    }
}
