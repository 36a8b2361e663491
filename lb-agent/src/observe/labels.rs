//! Labels of the agent's metrics: their values are what dashboards select by.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};

/// Which map.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct MapLabels {
    pub(super) map: &'static str,
}

/// Why a port is not programmed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct SkipLabels {
    pub(super) reason: SkipReason,
}

/// Why a port is not programmed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, EncodeLabelValue)]
pub(super) enum SkipReason {
    /// Its protocol is SCTP, and there is no `lb0` for what clients of this node send.
    #[expect(
        non_camel_case_types,
        reason = "the derive writes the label as it stands here"
    )]
    sctp_without_lb0,
}

/// Which objects.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct KindLabels {
    /// The label.
    pub kind: Kind,
}

/// A kind of object.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, EncodeLabelValue)]
pub enum Kind {
    /// Services
    #[expect(
        non_camel_case_types,
        reason = "the derive writes the label as it stands here"
    )]
    service,
    /// `EndpointSlice`s
    #[expect(
        non_camel_case_types,
        reason = "the derive writes the label as it stands here"
    )]
    endpointslice,
    /// `ServiceCIDR`s
    #[expect(
        non_camel_case_types,
        reason = "the derive writes the label as it stands here"
    )]
    servicecidr,
    /// Our Node
    #[expect(
        non_camel_case_types,
        reason = "the derive writes the label as it stands here"
    )]
    node,
    /// Pods of our Node
    #[expect(
        non_camel_case_types,
        reason = "the derive writes the label as it stands here"
    )]
    pod,
    /// Namespaces
    #[expect(
        non_camel_case_types,
        reason = "the derive writes the label as it stands here"
    )]
    namespace,
}

impl Kind {
    /// Those of the model, for metrics that exist from the start.
    pub(crate) const OF_MODEL: [Self; 4] = [
        Self::service,
        Self::endpointslice,
        Self::node,
        Self::servicecidr,
    ];

    /// All of them.
    pub(crate) const ALL: [Self; 6] = [
        Self::service,
        Self::endpointslice,
        Self::node,
        Self::servicecidr,
        Self::pod,
        Self::namespace,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::service => "Service",
            Self::endpointslice => "EndpointSlice",
            Self::servicecidr => "ServiceCIDR",
            Self::node => "Node",
            Self::pod => "Pod",
            Self::namespace => "Namespace",
        })
    }
}

/// Result of a sync.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct SyncLabels {
    /// The label.
    pub result: SyncResult,
}

/// Result of a sync.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, EncodeLabelValue)]
pub enum SyncResult {
    /// Everything was written.
    #[expect(
        non_camel_case_types,
        reason = "the derive writes the label as it stands here"
    )]
    ok,
    /// Something was not, and will be retried.
    #[expect(
        non_camel_case_types,
        reason = "the derive writes the label as it stands here"
    )]
    failed,
}
