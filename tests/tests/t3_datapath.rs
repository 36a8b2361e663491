//! Loading, pinning and attaching on a real kernel: in a network namespace, a cgroup and a pin directory of its own.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use lb_agent::{
    datapath::{
        attach::{Attachments, TcMode, XdpMode},
        bpf_maps::BpfMaps,
        cgroup::Cgroup as AgentCgroup,
        cleanup,
        dir::BpfDir,
        load::{self, Commit, OBJECT, Options},
        lock::DirLock,
        pinned::{Access, HashPin},
        probe, programs,
        recount::Recounted,
        stats::Stats,
        table::{ArrayTable as _, HashTable, MapError, Maps as _, SourceRangeKey},
    },
    node::{self, Device, Selection},
};
use lb_common::{
    Addr,
    maps::AGENT,
    service::{MemberKey, Service, ServiceKey, ServiceRef, Slot},
    sock::Agent,
    srcrange::SourceRange,
};
use lb_sys::{LinkInfo, LinkTarget};
use lb_tests::{cgroup::Cgroup, netns::Netns, pins::PinDir};

/// A machine for one agent.
struct Bed {
    netns: Netns,
    cgroup: Cgroup,
    pins: PinDir,
}

impl Bed {
    fn new() -> Result<Self> {
        let netns = Netns::new("dp")?;
        netns.ip("link add eth0 type veth peer name peer0\n\
             addr add 198.18.7.1/24 dev eth0\n\
             link set eth0 up\n\
             link set peer0 up\n\
             link add eth0.100 type veth peer name peer1\n")?;
        Ok(Self {
            netns,
            cgroup: Cgroup::new("dp")?,
            pins: PinDir::new("dp")?,
        })
    }

    fn dir(&self) -> Result<BpfDir> {
        BpfDir::create(self.pins.path())
    }

    fn device(&self, name: &str, xdp: bool) -> Result<Device> {
        device(&self.netns, name, xdp)
    }

    fn start(&self, devices: &[Device]) -> Result<(Attachments, BpfMaps)> {
        self.netns.block(|| {
            start(
                self.pins.path(),
                self.cgroup.path(),
                &Options::default(),
                TcMode::Tcx,
                devices,
            )
        })
    }

    fn links(&self) -> Result<BTreeMap<String, LinkInfo>> {
        links(self.pins.path())
    }
}

fn device(netns: &Netns, name: &str, xdp: bool) -> Result<Device> {
    let ifindex = netns.block(|| {
        nix::net::if_::if_nametoindex(name).with_context(|| format!("no device {name}"))
    })?;
    Ok(Device {
        ifindex,
        name: name.to_owned(),
        xdp,
        source_v4: Some([198, 18, 7, 1].into()),
        source_v6: None,
        header_len: 14,
        veth: false,
    })
}

/// What the agent does when it starts.
fn start(
    pins: &Path,
    cgroup: &Path,
    options: &Options,
    tc: TcMode,
    devices: &[Device],
) -> Result<(Attachments, BpfMaps)> {
    let dir = BpfDir::create(pins)?;
    let (ebpf, maps, commit) = load::load(OBJECT, &dir, options)?.split();
    let attachments = switch(ebpf, &dir, cgroup, tc, devices, commit)?;
    Ok((attachments, maps))
}

fn switch(
    ebpf: aya::Ebpf,
    dir: &BpfDir,
    cgroup: &Path,
    tc: TcMode,
    devices: &[Device],
    commit: Commit,
) -> Result<Attachments> {
    let cgroup = AgentCgroup::open(Some(cgroup))?;
    ensure!(!cgroup.is_root(), "a test never uses the root cgroup");
    let mut attachments = Attachments::new(ebpf, dir, cgroup, tc, XdpMode::Native)?;
    commit.run()?;
    let problems = attachments.follow(devices)?;
    ensure!(problems.is_empty(), "{problems:?}");
    Ok(attachments)
}

