//! The referee: the real kube-proxy and lb-agent on two nodes that are alike in everything, one API
//! server above both, the same clients, and their answers compared. What may differ stands in
//! [`tolerated`], and nowhere else.

pub mod apply;
pub mod generate;
pub mod judge;
pub mod objects;
pub mod plan;
pub mod question;
pub mod round;
pub mod setup;
pub mod shrink;
pub mod tolerated;
pub mod world;

pub use plan::{Endpoint, Ingress, Plan, Port, Slice, Svc, Type};
pub use question::{Client, Front, Question};
pub use round::{Asked, Difference, Score};
pub use setup::Testbed;
