//! `lb-agent get pods`: on which path the sockets of each pod of this node are, and why.

use std::path::Path;

use anyhow::Result;

use super::{
    columns::{self, Column, column, field, joined, wide},
    listing::{Listing, Row},
};
use crate::{
    maps::dir::BpfDir,
    observe::pod_file::{PodFile, PodPath},
};

/// Of its table.
pub(super) const COLUMNS: &[Column] = &[
    column("NAMESPACE", |i| field(&i["namespace"])),
    column("NAME", |i| field(&i["name"])),
    column("PATH", |i| field(&i["path"])),
    column("REASON", |i| field(&i["reason"])),
    column("CONFLICT", |i| {
        i["conflict"].as_str().map_or("", |_| "yes").to_owned()
    }),
    wide("BECAUSE", |i| {
        i["conflict"]
            .as_str()
            .map_or_else(|| field(&i["because"]), str::to_owned)
    }),
    wide("ADDRESSES", |i| joined(&i["addresses"], field)),
    wide("NETNS", |i| joined(&i["netns"], field)),
];

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
        table: columns::table(COLUMNS),
        partial: None,
    })
}
