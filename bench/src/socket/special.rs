//! Services other than plain ones, which are among the thousand: of which classes, how many, and
//! their numbers.

use std::ops::Range;

use lb_common::scheduler::Scheduler;

use super::{V6, rows::ours};
use crate::services::{Class, MANY};

/// The scale at which they are.
pub(super) const SPECIAL_AT: u32 = 1000;
/// Services of a class, and of one whose services are large.
const COUNT: u32 = 64;
const LARGE: u32 = 16;

/// All services of a class.
pub(super) struct Special {
    pub(super) class: Class,
    pub(super) numbers: Range<u32>,
}

impl Special {
    /// Of every class, behind the plain services.
    pub(super) fn all() -> Vec<Self> {
        let names = || Scheduler::ALL.iter().map(|scheduler| scheduler.name());
        let classes = [Class::Affinity, Class::V6]
            .into_iter()
            .chain(names().map(Class::Scheduler))
            .chain([Class::Limited])
            .chain(names().map(Class::Many));
        let mut next = SPECIAL_AT;
        classes
            .map(|class| {
                let count = match class {
                    Class::Many(_) => LARGE,
                    _ => COUNT,
                };
                let numbers = next..next + count;
                next = numbers.end;
                Self { class, numbers }
            })
            .collect()
    }

    /// Of its row.
    pub(super) fn name(&self) -> String {
        name(self.class)
    }
}

/// The name of the row of a class.
pub(super) fn name(class: Class) -> String {
    let title = ours(SPECIAL_AT);
    match class {
        Class::Plain => title,
        Class::Affinity => format!("{title}, affinity"),
        Class::V6 => format!("{title}, {V6}"),
        Class::Scheduler(name) => format!("{title}, {name}"),
        Class::Limited => format!("{title}, max-connections"),
        Class::Many(name) => format!("{title}, {MANY} endpoints, {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_classes_follow_each_other() {
        let all = Special::all();
        assert!(all.is_sorted_by(|a, b| a.numbers.end == b.numbers.start));
        assert_eq!(all.len(), 3 + 2 * Scheduler::ALL.len());
    }
}
