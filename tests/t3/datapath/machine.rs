//! What the machine must have, what the agent needs of it, and that it is followed live.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use lb_agent::{
    hooks::cleanup,
    load::{Options, probe},
    maps::{dir::BpfDir, stats::Stats},
    model::{Device, RpFilter},
    node,
    node::Selection,
};

use crate::datapath::bare_node::{BareNode, start, tc_mode};

#[test]
fn this_kernel_has_what_is_required() {
    let missing: Vec<_> = probe::checks()
        .into_iter()
        .filter(|c| c.required && !c.ok)
        .collect();
    assert_eq!(missing, []);
}

/// Start, restart and cleanup under CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON alone, in a process of
/// its own.
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
            mac: [0; 6],
            veth: false,
            rp_filter: RpFilter::Loose,
            pods: false,
        }];
        for _ in 0..2 {
            let (running, mut maps) = start(
                Path::new(pins),
                Path::new(cgroup),
                &Options::default(),
                tc_mode()?,
                &eth0,
            )?;
            if let Some(mut recount) = running.recount()? {
                recount.run()?;
            }
            maps.programs.barrier()?;
            Stats::open(&BpfDir::at(Path::new(pins)))?.reasons()?;
        }
        return cleanup::run(&BpfDir::at(Path::new(pins)));
    }
    let bed = BareNode::new()?;
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
            .args([
                "--exact",
                "datapath::machine::three_capabilities_are_enough",
                "--nocapture",
            ])
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
    let bed = BareNode::new()?;
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
