//! What a file that says nothing asks for.

use super::*;
use crate::settings::values::{NodePortAddress, Source};

#[test]
fn a_silent_file_asks_for_nothing() {
    let silent = read("");
    assert_eq!(silent.warning(), None);
    assert_eq!(
        silent,
        ConfigFile {
            settings: Partial {
                health_address: Some("0.0.0.0:10256".parse().unwrap()),
                metrics_address: Some("127.0.0.1:10249".parse().unwrap()),
                node_port_addresses: Some(vec![NodePortAddress::All]),
                ..Partial::default()
            },
            warnings: Vec::new(),
            strangers: Vec::new(),
            raw: silent.raw.clone(),
        }
    );
    // As kubeadm writes it into its ConfigMap: every field, each of them empty.
    let kubeadm = read(
        include_str!("../kubeadm.yaml")
            .split_once("# ---\n")
            .unwrap()
            .1,
    );
    assert_eq!(
        ConfigFile {
            raw: silent.raw.clone(),
            ..kubeadm
        },
        ConfigFile {
            settings: Partial {
                source: Some(Source::Kubeconfig(
                    "/var/lib/kube-proxy/kubeconfig.conf".into()
                )),
                bind_hard_fail: Some(false),
                cluster_cidrs: Some(vec!["10.244.0.0/16".parse().unwrap()]),
                ..silent.settings
            },
            ..silent
        }
    );
}
