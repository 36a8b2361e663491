//! Programs and links: attached, swapped in place, following the devices, and gone after a cleanup.

use std::{collections::BTreeMap, process::Command};

use anyhow::{Result, ensure};
use lb_agent::{
    hooks::{
        attach::{Attachments, TcMode},
        cleanup,
    },
    load::{self, Options, programs},
    maps::{
        dir::BpfDir,
        lock::DirLock,
        pinned::{Access, ArrayPin, HashPin},
        table::{ArrayTable as _, HashTable as _},
    },
    model::Device,
};
use lb_common::{
    dev::Dev,
    frontend::FrontendValue,
    maps::{DEVS, XDP_DEVS},
    xdp_dev::{self, XdpDev},
};
use lb_sys::{LinkInfo, LinkTarget};
use testbed::{agent::CHANGE, poll};

use crate::datapath::bare_node::{BareNode, MAC, key, start, tc_mode};

#[test]
fn every_program_is_in_the_object_and_is_attached() -> Result<()> {
    let bed = BareNode::new()?;
    let eth0 = bed.device("eth0", true)?;
    let _running = bed.start(std::slice::from_ref(&eth0))?;
    let links = bed.links()?;
    for spec in programs::ALL {
        let expected = match spec.hook {
            programs::Hook::Cgroup(_) => spec.name.to_owned(),
            // The programs of lb0 stand where there is one: see t3::lb0.
            programs::Hook::IterSockets | programs::Hook::Lb0Out | programs::Hook::Lb0Back => {
                continue;
            }
            // Filters have no pins: see clsact_does_where_tcx_is_missing.
            programs::Hook::TcIngress | programs::Hook::TcEgress
                if tc_mode()? == TcMode::Clsact =>
            {
                continue;
            }
            _ => format!("{}-{}-eth0", spec.name, eth0.ifindex),
        };
        assert!(links.contains_key(&expected), "{expected}: {links:?}");
    }
    Ok(())
}

#[test]
fn a_program_that_is_attached_nowhere_is_not_loaded() -> Result<()> {
    let bed = BareNode::new()?;
    for (xdp, lb0) in [(false, true), (true, false)] {
        let options = Options {
            xdp,
            lb0,
            ..Options::default()
        };
        let dir = bed.dir()?;
        let loaded = bed
            .netns
            .block(|| load::load(load::OBJECT, &dir, &options))?;
        for (name, program) in loaded.ebpf.programs() {
            let expected = match name {
                "lb_xdp" => xdp,
                "lb_vip_out" | "lb_vip_back" => lb0,
                _ => true,
            };
            assert_eq!(program.info().is_ok(), expected, "{name}");
        }
    }
    Ok(())
}

#[test]
fn a_restart_swaps_programs_in_place_and_keeps_maps() -> Result<()> {
    let bed = BareNode::new()?;
    let devices = [bed.device("eth0", false)?, bed.device("eth0.100", false)?];
    let (running, mut maps) = bed.start(&devices)?;
    let before = bed.links()?;
    assert!(before.len() > 4, "{before:?}");
    let done = maps
        .frontends
        .insert(&[(key(1), FrontendValue { pool: 7, flags: 1 })]);
    assert_eq!((done.done, done.error), (1, None));
    drop((running, maps));
    assert_eq!(bed.links()?, before, "links outlive the agent");

    let (_running, maps) = bed.start(&devices)?;
    let after = bed.links()?;
    assert_eq!(
        before.keys().collect::<Vec<_>>(),
        after.keys().collect::<Vec<_>>()
    );
    for (name, info) in &after {
        assert_eq!(info.id, before[name].id, "{name} is another link");
        assert_ne!(
            info.program, before[name].program,
            "{name} runs the old program"
        );
    }
    assert_eq!(
        maps.frontends.entries()?,
        [(key(1), FrontendValue { pool: 7, flags: 1 })]
    );
    Ok(())
}

