use std::{fs, os::unix::fs::symlink};

use prometheus_client::registry::Registry;
use tokio::time::timeout;

use super::*;

fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{clusterIP: 10.96.0.1, ports: [{{port: 80}}]}}\n"
    )
}

fn names(lists: &[Event; 4]) -> Vec<String> {
    let Event::Services(services) = &lists[3] else {
        unreachable!("the third is the Services")
    };
    services.iter().map(|s| s.key.name.to_string()).collect()
}

fn folder() -> (tempfile::TempDir, Folder) {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::new(dir.path().to_owned());
    (dir, folder)
}

#[test]
fn a_bad_file_leaves_what_it_held() {
    let (dir, mut folder) = folder();
    fs::write(
        dir.path().join("a.yaml"),
        format!("{}---\n{}", service("a"), service("b")),
    )
    .unwrap();
    fs::write(dir.path().join("b.yml"), service("c")).unwrap();
    fs::write(dir.path().join("readme.txt"), "not: [yaml").unwrap();
    fs::write(dir.path().join(".hidden.yaml"), service("h")).unwrap();
    folder.read().unwrap();
    assert_eq!(names(&folder.lists("n1")), ["a", "b", "c"]);
    assert!(folder.bad.is_empty());

    fs::write(
        dir.path().join("a.yaml"),
        format!("{}---\nkind: [\n", service("a")),
    )
    .unwrap();
    folder.read().unwrap();
    assert_eq!(
        names(&folder.lists("n1")),
        ["a", "b", "c"],
        "b stands, though its document is gone"
    );
    assert_eq!(folder.bad.len(), 1);

    fs::write(dir.path().join("a.yaml"), service("a")).unwrap();
    folder.read().unwrap();
    assert_eq!(names(&folder.lists("n1")), ["a", "c"]);
    assert!(folder.bad.is_empty());

    fs::remove_file(dir.path().join("b.yml")).unwrap();
    folder.read().unwrap();
    assert_eq!(names(&folder.lists("n1")), ["a"]);
}

#[test]
fn of_a_file_that_was_never_good_the_good_documents_stand() {
    let (dir, mut folder) = folder();
    fs::write(
        dir.path().join("a.yaml"),
        format!("kind: [\n---\n{}", service("a")),
    )
    .unwrap();
    folder.read().unwrap();
    assert_eq!(names(&folder.lists("n1")), ["a"]);
    assert_eq!(folder.bad.len(), 1);
}

#[test]
fn after_a_previous_agent_nothing_is_a_whole_list_until_every_file_was_read_once() {
    let (dir, mut folder) = folder();
    let mut outbox = Outbox::new(true);
    fs::write(dir.path().join("a.yaml"), service("a")).unwrap();
    fs::write(dir.path().join("b.yaml"), "kind: [").unwrap();
    folder.read().unwrap();
    let events = outbox.next(folder.lists("n1"), folder.bad.is_empty());
    assert!(
        matches!(&events[..], [Event::Service(s)] if &*s.key.name == "a"),
        "{events:?}"
    );
    fs::write(dir.path().join("a.yaml"), service("c")).unwrap();
    folder.read().unwrap();
    let events = outbox.next(folder.lists("n1"), folder.bad.is_empty());
    assert!(
        matches!(&events[..], [Event::Service(c), Event::ServiceGone(a)] if &*c.key.name == "c" && &*a.name == "a"),
        "{events:?}"
    );
    fs::write(dir.path().join("b.yaml"), service("b")).unwrap();
    folder.read().unwrap();
    let lists = folder.lists("n1");
    assert_eq!(outbox.next(lists.clone(), folder.bad.is_empty()), lists);
    // From now on a bad file is one of the ordinary kind.
    fs::write(dir.path().join("b.yaml"), "kind: [").unwrap();
    folder.read().unwrap();
    assert!(!folder.bad.is_empty());
    assert!(outbox.next(folder.lists("n1"), false).is_empty());
}

#[test]
fn a_file_that_becomes_empty_is_believed_the_second_time() {
    let (dir, mut folder) = folder();
    let file = dir.path().join("a.yaml");
    fs::write(&file, service("a")).unwrap();
    assert!(!folder.read().unwrap());
    fs::write(&file, "").unwrap();
    assert!(folder.read().unwrap());
    assert_eq!(names(&folder.lists("n1")), ["a"]);
    assert!(!folder.read().unwrap());
    assert_eq!(names(&folder.lists("n1")), [""; 0]);
}

#[test]
fn only_our_node_counts() {
    let (dir, mut folder) = folder();
    let node = |n: &str| format!("apiVersion: v1\nkind: Node\nmetadata: {{name: {n}}}\n---\n");
    fs::write(dir.path().join("n.yaml"), node("n1") + &node("n2")).unwrap();
    folder.read().unwrap();
    assert!(matches!(&folder.lists("n2")[0], Event::Node(n) if &*n.name == "n2"));
    assert_eq!(folder.lists("n3")[0], Event::NodeGone);
}

#[test]
fn a_folder_that_cannot_be_listed_is_an_error_and_keeps_everything() {
    let (dir, mut folder) = folder();
    fs::write(dir.path().join("a.yaml"), service("a")).unwrap();
    folder.read().unwrap();
    let path = dir.path().to_owned();
    dir.close().unwrap();
    let error = format!("{:#}", folder.read().unwrap_err());
    assert!(error.contains(path.to_str().unwrap()), "{error}");
    assert_eq!(names(&folder.lists("n1")), ["a"]);
}

/// The next event of `follow` about Services.
async fn next(events: &mut mpsc::Receiver<Event>) -> Vec<String> {
    loop {
        let event = timeout(Duration::from_secs(5), events.recv())
            .await
            .expect("an event in time")
            .unwrap();
        if let Event::Services(all) = event {
            return all.iter().map(|s| s.key.name.to_string()).collect();
        }
    }
}

#[tokio::test]
async fn edits_renames_and_swapped_links_are_followed() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    // A mounted ConfigMap: file → ..data/file, ..data → a directory that is swapped by rename.
    fs::create_dir(path("..1")).unwrap();
    fs::create_dir(path("..2")).unwrap();
    fs::write(path("..1/map.yaml"), service("one")).unwrap();
    fs::write(path("..2/map.yaml"), service("two")).unwrap();
    symlink("..1", path("..data")).unwrap();
    symlink("..data/map.yaml", path("map.yaml")).unwrap();

    let (tx, mut rx) = mpsc::channel(64);
    let metrics = WatchMetrics::new(&mut Registry::default());
    let task = tokio::spawn(follow(
        dir.path().to_owned(),
        "n1".into(),
        false,
        tx,
        metrics,
    ));
    assert_eq!(next(&mut rx).await, ["one"]);

    fs::write(path("new.yaml"), service("a")).unwrap();
    assert_eq!(next(&mut rx).await, ["a", "one"]);

    // An editor's atomic save.
    fs::write(path(".new.yaml.swp"), service("b")).unwrap();
    fs::rename(path(".new.yaml.swp"), path("new.yaml")).unwrap();
    assert_eq!(next(&mut rx).await, ["b", "one"]);

    symlink("..2", path("..data_tmp")).unwrap();
    fs::rename(path("..data_tmp"), path("..data")).unwrap();
    assert_eq!(next(&mut rx).await, ["b", "two"]);

    fs::remove_file(path("new.yaml")).unwrap();
    assert_eq!(next(&mut rx).await, ["two"]);
    drop(rx);
    timeout(Duration::from_secs(15), task)
        .await
        .unwrap()
        .unwrap();
}
