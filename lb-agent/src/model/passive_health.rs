//! Whether a Service's backends are judged by what becomes of handshakes with them.

/// Passive health of one Service, or of all that do not say so themselves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PassiveHealth {
    /// A backend whose handshakes fail gets no new connections from this node for a while.
    On,
    /// Only the API server says which backends there are: kube-proxy's rule.
    #[default]
    Off,
}

impl PassiveHealth {
    /// From an annotation or a flag.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "on" => Some(Self::On),
            "off" => Some(Self::Off),
            _ => None,
        }
    }

    /// What [`PassiveHealth::parse`] takes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
        }
    }
}