#[test]
fn devices_are_followed_as_they_come_change_and_go() -> Result<()> {
    let bed = BareNode::new()?;
    let (mut running, _maps) = bed.start(&[])?;
    let tc = |links: &BTreeMap<String, LinkInfo>| -> Vec<String> {
        links
            .iter()
            .filter(|(_, info)| matches!(info.target, LinkTarget::Tcx(_) | LinkTarget::Xdp(_)))
            .map(|(name, _)| name.clone())
            .collect()
    };
    assert_eq!(tc(&bed.links()?), [""; 0]);
    let follow = |running: &mut Attachments, devices: &[Device]| -> Result<()> {
        bed.netns.block(|| {
            let problems = running.follow(devices)?;
            ensure!(problems.is_empty(), "{problems:?}");
            Ok(())
        })
    };

    let devs: HashPin<u32, Dev> = HashPin::open(&bed.dir()?, DEVS, Access::Read)?;
    let eth0 = bed.device("eth0", true)?;
    follow(&mut running, std::slice::from_ref(&eth0))?;
    let names = tc(&bed.links()?);
    assert!(
        tc_mode()? == TcMode::Clsact
            || names.contains(&format!("lb_tc_ingress-{}-eth0", eth0.ifindex)),
        "{names:?}"
    );
    assert!(
        names.contains(&format!("lb_xdp-{}-eth0", eth0.ifindex)),
        "{names:?}"
    );
    let entries = devs.entries()?;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].0, eth0.ifindex);
    let xdp_devs: ArrayPin<XdpDev> = ArrayPin::open(&bed.dir()?, XDP_DEVS, Access::Read)?;
    let place = xdp_dev::index(eth0.ifindex);
    let entry = xdp_devs.load(place)?;
    assert_eq!((entry.ifindex, entry.mac), (eth0.ifindex, MAC));
    assert_eq!(entry.flags, xdp_dev::flags::SEND);

    // Another hardware address.
    let mut moved = eth0.clone();
    moved.mac[5] += 1;
    follow(&mut running, std::slice::from_ref(&moved))?;
    assert_eq!(xdp_devs.load(place)?.mac, moved.mac);

    // Renamed: the same links under the new name.
    let ids = |links: &BTreeMap<String, LinkInfo>| -> Vec<u32> {
        let mut ids: Vec<u32> = links.values().map(|i| i.id).collect();
        ids.sort_unstable();
        ids
    };
    let before = ids(&bed.links()?);
    bed.netns
        .ip("link set eth0 down\nlink set eth0 name wan.0\nlink set wan.0 up\n")?;
    let wan = bed.device("wan.0", true)?;
    assert_eq!(wan.ifindex, eth0.ifindex);
    follow(&mut running, std::slice::from_ref(&wan))?;
    let links = bed.links()?;
    assert_eq!(ids(&links), before);
    assert!(
        links.contains_key(&format!("lb_xdp-{}-wan_0", wan.ifindex)),
        "{links:?}"
    );

    // No longer wanted for XDP, then gone.
    let mut plain = wan.clone();
    plain.xdp = false;
    follow(&mut running, std::slice::from_ref(&plain))?;
    assert!(tc(&bed.links()?).iter().all(|n| !n.starts_with("lb_xdp")));
    assert_eq!(devs.entries()?.len(), 1);
    assert_eq!(xdp_devs.load(place)?, XdpDev::FREE);
    // The kernel takes a program off a while after the last reference to its link is gone.
    poll::until_true(CHANGE, "the device takes a program again", || {
        let problems = bed
            .netns
            .block(|| running.follow(std::slice::from_ref(&wan)))?;
        let is_busy = |error: &anyhow::Error| format!("{error:#}").contains("os error 16");
        ensure!(
            problems.iter().all(|(_, error)| is_busy(error)),
            "{problems:?}"
        );
        Ok(problems.is_empty())
    })?;
    assert_ne!(xdp_devs.load(place)?, XdpDev::FREE);
    bed.netns.ip("link del wan.0\n")?;
    follow(&mut running, &[])?;
    assert_eq!(tc(&bed.links()?), [""; 0]);
    assert_eq!(devs.entries()?.len(), 0);
    assert_eq!(xdp_devs.load(place)?, XdpDev::FREE);
    Ok(())
}

