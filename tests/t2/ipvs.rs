//! Tier 2: our schedulers beside what IPVS of real kernels chose.

use lb_tests::ipvs::Record;
use libtest_mimic::Trial;

/// A test for each kernel.
pub(crate) fn trials() -> impl Iterator<Item = Trial> {
    Record::LINES.iter().map(|(line, text)| {
        crate::trial(format!("ipvs::schedulers_choose_as_on_{line}"), || {
            Record::read(text)?.check()
        })
    })
}
