//! A namespace whose services are IPVS's, as kube-proxy writes them in its ipvs mode: the VIPs on a
//! device that is down, one virtual server a port, connections tracked, and only what comes from a
//! VIP masqueraded.

use std::{io::Write as _, process::Stdio};

use anyhow::{Context as _, Result, ensure};
use testbed::{cgroup::Cgroup, netns::Netns, process, sandbox::Sandbox};

use crate::{
    ground::Ground,
    report::add,
    services::{backends, vip},
};

/// Modules, and one with its own words: by default 4096 chains hold every connection, which is few
/// for a benchmark's.
const MODULES: [&[&str]; 5] = [
    &["ip_vs", "conn_tab_bits=16"],
    &["ip_vs_rr"],
    &["dummy", "numdummies=0"],
    &["xt_set"],
    &["ip_set_hash_ipport"],
];
/// By which packets are known that must be masqueraded.
const MARK: &str = "0x4000/0x4000";
/// The set of all VIPs and their ports.
const SET: &str = "VIPS";

/// The rules go with this value.
pub(super) struct Virtual {
    pub(super) netns: Netns,
    /// Without programs.
    pub(super) cgroup: Cgroup,
}

/// Whether this kernel can.
pub(super) fn load() -> Result<()> {
    for words in MODULES {
        let words = [&["modprobe"], words].concat();
        process::run(&Sandbox::default(), &words).context(
            "this kernel has no IPVS: `cargo xtask bench ipvs` runs this suite in a guest that has it",
        )?;
    }
    Ok(())
}

impl Virtual {
    /// With so many services.
    pub(super) fn new(ground: &Ground, services: u32) -> Result<Self> {
        let netns = Netns::new("ipvs")?;
        ground.plug(&netns)?;
        netns.sysctls(&[
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv4/vs/conntrack", "1"),
            ("net/ipv4/vs/expire_nodest_conn", "1"),
            ("net/ipv4/vs/expire_quiescent_template", "1"),
        ])?;
        netns.ip(&addresses(services))?;
        let this = Self {
            netns,
            cgroup: Cgroup::new("ipvs")?,
        };
        this.feed(&["ipset", "restore"], &set(services))?;
        this.feed(&["iptables-restore"], &masquerading())?;
        this.feed(&["ipvsadm", "-R"], &servers(services))?;
        Ok(this)
    }

    fn feed(&self, words: &[&str], text: &str) -> Result<()> {
        let place = Sandbox {
            netns: Some(self.netns.path()),
            ..Sandbox::default()
        };
        let mut child = process::command(&place, words)?
            .stdin(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", words[0]))?;
        let mut stdin = child.stdin.take().context("no pipe")?;
        stdin
            .write_all(text.as_bytes())
            .with_context(|| format!("write to {}", words[0]))?;
        drop(stdin);
        let status = child.wait().context("wait for a child")?;
        ensure!(status.success(), "{}: {status}", words.join(" "));
        Ok(())
    }
}

fn addresses(services: u32) -> String {
    let mut text = "link add vips type dummy\n".to_owned();
    for i in 0..services {
        add(
            &mut text,
            format_args!("addr add {}/32 dev vips\n", vip(i).ip()),
        );
    }
    text
}

fn set(services: u32) -> String {
    let mut text = format!("create {SET} hash:ip,port\n");
    for i in 0..services {
        let (address, port) = (vip(i).ip(), vip(i).port());
        for protocol in ["tcp", "udp"] {
            add(
                &mut text,
                format_args!("add {SET} {address},{protocol}:{port}\n"),
            );
        }
    }
    text
}

/// A socket of the node itself has the VIP's own address, since that is local: its backend could
/// not answer.
fn masquerading() -> String {
    format!(
        "*nat\n\
         -A PREROUTING -m set --match-set {SET} src,dst -j MARK --set-xmark {MARK}\n\
         -A OUTPUT -m set --match-set {SET} src,dst -j MARK --set-xmark {MARK}\n\
         -A POSTROUTING -m mark --mark {MARK} -j MASQUERADE --random-fully\n\
         COMMIT\n"
    )
}

fn servers(services: u32) -> String {
    let mut text = String::new();
    for i in 0..services {
        let vip = vip(i);
        for protocol in ["-t", "-u"] {
            add(&mut text, format_args!("-A {protocol} {vip} -s rr\n"));
            for backend in backends(i) {
                add(
                    &mut text,
                    format_args!("-a {protocol} {vip} -r {backend} -m -w 1\n"),
                );
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_has_both_protocols_and_all_its_backends() {
        let text = servers(3);
        assert_eq!(text.matches("-A -u").count(), 3);
        // Two, three and four of them.
        assert_eq!(text.matches("-a -t").count(), 9);
        assert!(set(1).ends_with("add VIPS 10.96.1.0,udp:80\n"));
        assert!(addresses(1).ends_with("addr add 10.96.1.0/32 dev vips\n"));
    }
}
