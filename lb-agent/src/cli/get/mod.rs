//! `lb-agent get`: what the kernel holds, from the pins alone, with the names that the agent kept.

mod affinity;
mod backends;
pub(super) mod columns;
mod events;
pub(super) mod filter;
pub(super) mod flows;
mod levels;
pub(super) mod listing;
mod pods;
mod selector;
mod services;
mod sockets;
pub(super) mod views;

use std::{collections::BTreeMap, thread, time::Duration};

use anyhow::Result;
pub use selector::Labels;

pub(super) use self::listing::Row;
use self::listing::Show;
use super::{
    args::{Get, What},
    output::{Reader, write},
    state::state_dir,
};
use crate::{
    inventory::{self, named},
    maps::dir::BpfDir,
    names::{Book, NameFiles},
};

/// What every JSON output of this agent carries.
pub(super) const API_VERSION: &str = "lb-agent.io/v1";

/// Between two looks of `--watch`.
const AGAIN: Duration = Duration::from_secs(1);

/// Carries the verb out.
pub fn run(get: &Get) -> Result<()> {
    views::asked(&get.list)?;
    let dir = BpfDir::at(get.pins.dir());
    let mut list = look(get, &dir)?;
    list.0.prepare(&get.list, &list.1)?;
    let lacking = list.0.require(&get.list);
    // What is there is shown; where nothing is, the error says enough.
    if lacking.is_err() && list.0.is_empty() {
        return lacking;
    }
    let mut reader = write(&list.0.text(&get.list)?)?;
    lacking?;
    if !get.watch {
        return Ok(());
    }
    let mut seen = BTreeMap::new();
    list.0.changes(&get.list, &mut seen)?;
    while reader == Reader::Listens {
        thread::sleep(AGAIN);
        let (mut list, book) = look(get, &dir)?;
        // What is named may go, and come again.
        list.prepare(&get.list, &book)?;
        reader = write(&list.changes(&get.list, &mut seen)?)?;
    }
    Ok(())
}

/// Reads what is asked for, and the names that there are.
fn look(get: &Get, dir: &BpfDir) -> Result<(Box<dyn Show>, Book)> {
    let state = state_dir(&get.state, dir);
    let book = book(&NameFiles::of(&state, dir.root()));
    let list: Box<dyn Show> = match get.list.what {
        What::Services => {
            let (all, table) = services::open(&get.list, dir, &book)?;
            Box::new(services::list(all, table, &state, dir))
        }
        What::Backends => Box::new(backends::list(&named(dir, &book)?)),
        What::Flows => Box::new(flows::list(dir, &book)?),
        What::Sockets => Box::new(sockets::list(dir, &book)?),
        What::Affinity => Box::new(affinity::list(dir, &named(dir, &book)?)?),
        What::Events => Box::new(events::list(&state, dir)?),
        What::Pods => Box::new(pods::list(&state, dir)?),
    };
    Ok((list, book))
}

/// The names that the agent kept, as far as they can be read.
pub(super) fn book(files: &NameFiles) -> Book {
    inventory::book(files, |words| eprintln!("lb-agent: {words}"))
}

/// The columns of a kind's table; that of Services has them where it is one of several nodes.
pub(super) fn columns_of(what: What) -> &'static [columns::Column] {
    match what {
        What::Services => services::COLUMNS,
        What::Backends => backends::COLUMNS,
        What::Flows => flows::COLUMNS,
        What::Sockets => sockets::COLUMNS,
        What::Affinity => affinity::COLUMNS,
        What::Events => events::COLUMNS,
        What::Pods => pods::COLUMNS,
    }
}
