//! What `lb-agent check` finds on this machine: mounts, kernel settings and devices.

use std::{fs, path::Path};

use lb_common::maps;

use super::{Line, Verdict, topics::Topic};
use crate::{
    hooks::cgroup::Cgroup,
    lb0,
    load::probe,
    maps::dir::{BpfDir, require_bpffs},
    settings::flags::DeviceArgs,
};

/// Features of the kernel, and capabilities of this process.
pub(super) fn kernel() -> impl Iterator<Item = Line> {
    probe::checks().into_iter().map(|check| {
        let topic = if check.name.starts_with("CAP_") {
            Topic::Capabilities
        } else {
            Topic::Kernel
        };
        let verdict = match (check.ok, check.required) {
            (true, _) => Verdict::Ok,
            (false, false) => Verdict::Warn,
            (false, true) => Verdict::Fail,
        };
        Line::new(topic, check.name, verdict, check.remedy)
    })
}

/// Pins need a bpffs.
pub(super) fn bpf_dir(path: &Path) -> Line {
    match require_bpffs(path) {
        Ok(()) => Line::ok(Topic::BpfFileSystem, "bpf file system"),
        Err(error) => Line::new(
            Topic::BpfFileSystem,
            "bpf file system",
            Verdict::Fail,
            format!("{error:#}"),
        ),
    }
}

/// Maps that an earlier version has pinned under names that are no longer theirs.
pub(super) fn former_pins(path: &Path) -> Option<Line> {
    let dir = BpfDir::at(path);
    let former: Vec<&str> = maps::ALL
        .iter()
        .filter(|spec| dir.is_former(spec))
        .map(|spec| spec.former)
        .collect();
    (!former.is_empty()).then(|| {
        let remedy = format!(
            "{} are former names: start lb-agent of this version, which takes them over",
            former.join(", ")
        );
        Line::new(
            Topic::FormerPins,
            "pins of an earlier version",
            Verdict::Note,
            remedy,
        )
    })
}

/// Programs see sockets below their cgroup only.
pub(super) fn cgroup(path: Option<&Path>) -> Line {
    match Cgroup::open(path) {
        Ok(cgroup) if cgroup.is_root() => Line::ok(Topic::Cgroup, "cgroup"),
        Ok(cgroup) => Line::new(
            Topic::Cgroup,
            "cgroup",
            Verdict::Warn,
            format!(
                "attached to {}, not the cgroup v2 root; sockets outside it bypass load balancing",
                cgroup.path.display()
            ),
        ),
        Err(error) => Line::new(Topic::Cgroup, "cgroup", Verdict::Fail, format!("{error:#}")),
    }
}

/// The kernel forwards what goes to backends on other nodes and to pods.
pub(super) fn forwarding(name: &str, key: &str) -> Line {
    let path = Path::new("/proc/sys").join(key.replace('.', "/"));
    match fs::read_to_string(path) {
        Ok(text) if text.trim() == "0" => Line::new(
            Topic::Forwarding,
            name,
            Verdict::Warn,
            format!(
                "{key} is 0, so the kernel forwards nothing to pods and other nodes; set it to 1"
            ),
        ),
        Ok(_) => Line::ok(Topic::Forwarding, name),
        Err(error) => Line::new(
            Topic::Forwarding,
            name,
            Verdict::Warn,
            format!("cannot read {key}: {error}"),
        ),
    }
}

/// The names of the devices that service addresses are routed to are free, or ours.
pub(super) fn lb0() -> Line {
    let name = "device lb0";
    match lb0::blocking(lb0::look()) {
        Ok(Some(n)) => Line::ok(Topic::Lb0, &format!("{name} ({n} networks routed to it)")),
        Ok(None) => Line::new(
            Topic::Lb0,
            name,
            Verdict::Warn,
            "does not exist, so service addresses do not answer ping; a running agent creates it unless started with --lb0 off",
        ),
        Err(problem) => Line::new(Topic::Lb0, name, Verdict::Fail, format!("{problem:#}")),
    }
}

/// The devices that flags name.
pub(super) fn devices(args: &DeviceArgs) -> impl Iterator<Item = Line> {
    let named = [&args.attach_xdp, &args.attach_tc, &args.devices];
    let named = named.into_iter().flatten().flatten();
    named.filter(|device| *device != "auto").map(|device| {
        let exists = Path::new("/sys/class/net").join(device).exists();
        let name = format!("device {device}");
        Line::fails_if(
            Topic::Devices,
            !exists,
            &name,
            "no such device; see `ip link`",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_under_former_names_are_noted_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        assert!(former_pins(dir.path()).is_none());
        fs::create_dir(dir.path().join("maps")).unwrap();
        for pin in ["lb_svc", "lb_services", "lb_slots"] {
            fs::write(dir.path().join("maps").join(pin), "").unwrap();
        }
        let line = former_pins(dir.path()).unwrap();
        assert_eq!(line.verdict, Verdict::Note);
        assert!(
            line.remedy
                .starts_with("lb_services, lb_svc are former names: start lb-agent"),
            "{}",
            line.remedy
        );
    }
}
