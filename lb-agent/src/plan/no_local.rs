//! Ports with a local-only policy that have endpoints, but none on this node: this node refuses
//! their clients. Counted by family and policy, as kube-proxy does.

use super::desired::IpFamily;

/// Counts of one Service, or of all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NoLocal {
    /// IPv4.
    pub v4: NoLocalOf,
    /// IPv6.
    pub v6: NoLocalOf,
}

/// Counts of one family.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NoLocalOf {
    /// `internalTrafficPolicy`
    pub internal: u32,
    /// `externalTrafficPolicy`
    pub external: u32,
}

impl NoLocal {
    /// Counts one port: 1 for each policy that is local-only.
    pub fn add(&mut self, family: IpFamily, port: NoLocalOf) {
        let of = match family {
            IpFamily::V4 => &mut self.v4,
            IpFamily::V6 => &mut self.v6,
        };
        of.internal += port.internal;
        of.external += port.external;
    }

    /// The sum when a Service's counts have changed from `before` to `now`.
    #[must_use]
    pub fn replaced(self, before: Self, now: Self) -> Self {
        Self {
            v4: self.v4.replaced(before.v4, now.v4),
            v6: self.v6.replaced(before.v6, now.v6),
        }
    }
}

impl NoLocalOf {
    fn replaced(self, before: Self, now: Self) -> Self {
        Self {
            internal: self.internal + now.internal - before.internal,
            external: self.external + now.external - before.external,
        }
    }
}
