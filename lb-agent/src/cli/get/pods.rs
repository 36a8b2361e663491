//! `lb-agent get pods`: on which path the sockets of each pod of this node are, and why.

use std::path::Path;

use anyhow::Result;

use super::{
    columns,
    listing::{Beside, Headers, Listing, Row, Width},
};
use crate::{
    maps::dir::BpfDir,
    observe::pod_file::{PodFile, PodPath},
};

/// As a running agent with `--socket-lb auto` wrote it last.
pub(super) fn list(state: &Path, dir: &BpfDir) -> Result<Listing<PodPath>> {
    let all = PodFile::of(state, dir.root()).load()?.pods;
    let rows = all.into_iter().map(|pod| {
        let key = format!("{}/{}", pod.namespace, pod.name);
        Row {
            id: format!("pod {key}"),
            name: format!("pod/{key}"),
            // `-n` is about the namespace of what is listed.
            services: vec![key.clone()],
            places: pod.addresses.clone(),
            pods: vec![key],
            item: pod,
        }
    });
    Ok(Listing {
        kind: "PodList",
        rows: rows.collect(),
        table,
        beside: Beside::default(),
    })
}

fn table(all: &[&PodPath], width: Width, headers: Headers) -> String {
    let head = columns::of_width(
        width,
        &["NAMESPACE", "NAME", "PATH", "REASON", "CONFLICT"],
        &["BECAUSE", "ADDRESSES", "NETNS"],
    );
    let lines = all.iter().map(|pod| {
        let conflict = if pod.conflict.is_some() { "yes" } else { "" };
        let mut line = vec![
            pod.namespace.clone(),
            pod.name.clone(),
            pod.path.clone(),
            pod.reason.clone(),
            conflict.to_owned(),
        ];
        if width == Width::Wide {
            let netns: Vec<String> = pod.netns.iter().map(u64::to_string).collect();
            let because = pod.conflict.clone().unwrap_or_else(|| pod.because.clone());
            line.extend([because, pod.addresses.join(","), netns.join(",")]);
        }
        line
    });
    columns::columns(&head, lines.collect(), headers)
}