#[test]
fn clsact_does_where_tcx_is_missing() -> Result<()> {
    let bed = BareNode::new()?;
    let eth0 = bed.device("eth0", false)?;
    let filters = |hook: &str| -> Result<String> {
        bed.netns.block(|| {
            let out = Command::new("tc")
                .args(["filter", "show", "dev", "eth0", hook])
                .output()?;
            Ok(String::from_utf8_lossy(&out.stdout).into_owned())
        })
    };
    let start = || {
        bed.netns.block(|| {
            start(
                bed.pins.path(),
                bed.cgroup.path(),
                &Options::default(),
                TcMode::Clsact,
                std::slice::from_ref(&eth0),
            )
        })
    };
    let program = |shown: &str| -> Option<String> {
        let id = shown.split_whitespace().skip_while(|w| *w != "id").nth(1)?;
        Some(id.to_owned())
    };
    let (running, _maps) = start()?;
    let first = (filters("ingress")?, filters("egress")?);
    assert!(
        first.0.contains("lb_tc_ingress") && first.1.contains("lb_tc_egress"),
        "{first:?}"
    );
    drop(running);
    assert_eq!(
        filters("ingress")?,
        first.0,
        "the filter outlives the agent"
    );

    // A second start swaps: still one filter, another program.
    let (running, _maps) = start()?;
    let second = filters("ingress")?;
    assert_eq!(second.matches("handle").count(), 1, "{second}");
    assert_ne!(program(&second), program(&first.0));
    drop(running);
    bed.netns
        .block(|| cleanup::run(&BpfDir::at(bed.pins.path())))?;
    assert!(!filters("ingress")?.contains("lb_tc"));
    assert!(!filters("egress")?.contains("lb_tc"));
    Ok(())
}

#[test]
fn a_device_that_goes_takes_its_filters_along() -> Result<()> {
    let bed = BareNode::new()?;
    let eth0 = bed.device("eth0", false)?;
    let filters =
        || -> Result<usize> { Ok(std::fs::read_dir(bed.pins.path().join("clsact"))?.count()) };
    bed.netns.block(|| {
        let (mut running, _maps) = start(
            bed.pins.path(),
            bed.cgroup.path(),
            &Options::default(),
            TcMode::Clsact,
            std::slice::from_ref(&eth0),
        )?;
        ensure!(filters()? > 0, "no filter was made");
        bed.netns.ip("link del eth0\n")?;
        let problems = running.follow(&[])?;
        ensure!(problems.is_empty(), "{problems:?}");
        ensure!(filters()? == 0, "pins of filters that are gone");
        Ok(())
    })
}

#[test]
fn cleanup_leaves_nothing_and_refuses_while_an_agent_runs() -> Result<()> {
    let bed = BareNode::new()?;
    let eth0 = bed.device("eth0", true)?;
    let dir = bed.dir()?;
    let lock = DirLock::take(&dir)?;
    let running = bed.start(&[eth0])?;
    let second = DirLock::take(&dir).unwrap_err().to_string();
    assert!(
        second.contains("another lb-agent runs with --bpf-dir"),
        "{second}"
    );
    assert!(bed.netns.block(|| cleanup::run(&dir)).is_err());
    assert!(!bed.links()?.is_empty());
    drop((running, lock));

    bed.netns.block(|| cleanup::run(&dir))?;
    assert!(!bed.pins.path().exists());
    let attached = Command::new("bpftool")
        .args(["-j", "cgroup", "show"])
        .arg(bed.cgroup.path())
        .output()?;
    let attached = String::from_utf8_lossy(&attached.stdout);
    assert!(!attached.contains("lb_"), "{attached}");
    bed.netns.block(|| {
        let shown = Command::new("bpftool").args(["net", "show"]).output()?;
        let shown = String::from_utf8_lossy(&shown.stdout);
        ensure!(!shown.contains("lb_"), "{shown}");
        Ok(())
    })?;
    // Again is fine.
    bed.netns.block(|| cleanup::run(&dir))
}
