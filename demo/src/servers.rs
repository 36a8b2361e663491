//! What runs in the demo's pods: web servers that say their name, and a small DNS server.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use testbed::{
    addr::Both,
    pod::Pod,
    poll,
    probe::{Family, Kind},
    process::Process,
};

/// The servers start in far less.
const START: Duration = Duration::from_secs(10);

/// The zone of the cluster.
pub(crate) const DOMAIN: &str = "cluster.local";

/// A web server whose one page is the pod's name.
pub(crate) fn web(pod: &Pod, port: u16, files: &Path) -> Result<Process> {
    let dir = files.join(pod.name());
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    fs::write(dir.join("index.html"), format!("{}\n", pod.name())).context("write a page")?;
    let (port_word, dir_word) = (port.to_string(), dir.display().to_string());
    let words = ["busybox", "httpd", "-f", "-p", &port_word, "-h", &dir_word];
    let server = pod.spawn(&words, &files.join("httpd.log"))?;
    listening(pod, port)?;
    Ok(server)
}

/// dnsmasq that knows the names of Services as a cluster's DNS does.
pub(crate) fn dns(pod: &Pod, services: &[(&str, Both)], files: &Path) -> Result<Process> {
    let mut words: Vec<String> = [
        "dnsmasq",
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
    ]
    .map(str::to_owned)
    .into();
    words.extend(["--user=root", "--pid-file=", "--log-facility=-"].map(str::to_owned));
    words.push(format!("--local=/{DOMAIN}/"));
    for (name, Both { v4, v6 }) in services {
        words.push(format!(
            "--host-record={name}.default.svc.{DOMAIN},{v4},{v6}"
        ));
    }
    let server = pod.spawn(&words, &files.join("dnsmasq.log"))?;
    listening(pod, 53)?;
    Ok(server)
}

/// A pod's `/etc/resolv.conf`, as a kubelet writes it.
pub(crate) fn resolv_conf(server: &str) -> String {
    format!(
        "nameserver {server}\nsearch default.svc.{DOMAIN} svc.{DOMAIN} {DOMAIN}\noptions ndots:5\n"
    )
}

fn listening(pod: &Pod, port: u16) -> Result<()> {
    poll::until(
        START,
        &format!("a server listens on port {port} of {}", pod.name()),
        || {
            Ok(Some(
                pod.connect(Kind::Tcp, pod.addr().at(Family::V4, port))?,
            ))
        },
    )
    .map(drop)
}
