//! From Kubernetes objects (API server or files) to events of the model. Owns every Kubernetes type; none gets past here.

pub mod api;
pub mod convert_node;
pub mod convert_service;
pub mod convert_slice;
mod converted;
pub mod kind;
pub mod manifests;
pub mod metrics;
pub mod object;
mod remarks;
pub mod source;
pub mod yaml;
