//! Other tables of `get services`, those that `ipvsadm -L -n` has.

use std::time::Duration;

use clap::Args;

use crate::settings::flags::period;

/// Which one, if any.
#[derive(Args, Debug)]
pub struct ViewArgs {
    /// Only one of them.
    #[command(flatten)]
    one: OneView,
    /// With --rate: between its two looks
    #[arg(long, value_name = "DURATION", default_value = "1s", requires = "rate", conflicts_with_all = ["stats", "thresholds", "persistent_conn"], value_parser = period)]
    pub interval: Duration,
}

#[derive(Args, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a flag each, of which clap admits one"
)]
#[group(id = "view", multiple = false)]
struct OneView {
    /// Of Services: connections, packets, bytes and refusals until now, as `ipvsadm --stats`
    #[arg(long)]
    stats: bool,
    /// Of Services: the same in a second, from two looks, as `ipvsadm --rate`
    #[arg(long)]
    rate: bool,
    /// Of Services: how many connections a backend may have, and has, as `ipvsadm --thresholds`
    #[arg(long)]
    thresholds: bool,
    /// Of Services: how many clients a backend keeps by session affinity, as
    /// `ipvsadm --persistent-conn`
    #[arg(long)]
    persistent_conn: bool,
}

/// A table of Services beside the usual one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum View {
    /// What was counted until now.
    Stats,
    /// What is counted in a second.
    Rate,
    /// Bounds of connections.
    Thresholds,
    /// Clients of session affinity.
    PersistentConn,
}

impl View {
    /// As it is asked for.
    #[must_use]
    pub fn flag(self) -> &'static str {
        match self {
            Self::Stats => "--stats",
            Self::Rate => "--rate",
            Self::Thresholds => "--thresholds",
            Self::PersistentConn => "--persistent-conn",
        }
    }
}

impl ViewArgs {
    /// The one that is asked for.
    #[must_use]
    pub fn view(&self) -> Option<View> {
        let OneView {
            stats,
            rate,
            thresholds,
            persistent_conn,
        } = self.one;
        let all = [
            (stats, View::Stats),
            (rate, View::Rate),
            (thresholds, View::Thresholds),
            (persistent_conn, View::PersistentConn),
        ];
        let asked = all.into_iter().find(|(is_asked, _)| *is_asked);
        asked.map(|(_, view)| view)
    }
}
