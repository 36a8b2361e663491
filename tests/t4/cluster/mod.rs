//! The agent on a real control plane: objects made through the API, slices made by the real
//! controllers.

mod api_loss;
mod bad_objects;
mod bootstrap;
pub(crate) mod common;
mod dns;
mod events;
mod health;
mod key;
mod kubectl;
mod load_balancer;
mod metrics;
mod objects;
mod pods;
mod restart;
mod scale;
mod takeover;
