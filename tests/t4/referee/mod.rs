//! The real kube-proxy and the agent before the same objects and the same questions: rule by rule, and by chance.
//! Knows nothing of the agent's inside.

mod alone;
mod chance;
mod choice;
mod frontends;
mod inputs;
mod locality;
mod played;
mod report;
mod scenario;
mod zone;
