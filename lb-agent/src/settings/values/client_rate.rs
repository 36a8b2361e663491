//! The rate limit of requests to the API server.

/// How fast the API server may be asked.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ClientRate {
    /// Requests a second, above 0.
    pub qps: f64,
    /// Requests at once, above 0.
    pub burst: u32,
}
