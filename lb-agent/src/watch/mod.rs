//! From Kubernetes objects, of the API server or of files, to events of the model. No Kubernetes
//! type is used beyond here.

pub mod api;
mod cluster_uid;
pub mod convert_node;
pub mod convert_service;
pub mod convert_slice;
mod converted;
mod failures;
pub mod kind;
pub mod manifests;
pub mod metrics;
pub mod object;
mod one_kind;
pub mod pods;
pub mod source;
mod unreadable;
mod warnings;
pub mod yaml;
