//! The referee: the real kube-proxy and lb-agent in two worlds that are alike in everything, one API
//! server above both, the same clients, and their answers compared. What may differ stands in
//! [`tolerated`], and nowhere else.

pub mod apply;
pub mod classes;
pub mod company;
pub mod generate;
pub mod judge;
pub mod numbers;
pub mod objects;
pub mod plan;
pub mod question;
pub mod report;
mod reused;
pub mod round;
pub mod score;
pub mod setup;
pub mod shrink;
pub mod side;
mod stage;
pub mod tolerated;
pub mod world;

pub use plan::{Endpoint, Ingress, Plan, Port, Slice, Svc, Type};
pub use question::{Client, Front, Question};
pub use round::Asked;
pub use score::{Answered, Difference, Score};
pub use setup::Testbed;
pub use side::Side;