fn links(pins: &Path) -> Result<BTreeMap<String, LinkInfo>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(pins.join("links"))? {
        let entry = entry?;
        let info = lb_sys::link_info(lb_sys::open_pin(&entry.path())?)?;
        found.insert(entry.file_name().to_string_lossy().into_owned(), info);
    }
    Ok(found)
}

fn key(n: u8) -> ServiceKey {
    ServiceKey {
        addr: Addr::v4([10, 96, 0, n]),
        port: 80,
        proto: 6,
        scope: 0,
    }
}

#[test]
fn every_program_is_in_the_object_and_is_attached() -> Result<()> {
    let bed = Bed::new()?;
    let eth0 = bed.device("eth0", true)?;
    let _running = bed.start(std::slice::from_ref(&eth0))?;
    let links = bed.links()?;
    for spec in programs::ALL {
        let expected = match spec.hook {
            programs::Hook::Cgroup(_) => spec.name.to_owned(),
            programs::Hook::IterSockets => continue,
            _ => format!("{}-{}-eth0", spec.name, eth0.ifindex),
        };
        assert!(links.contains_key(&expected), "{expected}: {links:?}");
    }
    Ok(())
}

#[test]
fn a_restart_swaps_programs_in_place_and_keeps_maps() -> Result<()> {
    let bed = Bed::new()?;
    let devices = [bed.device("eth0", false)?, bed.device("eth0.100", false)?];
    let (running, mut maps) = bed.start(&devices)?;
    let before = bed.links()?;
    assert!(before.len() > 4, "{before:?}");
    let done = maps
        .services()
        .insert(&[(key(1), ServiceRef { index: 7, flags: 1 })]);
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
        maps.services.entries()?,
        [(key(1), ServiceRef { index: 7, flags: 1 })]
    );
    Ok(())
}

#[test]
fn devices_are_followed_as_they_come_change_and_go() -> Result<()> {
    let bed = Bed::new()?;
    let (mut running, maps) = bed.start(&[])?;
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

    let eth0 = bed.device("eth0", true)?;
    follow(&mut running, std::slice::from_ref(&eth0))?;
    let names = tc(&bed.links()?);
    assert!(
        names.contains(&format!("lb_tc_ingress-{}-eth0", eth0.ifindex)),
        "{names:?}"
    );
    assert!(
        names.contains(&format!("lb_xdp-{}-eth0", eth0.ifindex)),
        "{names:?}"
    );
    let devs = maps.devs.entries()?;
    assert_eq!(devs.len(), 1);
    assert_eq!(devs[0].0, eth0.ifindex);
    assert_ne!(devs[0].1.flags & lb_common::dev::flags::XDP, 0);

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
    assert_eq!(
        maps.devs.entries()?[0].1.flags & lb_common::dev::flags::XDP,
        0
    );
    bed.netns.ip("link del wan.0\n")?;
    follow(&mut running, &[])?;
    assert_eq!(tc(&bed.links()?), [""; 0]);
    assert_eq!(maps.devs.entries()?.len(), 0);
    Ok(())
}

