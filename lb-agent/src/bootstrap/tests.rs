use super::*;
use crate::watch::yaml;

const OBJECTS: &str = "
apiVersion: v1
kind: Service
metadata: {name: kubernetes, namespace: default}
spec: {clusterIP: 10.96.0.1, ports: [{name: https, port: 443, targetPort: 6443}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kubernetes, namespace: default, labels: {kubernetes.io/service-name: kubernetes}}
addressType: IPv4
ports: [{name: https, port: 6443}, {name: other, port: 1}]
endpoints: [{addresses: [198.18.0.5]}, {addresses: [198.18.0.6], conditions: {ready: false}}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {clusterIP: 10.96.0.2, ports: [{port: 443}]}
";

fn learnt() -> Memory {
    let mut memory = Memory::new(Known::default());
    for o in yaml::read(OBJECTS).objects {
        memory.see(&o.event());
    }
    memory
}

fn uri(text: &str) -> kube::Config {
    kube::Config::new(text.parse().unwrap())
}

#[test]
fn endpoints_are_learnt_and_never_all_forgotten() {
    let mut memory = learnt();
    assert_eq!(
        memory.known.endpoints,
        BTreeSet::from(["198.18.0.5:6443".parse().unwrap()])
    );
    assert_eq!(
        memory.known.cluster_ips,
        BTreeSet::from(["10.96.0.1".parse().unwrap()])
    );
    assert_eq!(
        memory.see(&Event::SliceGone(ObjectKey::new("default", "kubernetes"))),
        None
    );
    assert_eq!(memory.see(&Event::Slices(vec![])), None);
    assert_eq!(memory.known.endpoints.len(), 1);
}

#[test]
fn only_a_cluster_ip_is_gone_around() {
    let known = learnt().known;
    let endpoint = Some("198.18.0.5:6443".parse().unwrap());
    assert_eq!(candidates("10.96.0.1", &known), [endpoint, None]);
    assert_eq!(
        candidates("kubernetes.default.svc.cluster.local", &known),
        [endpoint, None]
    );
    assert_eq!(candidates("192.0.2.1", &known), [None]);
    assert_eq!(candidates("api.example.com", &known), [None]);
    assert_eq!(candidates("10.96.0.1", &Known::default()), [None]);
}

#[test]
fn what_is_kept_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let file = StateFile::in_dir(&dir.path().join("made"));
    assert_eq!(file.load().unwrap(), Known::default());
    let known = learnt().known;
    file.store(&known).unwrap();
    assert_eq!(file.load().unwrap(), known);
    std::fs::write(&file.0, "junk").unwrap();
    assert!(format!("{:#}", file.load().unwrap_err()).contains("remove it"));
}

#[tokio::test]
async fn the_first_address_that_answers_is_taken_and_the_name_stays() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut known = learnt().known;
    // Nothing answers at the cluster IP 127.0.0.2.
    known.cluster_ips = BTreeSet::from(["127.0.0.2".parse().unwrap()]);
    known.endpoints = BTreeSet::from([
        "127.0.0.1:1".parse().unwrap(),
        listener.local_addr().unwrap(),
    ]);
    let dialled = dial(&uri("https://127.0.0.2:1"), &known).await.unwrap();
    assert_eq!(
        dialled.config.cluster_url.to_string(),
        format!("https://{}/", listener.local_addr().unwrap())
    );
    assert_eq!(dialled.config.tls_server_name.as_deref(), Some("127.0.0.2"));
    assert!(dialled.alternatives && dialled.around_vip);
}

#[tokio::test]
async fn without_an_answer_the_remedy_is_named() {
    let text = dial(&uri("https://127.0.0.1:1"), &Known::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("KUBERNETES_SERVICE_HOST") && text.contains("k8sServiceHost"),
        "{text}"
    );
}
