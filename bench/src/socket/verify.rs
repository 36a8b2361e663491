//! Whether each row leads where it should.

use anyhow::{Context as _, Result, ensure};

use super::rows::Row;
use crate::{client::Client, ground::Ground, wire::Work};

/// A fast wrong way must fail: TCP, connected UDP and unconnected UDP of every row reach whom they
/// should.
pub(crate) fn verify(ground: &Ground, client: &mut Client, rows: &[Row]) -> Result<()> {
    for row in rows {
        let targets = row.sample.iter().map(|(target, _)| *target).collect();
        let reached = client
            .reach(&row.place, targets)
            .with_context(|| format!("look where {} leads", row.name))?;
        for ((target, allowed), reached) in row.sample.iter().zip(reached) {
            let udp = row.by_rules || allowed.contains(&reached.udp);
            ensure!(
                udp && allowed.contains(&reached.tcp),
                "{}: {target} leads to {reached:?}, not to {allowed:?}",
                row.name
            );
        }
        let before = ground.datagrams()?;
        client.measure(&row.place, row.set, Work::SendTo, 1000)?;
        let arrived = ground.datagrams()? - before;
        ensure!(
            arrived >= 990,
            "{}: of 1000 datagrams {arrived} have arrived",
            row.name
        );
    }
    Ok(())
}
