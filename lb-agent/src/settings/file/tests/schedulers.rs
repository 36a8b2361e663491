//! The schedulers of IPVS.

use super::*;
use crate::model::Scheduler;

#[test]
fn schedulers_of_ipvs_are_found_or_explained() {
    for name in ["rr", "wrr", "lc", "wlc", "sh"] {
        let read = read(&format!("mode: ipvs\nipvs: {{scheduler: {name}}}"));
        assert_eq!(read.settings.scheduler, Scheduler::parse(name), "{name}");
        assert_eq!(read.warning(), None, "{name}");
    }
    for (name, nearest) in [
        ("mh", Some("maglev")),
        ("dh", Some("sh")),
        ("sed", Some("wlc")),
        ("nq", Some("wlc")),
        ("lblc", Some("wlc")),
        ("lblcr", Some("wlc")),
        ("nonsense", None),
    ] {
        let read = read(&format!("mode: ipvs\nipvs: {{scheduler: {name}}}"));
        let found = read.settings.scheduler.map(Scheduler::name);
        assert_eq!(found, nearest, "{name}");
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
