//! Settings of this process and this machine that kube-proxy's configuration may ask for: the OOM
//! score, and the limits of the kernel's connection tracking. What cannot be written is logged, and
//! does not stop the agent.

use std::{fs, io::ErrorKind, path::Path, time::Duration};

use tracing::{info, warn};

use crate::settings::values::Conntrack;

/// Writes what is asked for.
pub(super) fn apply(oom_score_adj: Option<i64>, conntrack: Conntrack) {
    let proc = Path::new("/proc");
    let cpus = fs::read_to_string(proc.join("cpuinfo")).map_or(1, |text| cpus(&text));
    let oom = oom_score_adj.map(|score| ("self/oom_score_adj".to_owned(), score));
    for (file, value) in oom.into_iter().chain(wanted(conntrack, cpus)) {
        write(&proc.join(file), value);
    }
}

/// Files below /proc, and what is to stand in them.
fn wanted(conntrack: Conntrack, cpus: u32) -> Vec<(String, i64)> {
    let Conntrack {
        max_per_core,
        min,
        be_liberal,
        tcp_established,
        tcp_close_wait,
        udp,
        udp_stream,
    } = conntrack;
    let max = max_per_core.map(|each| {
        let entries = i64::from(each) * i64::from(cpus);
        entries.max(min.map_or(0, i64::from))
    });
    let given = |period: Option<Duration>| period.filter(|p| !p.is_zero());
    let seconds =
        |period: Option<Duration>| given(period).and_then(|p| i64::try_from(p.as_secs()).ok());
    let all = [
        ("max", max),
        ("tcp_be_liberal", be_liberal.then_some(1)),
        ("tcp_timeout_established", seconds(tcp_established)),
        ("tcp_timeout_close_wait", seconds(tcp_close_wait)),
        ("udp_timeout", seconds(udp)),
        ("udp_timeout_stream", seconds(udp_stream)),
    ];
    let file = |name| format!("sys/net/netfilter/nf_conntrack_{name}");
    all.into_iter()
        .filter_map(|(name, value)| Some((file(name), value?)))
        .collect()
}

/// One that stands already is not written: that needs no right.
fn write(path: &Path, value: i64) {
    let value = value.to_string();
    let file = path.display();
    match fs::read_to_string(path) {
        Ok(now) if now.trim() == value => return,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            info!(%file, value, "asked for, and the kernel has no such setting: nothing tracks connections");
            return;
        }
        _ => {}
    }
    match fs::write(path, &value) {
        Ok(()) => info!(%file, value, "set, as asked"),
        Err(error) => {
            warn!(%file, value, %error, "asked for by --config or a flag, and it cannot be set: set it on the host, or give the container the right");
        }
    }
}

fn cpus(cpuinfo: &str) -> u32 {
    let lines = cpuinfo.lines().filter(|line| line.starts_with("processor"));
    u32::try_from(lines.count()).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_asked_for_is_written() {
        assert_eq!(wanted(Conntrack::default(), 4), []);
        let asked = Conntrack {
            max_per_core: Some(100),
            min: Some(150),
            be_liberal: true,
            tcp_established: Some(Duration::ZERO),
            udp: Some(Duration::from_secs(7)),
            ..Conntrack::default()
        };
        let file = |name: &str| format!("sys/net/netfilter/nf_conntrack_{name}");
        let rest = [(file("tcp_be_liberal"), 1), (file("udp_timeout"), 7)];
        for (cpus, max) in [(1, 150), (2, 200)] {
            let all = [[(file("max"), max)].as_slice(), &rest].concat();
            assert_eq!(wanted(asked, cpus), all);
        }
        // A least number alone asks for nothing, as in kube-proxy.
        let least = Conntrack {
            min: Some(150),
            ..Conntrack::default()
        };
        assert_eq!(wanted(least, 4), []);
    }

    #[test]
    fn processors_are_counted() {
        let text = "processor\t: 0\nmodel name\t: x\n\nprocessor\t: 1\n";
        assert_eq!((cpus(text), cpus("")), (2, 1));
    }

    #[test]
    fn a_setting_is_written_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("setting");
        write(&path, 3);
        assert!(!path.exists(), "the kernel does not have it");
        fs::write(&path, "1\n").unwrap();
        write(&path, 3);
        assert_eq!(fs::read_to_string(&path).unwrap(), "3");
    }
}
