//! The schedulers of IPVS.

use super::*;
use crate::model::Scheduler;

#[test]
fn schedulers_of_ipvs_are_found_or_explained() {
    for (name, found) in [
        ("rr", Scheduler::RoundRobin),
        ("wrr", Scheduler::RoundRobin),
        ("sh", Scheduler::SourceHash),
    ] {
        // A scheduler of its own for wrr would do as well: all weights are the same.
        let read = read(&format!("mode: ipvs\nipvs: {{scheduler: {name}}}"));
        assert!(
            read.settings.scheduler == Some(found)
                || read.settings.scheduler == Scheduler::parse(name),
            "{name}"
        );
        assert_eq!(read.warning(), None, "{name}");
    }
    for name in ["dh", "sed", "nq", "lblc", "lblcr", "nonsense"] {
        let read = read(&format!("mode: ipvs\nipvs: {{scheduler: {name}}}"));
        assert_eq!(read.settings.scheduler, None, "{name}");
        let warning = read.warning().unwrap();
        assert!(
            warning.contains(&format!("ipvs.scheduler: {name}: ")),
            "{warning}"
        );
    }
    let elsewhere = read("ipvs: {scheduler: rr}");
    assert_eq!(elsewhere.settings.scheduler, None);
    assert!(elsewhere.warning().unwrap().contains("mode ipvs only"));
}
