//! What other software does to our programs: it detaches them, or runs its own in front.

use std::{os::fd::AsFd as _, process::Command};

use anyhow::{Result, ensure};
use aya::programs::Program;
use lb_agent::{
    hooks::attach::{Attachments, TcMode},
    load::{self, Options},
};
use lb_sys::TcHook;

use crate::datapath::bare_node::{BareNode, start, tc_mode};

#[test]
fn what_is_detached_by_others_is_found_and_attached_again() -> Result<()> {
    for tc in [TcMode::Tcx, TcMode::Clsact] {
        if tc == TcMode::Tcx && tc_mode()? == TcMode::Clsact {
            continue;
        }
        let bed = BareNode::new()?;
        let devices = [bed.device("eth0", false)?, bed.device("eth0.100", false)?];
        let lost = |running: &mut Attachments| -> Result<Vec<String>> {
            let found = running.verify(&devices)?;
            assert_eq!(found.misplaced, []);
            let names = found.lost.into_iter();
            let mut names: Vec<String> = names
                .map(|l| format!("{} {}", l.program, l.device))
                .collect();
            names.sort();
            Ok(names)
        };
        bed.netns.block(|| {
            let (pins, cgroup) = (bed.pins.path(), bed.cgroup.path());
            let (mut running, _maps) = start(pins, cgroup, &Options::default(), tc, &devices)?;
            assert_eq!(lost(&mut running)?, [""; 0], "{tc:?}: nothing was touched");
            if tc == TcMode::Clsact {
                let deleted = Command::new("tc")
                    .args(["qdisc", "del", "dev", "eth0", "clsact"])
                    .status()?;
                ensure!(deleted.success(), "the qdisc stays");
            } else {
                for program in ["lb_tc_ingress", "lb_tc_egress"] {
                    let pin = format!("{program}-{}-eth0", devices[0].ifindex);
                    lb_sys::detach(lb_sys::open_pin(&pins.join("links").join(pin))?)?;
                }
            }
            lb_sys::detach(lb_sys::open_pin(&pins.join("links/lb_recvmsg6"))?)?;
            let all = ["lb_recvmsg6 ", "lb_tc_egress eth0", "lb_tc_ingress eth0"];
            assert_eq!(lost(&mut running)?, all, "{tc:?}");
            assert_eq!(running.missing(), 3);
            let problems = running.follow(&devices)?;
            ensure!(problems.is_empty(), "{problems:?}");
            assert_eq!(
                (lost(&mut running)?, running.missing()),
                (vec![], 0),
                "{tc:?}"
            );
            // A device takes its programs along: nobody detached them.
            bed.netns.ip("link del eth0\n")?;
            assert_eq!(lost(&mut running)?, [""; 0], "{tc:?}");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_program_that_runs_in_front_of_ours_is_found() -> Result<()> {
    let bed = BareNode::new()?;
    let theirs = BareNode::new()?;
    let eth0 = bed.device("eth0", false)?;
    let (mut running, _maps) = bed.start(std::slice::from_ref(&eth0))?;
    let mut misplaced = || -> Result<Vec<String>> {
        let found = bed
            .netns
            .block(|| running.verify(std::slice::from_ref(&eth0)))?;
        assert_eq!(found.lost, []);
        let names = found.misplaced.into_iter();
        Ok(names
            .map(|m| format!("{} {}", m.program, m.device))
            .collect())
    };
    assert_eq!(misplaced()?, [""; 0]);
    if tc_mode()? == TcMode::Clsact {
        // No priority is before ours there, and no filter of another kind has the same one.
        for (priority, is_taken) in [(1, false), (2, true)] {
            let filter = format!(
                "filter add dev eth0 ingress prio {priority} protocol all matchall action ok"
            );
            bed.netns.block(|| {
                let added = Command::new("tc").args(filter.split(' ')).output()?;
                ensure!(added.status.success() == is_taken, "{filter}: {added:?}");
                Ok(())
            })?;
            assert_eq!(misplaced()?, [""; 0]);
        }
        return Ok(());
    }
    // Loaded once more it is another program, as that of other software would be.
    let mut other = load::load(load::OBJECT, &theirs.dir()?, &Options::default())?.ebpf;
    let Some(Program::SchedClassifier(program)) = other.program_mut("lb_tc_ingress") else {
        anyhow::bail!("the object has no tc program");
    };
    let link = bed.netns.block(|| {
        let link = lb_sys::create_tcx(program.fd()?.as_fd(), eth0.ifindex, TcHook::Ingress)?;
        Ok(link)
    })?;
    assert_eq!(misplaced()?, ["lb_tc_ingress eth0"]);
    lb_sys::detach(link)?;
    assert_eq!(misplaced()?, [""; 0]);
    Ok(())
}