#[test]
fn clsact_does_where_tcx_is_missing() -> Result<()> {
    let bed = Bed::new()?;
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
fn cleanup_leaves_nothing_and_refuses_while_an_agent_runs() -> Result<()> {
    let bed = Bed::new()?;
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

#[test]
fn another_capacity_carries_the_contents_over_and_shows_only_after_the_switch() -> Result<()> {
    let bed = Bed::new()?;
    let dir = bed.dir()?;
    let (running, mut maps) = bed.start(&[])?;
    let at = ServiceRef { index: 3, flags: 1 };
    assert_eq!(maps.services().insert(&[(key(9), at)]).error, None);
    let slot = Slot {
        backend: 5,
        service: 3,
    };
    maps.slots().store(77, &slot)?;
    maps.active.add(5, 2)?;
    drop((running, maps));
    let old_agent: HashPin<u32, Agent> = HashPin::open(&dir, AGENT, Access::Write)?;
    old_agent.map().set(&0, &Agent::NONE)?;

    let options = Options {
        capacities: [("lb_slots".to_owned(), 4096)].into(),
        ..Options::default()
    };
    bed.netns.block(|| {
        let loaded = load::load(OBJECT, &dir, &options)?;
        ensure!(loaded.replaced.contains(&"lb_slots") && loaded.replaced.contains(&"lb_svc"));
        ensure!(
            !loaded.replaced.contains(&"lb_sk"),
            "state maps are never replaced"
        );
        let (ebpf, maps, commit) = loaded.split();
        ensure!(maps.slots.len() == 4096);
        ensure!(maps.slots.load(77)? == slot);
        ensure!(maps.active.load(5)? == 2);
        ensure!(maps.services.entries()? == [(key(9), at)]);
        // Those who look still see what the running programs use.
        ensure!(BpfMaps::open(&dir, Access::Read)?.slots.len() > 4096);
        drop((ebpf, maps, commit));
        // An agent that ends before its commit leaves the old maps in their places, one that ends in its middle the new ones.
        let (ebpf, maps, commit) = load::load(OBJECT, &dir, &options)?.split();
        ensure!(BpfMaps::open(&dir, Access::Read)?.slots.len() > 4096);
        maps.active.add(5, 2)?;
        // The programs that run still are told who the agent is.
        let cgroup = AgentCgroup::open(Some(bed.cgroup.path()))?;
        let mut attachments = Attachments::new(ebpf, &dir, cgroup, TcMode::Tcx, XdpMode::Auto)?;
        attachments.claim()?;
        let told = old_agent.map().get(&0)?.context("one entry")?;
        ensure!(![0, Agent::CLAIM].contains(&told.tgid), "{told:?}");
        drop((attachments, maps, commit));
        fs::create_dir(dir.root().join("committing"))?;
        let loaded = load::load(OBJECT, &dir, &options)?;
        ensure!(loaded.replaced.is_empty(), "{:?}", loaded.replaced);
        ensure!(!dir.root().join("committing").exists());
        let (ebpf, maps, commit) = loaded.split();
        ensure!(maps.active.load(5)? == 4);
        switch(ebpf, &dir, bed.cgroup.path(), TcMode::Tcx, &[], commit)?;
        ensure!(BpfMaps::open(&dir, Access::Read)?.slots.len() == 4096);
        Ok(())
    })?;
    // And a restart with the same capacity replaces nothing.
    bed.netns.block(|| {
        let loaded = load::load(OBJECT, &dir, &options)?;
        ensure!(loaded.replaced.is_empty(), "{:?}", loaded.replaced);
        Ok(())
    })
}

#[test]
fn tables_do_batches_and_say_what_failed() -> Result<()> {
    let bed = Bed::new()?;
    let options = Options {
        capacities: [("lb_members".to_owned(), 1000)].into(),
        ..Options::default()
    };
    let (_running, mut maps) = bed.netns.block(|| {
        start(
            bed.pins.path(),
            bed.cgroup.path(),
            &options,
            TcMode::Tcx,
            &[],
        )
    })?;
    let member = |backend| MemberKey {
        service: 1,
        backend,
    };
    let many: Vec<_> = (0..900u32).map(|n| (member(n), n)).collect();
    let done = maps.members().insert(&many);
    assert_eq!((done.done, done.error), (900, None));
    let mut read = maps.members().entries()?;
    read.sort_unstable();
    assert_eq!(read, many);

    // Full: what fits is done, and the error names the map.
    let more: Vec<_> = (2000..2300u32).map(|n| (member(n), n)).collect();
    let done = maps.members().insert(&more);
    assert_eq!(done.done, 100);
    assert_eq!(
        done.error,
        Some(MapError::Full {
            map: "lb_members",
            capacity: 1000
        })
    );

    // A missing key in the middle counts as done.
    let keys: Vec<_> = (0..900u32)
        .chain([5, 6, 77_777])
        .chain(2000..2100)
        .map(member)
        .collect();
    let done = maps.members().remove(&keys);
    assert_eq!((done.done, done.error), (keys.len(), None));
    assert_eq!(maps.members().entries()?, []);

    // A trie.
    let range = |n: u8, bits: u32| SourceRangeKey {
        prefix_len: 32 + 96 + bits,
        data: SourceRange {
            service: 4,
            addr: Addr::v4([n, 0, 0, 0]),
        },
    };
    let ranges = [(range(10, 8), 1), (range(11, 16), 1), (range(12, 32), 1)];
    let done = maps.srcranges().insert(&ranges);
    assert_eq!((done.done, done.error), (3, None));
    let mut read = maps.srcranges().entries()?;
    read.sort_unstable();
    assert_eq!(read, ranges);
    let done = maps
        .srcranges()
        .remove(&[range(10, 8), range(99, 8), range(11, 16)]);
    assert_eq!((done.done, done.error), (3, None));
    assert_eq!(maps.srcranges().entries()?, [ranges[2]]);

    // Arrays: whole elements, seen by another mapping at once.
    let service = Service {
        base: 100,
        count: 3,
        generation: 9,
        affinity_secs: 10_800,
        scheduler: 1,
        pad: 0,
        flags: 1,
        id: 5,
        pad2: [0; 3],
    };
    maps.svc().store(5, &service)?;
    let looking = BpfMaps::open(&bed.dir()?, Access::Read)?;
    assert_eq!(looking.svc.load(5)?, service);
    let len = maps.svc().len();
    assert!(matches!(
        maps.svc().store(len, &service),
        Err(MapError::Full { map: "lb_svc", .. })
    ));
    Ok(())
}

#[test]
fn those_who_look_cannot_write() -> Result<()> {
    let bed = Bed::new()?;
    let (running, maps) = bed.start(&[])?;
    drop((running, maps));
    // No agent is left, only pins.
    let dir = bed.dir()?;
    let mut looking = BpfMaps::open(&dir, Access::Read)?;
    let done = looking
        .services()
        .insert(&[(key(1), ServiceRef { index: 0, flags: 0 })]);
    assert_eq!(done.done, 0);
    assert!(done.error.is_some());
    let slot = Slot::FREE;
    assert!(looking.slots().store(0, &slot).is_err());
    assert!(looking.barrier().is_err());
    let stats = Stats::open(&dir)?;
    assert_eq!(stats.reasons()?.len(), lb_common::Reason::ALL.len());
    assert_eq!(
        stats.service(0)?,
        lb_common::service::ServiceStats::default()
    );

    let nowhere = BpfDir::at(&bed.pins.path().join("nowhere"));
    let said = BpfMaps::open(&nowhere, Access::Read)
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("no agent has run with this --bpf-dir"),
        "{said}"
    );
    let said = format!(
        "{:#}",
        BpfDir::create(Path::new("/tmp/lbt-no-bpffs")).unwrap_err()
    );
    assert!(said.contains("mount -t bpf bpf /sys/fs/bpf"), "{said}");
    Ok(())
}

#[test]
fn the_recount_repairs_a_drift_that_stands() -> Result<()> {
    let bed = Bed::new()?;
    let (running, maps) = bed.start(&[])?;
    let mut recount = running.recount()?.context("no iterator")?;
    assert_eq!(recount.run()?, Recounted::default());
    maps.active.add(5, 3)?;
    maps.active.add(6, -1)?;
    let found = recount.run()?;
    assert_eq!((found.drift, found.repaired), (4, 0), "{found:?}");
    let found = recount.run()?;
    assert_eq!((found.drift, found.repaired), (4, 4), "{found:?}");
    assert_eq!((maps.active.load(5)?, maps.active.load(6)?), (0, 0));
    assert_eq!(recount.run()?, Recounted::default());
    Ok(())
}

#[test]
fn the_barrier_waits() -> Result<()> {
    let bed = Bed::new()?;
    let (_running, mut maps) = bed.start(&[])?;
    for _ in 0..3 {
        maps.barrier()?;
    }
    Ok(())
}

#[test]
fn this_kernel_has_what_is_required() {
    let missing: Vec<_> = probe::checks()
        .into_iter()
        .filter(|c| c.required && !c.ok)
        .collect();
    assert_eq!(missing, []);
}

/// Start, restart and cleanup under CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON alone, in a process of its own.
#[test]
fn three_capabilities_are_enough() -> Result<()> {
    const PLACE: &str = "LB_TEST_PLACE";
    if let Ok(place) = std::env::var(PLACE) {
        let (pins, cgroup) = place.split_once(',').context("two paths")?;
        let ifindex = nix::net::if_::if_nametoindex("eth0")?;
        let eth0 = [Device {
            ifindex,
            name: "eth0".to_owned(),
            xdp: true,
            source_v4: None,
            source_v6: None,
            header_len: 14,
            veth: false,
        }];
        for _ in 0..2 {
            let (running, mut maps) = start(
                Path::new(pins),
                Path::new(cgroup),
                &Options::default(),
                TcMode::Tcx,
                &eth0,
            )?;
            if let Some(mut recount) = running.recount()? {
                recount.run()?;
            }
            maps.barrier()?;
            Stats::open(&BpfDir::at(Path::new(pins)))?.reasons()?;
        }
        return cleanup::run(&BpfDir::at(Path::new(pins)));
    }
    let bed = Bed::new()?;
    let place = format!(
        "{},{}",
        bed.pins.path().display(),
        bed.cgroup.path().display()
    );
    let output = bed.netns.block(|| {
        Ok(Command::new("setpriv")
            .args([
                "--bounding-set=-all,+bpf,+net_admin,+perfmon",
                "--inh-caps=-all,+bpf,+net_admin,+perfmon",
            ])
            .arg(std::env::current_exe()?)
            .args(["--exact", "three_capabilities_are_enough", "--nocapture"])
            .env(PLACE, &place)
            .output()?)
    })?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
    assert!(!bed.pins.path().exists(), "cleanup ran");
    Ok(())
}

#[test]
fn the_machine_is_followed_live() -> Result<()> {
    let bed = Bed::new()?;
    let selection = Selection {
        named: None,
        xdp: vec!["eth0.100".to_owned()],
    };
    bed.netns.block(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let mut states = node::watch(selection)?;
            let shown = |state: &node::State| -> (Vec<(String, bool)>, Vec<String>) {
                let devices = state.devices.iter().map(|d| (d.name.clone(), d.xdp));
                let addresses = state.addresses.iter().map(|(ip, _)| ip.to_string());
                (devices.collect(), addresses.collect())
            };
            let device = |name: &str, xdp: bool| (name.to_owned(), xdp);
            let first = next(&mut states).await?;
            ensure!(
                shown(&first)
                    == (
                        vec![device("eth0", false), device("eth0.100", true)],
                        vec!["198.18.7.1".to_owned()]
                    ),
                "{first:?}"
            );
            ensure!(first.devices[0].source_v4 == Some([198, 18, 7, 1].into()));
            ensure!(first.devices[0].header_len == 14);

            bed.netns.ip(
                "link add vx0 type vxlan id 7 dstport 4789 local 198.18.7.1\n\
                 link set vx0 up\n\
                 route add 10.244.2.0/24 dev vx0\n\
                 addr add 198.19.7.1/24 dev eth0\n\
                 addr add fd66:7::1/64 dev eth0\n",
            )?;
            let wanted = (
                vec![
                    device("eth0", false),
                    device("eth0.100", true),
                    device("vx0", false),
                ],
                ["198.18.7.1", "198.19.7.1", "fd66:7::1"]
                    .map(str::to_owned)
                    .to_vec(),
            );
            let mut state = next(&mut states).await?;
            while shown(&state) != wanted {
                state = next(&mut states)
                    .await
                    .with_context(|| format!("last: {state:?}"))?;
            }

            bed.netns.ip("link del vx0\nlink del eth0.100\n")?;
            while state.devices.len() != 1 {
                state = next(&mut states)
                    .await
                    .with_context(|| format!("last: {state:?}"))?;
            }
            Ok(())
        })
    })
}

async fn next(states: &mut tokio::sync::mpsc::Receiver<node::State>) -> Result<node::State> {
    tokio::time::timeout(std::time::Duration::from_secs(10), states.recv())
        .await
        .context("no change within ten seconds")?
        .context("the watch ended")
}
