//! The list of Service ports: which of them are asked for, in which order, and how much of it one
//! page has.

use super::{
    asked::{Asked, Order},
    port::Port,
};

/// Rows of the list on one page.
const ROWS: usize = 200;

/// Which part of the list is shown.
pub(super) struct List {
    pub(super) search: String,
    /// One row is asked for, by its id.
    pub(super) only: bool,
    pub(super) order: Order,
    pub(super) found: usize,
    pub(super) page: usize,
    pub(super) pages: usize,
}

impl List {
    pub(super) fn first(&self) -> usize {
        (self.page - 1) * ROWS
    }

    pub(super) fn last(&self) -> usize {
        (self.first() + ROWS).min(self.found)
    }

    /// Are there others that are not asked for?
    pub(super) fn is_part(&self) -> bool {
        self.only || !self.search.is_empty()
    }
}

/// The part of the list that is asked for, with its ports.
pub(super) fn listed<'a>(all: &'a [Port], asked: &Asked) -> (List, Vec<&'a Port>) {
    let words = asked.words();
    let is_asked = |port: &&Port| asked.only().is_none_or(|id| port.id() == id);
    let found = all.iter().filter(|port| port.holds(&words));
    let mut found: Vec<&Port> = found.filter(is_asked).collect();
    let order = asked.order();
    if order != Order::Name {
        found.sort_by(|a, b| value(b, order).total_cmp(&value(a, order)));
    }
    let pages = found.len().div_ceil(ROWS).max(1);
    let list = List {
        search: asked.search(),
        only: asked.only().is_some(),
        order,
        found: found.len(),
        page: asked.page().min(pages),
        pages,
    };
    let ports = found[list.first()..list.last()].to_vec();
    (list, ports)
}

#[expect(clippy::cast_precision_loss, reason = "only compared")]
fn value(port: &Port, order: Order) -> f64 {
    let rates = port.rates.as_ref();
    match order {
        Order::Name => 0.0,
        Order::Active => port.active as f64,
        Order::Connections => rates.map_or(0.0, |r| r.connections_per_second),
        Order::Bytes => rates.map_or(0.0, |r| r.bytes_per_second),
        // Any rate is more than what is past.
        Order::Refused => rates.map_or(0.0, |r| r.rejects_per_second) * 1e15 + port.rejects as f64,
    }
}
