use futures::FutureExt as _;

use super::*;

fn watched(service: &str, backend: u8, id: u32) -> Watched {
    Watched {
        service: ObjectKey::new("default", service),
        at: at(backend),
        id,
    }
}

fn at(backend: u8) -> SocketAddr {
    SocketAddr::from(([10, 1, 0, backend], 8080))
}

/// Two backends of two Services each, of which the first is in quarantine, as the event loop was
/// told.
fn bed() -> Quarantines {
    let mut bed = Quarantines::new(&BpfDir::at("/nowhere".as_ref()));
    bed.watch(all());
    let both = ["a", "b"].map(|name| ObjectKey::new("default", name));
    let news = fails(&mut bed);
    assert_eq!(
        news.quarantined,
        both.clone().map(|key| (key, vec![at(1)])).into()
    );
    let changes = both.map(|key| (key, at(1), Change::Failed));
    assert_eq!(news.changes, changes);
    bed
}

fn all() -> Vec<Watched> {
    vec![
        watched("a", 1, 1),
        watched("a", 2, 2),
        watched("b", 1, 1),
        watched("b", 2, 2),
    ]
}

/// The first backend answers nothing.
fn fails(bed: &mut Quarantines) -> News {
    let now = Instant::now();
    let failed = |failed| Handshakes {
        failed,
        answered: 0,
    };
    assert_eq!(bed.quarantine.counted(at(1), &[(1, failed(0))], now), None);
    let change = bed.quarantine.counted(at(1), &[(1, failed(3))], now);
    assert_eq!(change, Some(Change::Failed));
    bed.tell(&[(at(1), Change::Failed)])
}

fn told(bed: &mut Quarantines) -> Option<Quarantined> {
    let news = bed.news().now_or_never()?;
    assert_eq!(news.changes, [], "it neither failed nor answered");
    Some(news.quarantined)
}

#[tokio::test]
async fn one_that_leaves_is_out_of_quarantine() {
    let mut bed = bed();
    bed.watch(all().into_iter().filter(|w| w.at != at(1)).collect());
    assert_eq!(told(&mut bed), Some(Quarantined::new()));
    bed.watch(all());
    assert_eq!(told(&mut bed), None, "it is trusted");
    assert_eq!(fails(&mut bed).quarantined.len(), 2, "anew");
}

#[tokio::test]
async fn a_service_that_goes_takes_its_quarantine_along() {
    let mut bed = bed();
    let of_b = all().into_iter().filter(|w| &*w.service.name == "b");
    bed.watch(of_b.collect());
    let left = told(&mut bed).unwrap_or_default();
    assert_eq!(left, [(ObjectKey::new("default", "b"), vec![at(1)])].into());
    bed.watch(Vec::new());
    assert_eq!(told(&mut bed), Some(Quarantined::new()), "of nobody");
    assert_eq!(told(&mut bed), None, "once");
}

#[tokio::test]
async fn a_service_that_comes_meets_the_quarantine_of_its_backends() {
    let mut bed = bed();
    bed.watch([all(), vec![watched("c", 1, 1)]].concat());
    assert_eq!(told(&mut bed).map(|all| all.len()), Some(3));
    bed.watch([all(), vec![watched("c", 1, 9)]].concat());
    assert_eq!(told(&mut bed), None, "another id is no news");
}

#[tokio::test]
async fn one_that_is_gone_and_back_before_it_is_told_is_told() {
    let mut bed = bed();
    bed.watch(Vec::new());
    bed.watch(all());
    assert_eq!(told(&mut bed), Some(Quarantined::new()));
}
