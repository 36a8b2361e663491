//! The real kube-proxy and the agent before the same objects and the same questions: rule by rule,
//! and at random.

mod alone;
mod choice;
mod company;
mod frontends;
mod inputs;
mod locality;
mod played;
mod random;
mod scenario;
mod zone;
