//! The recount of open connections.

use anyhow::{Context as _, Result};
use lb_agent::{maps::table::ArrayTable as _, sockets::recount::Recounted};

use super::active;
use crate::datapath::bare_node::BareNode;

#[test]
fn the_recount_repairs_a_drift_that_stands() -> Result<()> {
    let bed = BareNode::new()?;
    let (running, _maps) = bed.start(&[])?;
    let mut recount = running.recount()?.context("no iterator")?;
    assert_eq!(recount.run()?, Recounted::default());
    let active = active(&bed.dir()?)?;
    active.add(5, 3)?;
    active.add(6, -1)?;
    let found = recount.run()?;
    assert_eq!((found.drift, found.repaired), (4, 0), "{found:?}");
    let found = recount.run()?;
    assert_eq!((found.drift, found.repaired), (4, 4), "{found:?}");
    assert_eq!((active.load(5)?, active.load(6)?), (0, 0));
    assert_eq!(recount.run()?, Recounted::default());
    Ok(())
}
