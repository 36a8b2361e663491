//! Ports whose policy is Local, with no endpoint on this node but with some elsewhere: their clients are refused here.
//! Owns the counting, a family and a policy at a time, as kube-proxy counts them.

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
    /// One more port.
    pub fn add(&mut self, v6: bool, internal: bool, external: bool) {
        let of = if v6 { &mut self.v6 } else { &mut self.v4 };
        of.internal += u32::from(internal);
        of.external += u32::from(external);
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
