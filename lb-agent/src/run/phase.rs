//! How far the start of the agent has come.

/// Two things happen at a start, in either order: every source finishes its first list and all of
/// it is written, and the programs are attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Phase {
    /// Neither has happened.
    #[default]
    Starting,
    /// Programs run on what a previous agent left in the maps.
    Attached,
    /// Everything is written; this agent's programs do not run yet.
    Synced,
    /// Both have happened.
    Running,
}

impl Phase {
    /// Every source has finished its first list, and all of it is written.
    pub(super) fn is_synced(self) -> bool {
        matches!(self, Self::Synced | Self::Running)
    }

    /// Everything is written.
    pub(super) fn synced(&mut self) {
        *self = match self {
            Self::Starting | Self::Synced => Self::Synced,
            Self::Attached | Self::Running => Self::Running,
        };
    }

    /// The programs are attached.
    pub(super) fn attached(&mut self) {
        *self = match self {
            Self::Starting | Self::Attached => Self::Attached,
            Self::Synced | Self::Running => Self::Running,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_runs_when_it_is_synced_and_attached_in_either_order() {
        let mut phase = Phase::default();
        phase.attached();
        phase.attached();
        assert!(phase == Phase::Attached && !phase.is_synced());
        phase.synced();
        assert!(phase == Phase::Running && phase.is_synced());

        let mut phase = Phase::default();
        phase.synced();
        phase.synced();
        assert!(phase == Phase::Synced && phase.is_synced());
        phase.attached();
        assert_eq!(phase, Phase::Running);
    }
}
