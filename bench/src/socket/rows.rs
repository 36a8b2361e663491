//! The rows of the report: which targets, from where, by which programs.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Result;
use testbed::{cgroup::Cgroup, netns::Netns};

use super::{Balanced, SPECIAL_AT, Special};
use crate::{
    client::{Client, Set},
    services::{backends, backends_v6, shuffled, vip},
    wire::Where,
};

/// It goes to so many addresses.
const ADDRESSES: u32 = 100;
/// Targets of a row whose way is looked at before and after the rounds.
const SAMPLE: usize = 24;

/// One line of the report.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) place: Where,
    pub(crate) set: Set,
    /// Of rules in netfilter, a connect without a packet says nothing.
    pub(super) by_rules: bool,
    /// Who may be reached by which target.
    pub(super) sample: Vec<(SocketAddr, Vec<SocketAddr>)>,
    /// `--bpf-dir`, where programs run.
    pub(super) programs: Option<PathBuf>,
}

pub(super) fn ours(scale: u32) -> String {
    format!("VIP, {scale} services")
}

pub(super) fn missed(scale: u32) -> String {
    format!("not a VIP, {scale} services")
}

/// Where a row's sockets are made.
pub(crate) fn place_of(netns: &Netns, cgroup: &Cgroup) -> Where {
    Where {
        netns: netns.path(),
        cgroup: cgroup.path().to_owned(),
    }
}

/// Rows in the making.
pub(crate) struct Rows<'a> {
    client: &'a mut Client,
    rows: Vec<Row>,
}

impl<'a> Rows<'a> {
    /// None yet.
    pub(crate) const fn of(client: &'a mut Client) -> Self {
        Self {
            client,
            rows: Vec::new(),
        }
    }

    /// The client, which knows their targets, and the rows.
    pub(crate) fn into_parts(self) -> (&'a mut Client, Vec<Row>) {
        (self.client, self.rows)
    }

    /// All rows with our programs.
    pub(super) fn ours(&mut self, plain: &Netns, balanced: &[(u32, Balanced)]) -> Result<()> {
        for (scale, one) in balanced {
            let place = place_of(plain, &one.cgroup);
            let dir = one.node.bpf_dir().to_owned();
            self.direct(&missed(*scale), &place, Some(dir.clone()))?;
            if *scale == SPECIAL_AT {
                self.direct_v6(&format!("{}, IPv6", missed(*scale)), &place, Some(dir))?;
            }
        }
        for (scale, one) in balanced {
            let place = place_of(plain, &one.cgroup);
            let add = |rows: &mut Self, name: String, numbers: Vec<u32>| {
                rows.vips(name, &place, numbers, Some(one.node.bpf_dir().to_owned()))
            };
            add(self, ours(*scale), shuffled(*scale))?;
            if Some(*scale) == balanced.last().map(|(most, _)| *most) {
                let programs = Some(one.node.bpf_dir());
                self.places(&ours(*scale), &place, *scale, programs)?;
            }
            if *scale == SPECIAL_AT {
                for special in Special::all() {
                    let (name, class) = (special.name(), special.class);
                    let pairs = special.numbers.map(|i| (class.vip(i), class.backends(i)));
                    let programs = Some(one.node.bpf_dir().to_owned());
                    self.add(name, &place, pairs.collect(), programs)?;
                }
            }
        }
        Ok(())
    }

    /// To backends, without a VIP.
    pub(crate) fn direct(
        &mut self,
        name: &str,
        place: &Where,
        programs: Option<PathBuf>,
    ) -> Result<()> {
        self.past(name, place, programs, backends)
    }

    /// [`Self::direct`] of IPv6.
    pub(super) fn direct_v6(
        &mut self,
        name: &str,
        place: &Where,
        programs: Option<PathBuf>,
    ) -> Result<()> {
        self.past(name, place, programs, backends_v6)
    }

    /// To the first one that `backends` has for each address.
    fn past(
        &mut self,
        name: &str,
        place: &Where,
        programs: Option<PathBuf>,
        backends: fn(u32) -> Vec<SocketAddr>,
    ) -> Result<()> {
        let pairs = shuffled(ADDRESSES)
            .into_iter()
            .filter_map(|i| backends(i).first().copied())
            .map(|backend| (backend, vec![backend]))
            .collect();
        self.add(name.to_owned(), place, pairs, programs)
    }

    /// To the VIP of the first service alone, of the middle one, of the last.
    pub(super) fn places(
        &mut self,
        title: &str,
        place: &Where,
        services: u32,
        programs: Option<&Path>,
    ) -> Result<()> {
        for (word, i) in [
            ("first", 0),
            ("middle", services / 2),
            ("last", services - 1),
        ] {
            self.vips(
                format!("{title}, {word}"),
                place,
                vec![i],
                programs.map(Path::to_owned),
            )?;
        }
        Ok(())
    }

    /// To the VIPs of these services.
    pub(crate) fn vips(
        &mut self,
        name: String,
        place: &Where,
        numbers: Vec<u32>,
        programs: Option<PathBuf>,
    ) -> Result<()> {
        let pairs = numbers.into_iter().map(|i| (vip(i), backends(i))).collect();
        self.add(name, place, pairs, programs)
    }

    fn add(
        &mut self,
        name: String,
        place: &Where,
        pairs: Vec<(SocketAddr, Vec<SocketAddr>)>,
        programs: Option<PathBuf>,
    ) -> Result<()> {
        let set = self
            .client
            .targets(pairs.iter().map(|(target, _)| *target).collect())?;
        let step = pairs.len().div_ceil(SAMPLE);
        self.rows.push(Row {
            by_rules: name.starts_with("kube-proxy") || name.starts_with("IPVS"),
            name,
            place: place.clone(),
            set,
            sample: pairs.into_iter().step_by(step).collect(),
            programs,
        });
        Ok(())
    }
}
