use serde_json::json;

use super::*;

fn made(name: &str, more: &serde_json::Value) -> clients::Pod {
    let mut object = json!({
        "metadata": {"name": name, "namespace": "shop", "uid": name},
        "spec": {"containers": []},
    });
    if let (Some(object), Some(more)) = (object.as_object_mut(), more.as_object()) {
        object.extend(more.clone());
    }
    serde_json::from_value::<core::Pod>(object)
        .unwrap()
        .convert()
        .unwrap()
}

#[tokio::test]
async fn listeners_are_woken_by_what_is_new_alone() {
    let (events, received) = mpsc::channel(16);
    let (told, mut pods) = watch::channel(None);
    let telling = tokio::spawn(async move { tell(received, &told).await });
    let pending = json!({"status": {"phase": "Pending"}});
    let running = json!({"status": {"phase": "Running", "startTime": "2026-01-01T00:00:00Z"}});
    let off = || ("shop".to_owned(), "off".to_owned());
    for (event, is_new) in [
        (core::Pod::all(vec![made("a", &pending)]), false),
        (core::Namespace::all(Vec::new()), true),
        // Nothing of this is ours to know.
        (core::Pod::one(made("a", &running)), false),
        (core::Pod::all(vec![made("a", &running)]), false),
        (core::Pod::absent().unwrap(), false),
        (core::Pod::gone(&ObjectMeta::default()), false),
        (core::Namespace::all(Vec::new()), false),
        (core::Namespace::one(off()), true),
        (core::Namespace::one(off()), false),
        (core::Pod::all(Vec::new()), true),
    ] {
        let text = format!("{event:?}");
        events.send(event).await.unwrap();
        while events.capacity() < events.max_capacity() {
            tokio::task::yield_now().await;
        }
        assert_eq!(pods.has_changed().unwrap(), is_new, "{text}");
        pods.mark_unchanged();
    }
    let last = pods.borrow().clone().unwrap();
    assert_eq!((last.pods.len(), last.namespaces.len()), (0, 1));
    drop(events);
    telling.await.unwrap();
}

#[test]
fn only_what_has_changed_is_new() {
    let mut known = None;
    for (change, is_new) in [
        (Change::Hidden, true),
        (Change::Hidden, false),
        (Change::All(vec![(1, 'a')]), true),
        (Change::All(vec![(1, 'a')]), false),
        (Change::One(1, 'a'), false),
        (Change::One(1, 'b'), true),
        (Change::Hidden, false),
        (Change::Gone(2), false),
        (Change::Gone(1), true),
        (Change::All(Vec::new()), false),
    ] {
        let text = format!("{change:?}");
        assert_eq!(apply(&mut known, change), is_new, "{text}");
    }
}
