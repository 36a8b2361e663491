use std::num::NonZeroU16;

use prometheus_client::registry::Registry;

use super::*;
use crate::{observe::events::EventQueue, plan};

fn desired(local_endpoints: [Option<u32>; 2], listen: Listen) -> Desired {
    let facts = plan::HealthCheck {
        port: NonZeroU16::new(32000).unwrap(),
        local_endpoints,
    };
    let check = HealthCheck {
        facts,
        programmed: true,
    };
    Desired {
        checks: Arc::new([(ObjectKey::new("default", "web"), check)].into()),
        listen,
    }
}

fn listeners(desired: &Desired) -> Vec<(String, u32)> {
    let all = servers(desired).into_iter();
    all.map(|((_, at), status)| (at.to_string(), status.local_endpoints))
        .collect()
}

#[test]
fn each_family_of_the_service_listens_with_a_count_of_its_own() {
    let text = |all: &[(&str, u32)]| -> Vec<(String, u32)> {
        all.iter().map(|(at, n)| ((*at).to_owned(), *n)).collect()
    };
    let both = desired([Some(2), Some(1)], Listen::Everywhere);
    assert_eq!(
        listeners(&both),
        text(&[("0.0.0.0:32000", 2), ("[::]:32000", 1)])
    );
    let one = desired([None, Some(1)], Listen::Everywhere);
    assert_eq!(listeners(&one), text(&[("[::]:32000", 1)]));
    let ips = ["10.0.0.1", "10.9.0.1", "fd66::1"].map(|ip| ip.parse().unwrap());
    let some = desired([Some(3), None], Listen::On(ips.to_vec()));
    assert_eq!(
        listeners(&some),
        text(&[("10.0.0.1:32000", 3), ("10.9.0.1:32000", 3)])
    );
    assert_eq!(
        listeners(&desired([Some(3), None], Listen::default())),
        text(&[])
    );
}

fn no_servers() -> Servers {
    let metrics = CheckMetrics::new(&mut Registry::default());
    let health = Health::new(Duration::from_mins(1), jiff::Timestamp::now());
    Servers {
        health: Arc::new(health),
        reporter: CheckReporter::new("here".to_owned(), EventQueue::new(9).0, metrics),
        places: Shared::default(),
        running: BTreeMap::new(),
        failed: BTreeMap::new(),
    }
}

/// Two Services, the first of which asks for a port that another socket has.
#[tokio::test]
async fn a_port_that_is_taken_is_retried_alone() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = |name: &str, port| {
        (
            ObjectKey::new("default", name),
            SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
        )
    };
    let port = taken.local_addr().unwrap().port();
    let mut servers = no_servers();
    let status = Status {
        local_endpoints: 1,
        programmed: true,
    };
    servers.open(at("taken", port), status);
    servers.open(at("free", 0), status);
    assert_eq!((servers.failed.len(), servers.running.len()), (1, 1));
    servers.retry();
    assert_eq!((servers.failed.len(), servers.running.len()), (1, 1));
    drop(taken);
    servers.retry();
    assert_eq!((servers.failed.len(), servers.running.len()), (0, 2));
}
