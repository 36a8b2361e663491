//! How old the connections of a Service may become, and where that would change nothing.

use lb_common::{Proto, scheduler::Scheduler};

use super::PlanConfig;
use crate::model::Service;

/// In seconds, for a port of this protocol; 0: any age.
pub(super) fn seconds(service: &Service, config: &PlanConfig, proto: Proto) -> u32 {
    match service.max_age {
        Some(age) if proto == Proto::Tcp && stays(service, config).is_none() => age.seconds(),
        _ => 0,
    }
}

/// What to say where a client that connects again comes back to the same backend.
pub(super) fn problem(service: &Service, config: &PlanConfig) -> Option<String> {
    let why = service.max_age.and_then(|_| stays(service, config))?;
    Some(format!(
        "max-connection-age: {why}, so a client that connects again has the same backend: no connection is ended for its age"
    ))
}

fn stays(service: &Service, config: &PlanConfig) -> Option<&'static str> {
    if service.affinity_secs.is_some() {
        return Some("the Service has session affinity");
    }
    let scheduler = service.scheduler.unwrap_or(config.scheduler);
    (scheduler == Scheduler::SourceHash).then_some("scheduler sh goes by the client's address")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MaxAge, ObjectKey};

    #[test]
    fn it_is_tcps_and_only_where_it_changes_something() {
        let config = PlanConfig::default();
        let mut service = Service::named(ObjectKey::new("shop", "web"));
        assert_eq!(seconds(&service, &config, Proto::Tcp), 0);
        service.max_age = MaxAge::parse("30m");
        assert_eq!(seconds(&service, &config, Proto::Tcp), 1800);
        assert_eq!(seconds(&service, &config, Proto::Udp), 0);
        assert_eq!(problem(&service, &config), None);
        for (affinity, scheduler, word) in [
            (Some(10), None, "affinity"),
            (None, Some(Scheduler::SourceHash), "sh"),
        ] {
            let mut service = service.clone();
            (service.affinity_secs, service.scheduler) = (affinity, scheduler);
            assert_eq!(seconds(&service, &config, Proto::Tcp), 0);
            assert!(problem(&service, &config).unwrap().contains(word));
        }
    }
}
