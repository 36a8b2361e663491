//! What this kernel and this process can do, what the agent needs of it, and what each missing
//! feature costs.

use std::{fs, path::Path};

use anyhow::{Context, Result};

/// Optional features. For each there is another way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Features {
    /// Programs on traffic control by links (Linux 6.6); else filters of the clsact qdisc.
    pub tcx: bool,
    /// `bpf_fib_lookup` returns the preferred source (Linux 6.7); else the source of the device is
    /// used.
    pub fib_source: bool,
    /// MPTCP is compiled in.
    pub mptcp: bool,
}

/// One thing that `lb-agent check` reports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// It is there.
    pub ok: bool,
    /// The agent cannot run without it.
    pub required: bool,
    /// What its absence means and what to do about it.
    pub remedy: &'static str,
}

/// The kernel's types. A feature is there if an enumerator of its name is.
const BTF: &str = "/sys/kernel/btf/vmlinux";

const TCX: &str = "BPF_TCX_INGRESS";
const FIB_SOURCE: &str = "BPF_FIB_LOOKUP_SRC";
const SET_RETVAL: &str = "BPF_FUNC_set_retval";
const LOOP: &str = "BPF_FUNC_loop";

impl Features {
    /// Looks at the running kernel.
    pub fn probe() -> Result<Self> {
        let kernel_has = kernel_has(&[TCX, FIB_SOURCE])?;
        Ok(Self {
            tcx: kernel_has[0],
            fib_source: kernel_has[1],
            mptcp: Path::new("/proc/sys/net/mptcp").exists(),
        })
    }
}

/// Which of the names the kernel's types contain.
fn kernel_has(names: &[&str]) -> Result<Vec<bool>> {
    let btf = fs::read(BTF).with_context(|| {
        format!("cannot read {BTF}: a kernel with CONFIG_DEBUG_INFO_BTF is needed")
    })?;
    let mut found = vec![false; names.len()];
    for word in btf.split(|b| *b == 0) {
        if let Some(i) = names.iter().position(|n| n.as_bytes() == word) {
            found[i] = true;
        }
    }
    Ok(found)
}

/// Capabilities: name, number (capability.h), whether the agent needs it, and why.
const CAPABILITIES: &[(&str, u32, bool, &str)] = &[
    (
        "CAP_BPF",
        39,
        true,
        "maps and programs: add BPF to the capabilities, or run as root",
    ),
    (
        "CAP_NET_ADMIN",
        12,
        true,
        "programs on cgroups and devices: add NET_ADMIN to the capabilities, or run as root",
    ),
    (
        "CAP_PERFMON",
        38,
        true,
        "pointers that the verifier follows: add PERFMON to the capabilities, or run as root",
    ),
    (
        "CAP_SYS_ADMIN",
        21,
        false,
        "stale connected UDP sockets are not reset: needs CAP_SYS_ADMIN; set socketReset: true in the chart",
    ),
];

/// Everything that the agent needs of the kernel and of its own rights.
#[must_use]
pub fn checks() -> Vec<Check> {
    let mut checks = vec![Check {
        name: "kernel types (BTF)",
        ok: Path::new(BTF).exists(),
        required: true,
        remedy: "a kernel with CONFIG_DEBUG_INFO_BTF is needed",
    }];
    let names = [SET_RETVAL, LOOP, TCX, FIB_SOURCE];
    let kernel_has = kernel_has(&names).unwrap_or_else(|_| vec![false; names.len()]);
    for (i, (name, required, remedy)) in [
        (
            "bpf_set_retval (Linux 5.18)",
            true,
            "Linux 6.1 or later is needed",
        ),
        (
            "bpf_loop (Linux 5.17)",
            true,
            "Linux 6.1 or later is needed",
        ),
        (
            "tcx links (Linux 6.6)",
            false,
            "filters of the clsact qdisc are used instead",
        ),
        (
            "source address by bpf_fib_lookup (Linux 6.7)",
            false,
            "the first address of the device is used instead",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        checks.push(Check {
            name,
            ok: kernel_has[i],
            required,
            remedy,
        });
    }
    checks.push(Check {
        name: "mmapable arrays (Linux 5.5)",
        ok: mmapable(),
        required: true,
        remedy: "Linux 6.1 or later is needed, and CAP_BPF",
    });
    let effective = effective_capabilities().unwrap_or(0);
    for (name, bit, required, remedy) in CAPABILITIES {
        checks.push(Check {
            name,
            ok: effective & (1 << bit) != 0,
            required: *required,
            remedy,
        });
    }
    checks
}

/// Makes such an array and maps it.
fn mmapable() -> bool {
    lb_sys::create_map(lb_sys::MapInfo {
        kind: 2,
        key_size: 4,
        value_size: 8,
        max_entries: 1,
        flags: 1 << 10,
        ..lb_sys::MapInfo::default()
    })
    .and_then(|fd| lb_sys::MappedArray::<u64>::new(fd, true))
    .is_ok()
}

/// The effective set of this process, a bit for each.
fn effective_capabilities() -> Result<u64> {
    let status =
        fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let set = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .context("/proc/self/status names no effective capabilities")?;
    u64::from_str_radix(set.trim(), 16).context("CapEff of /proc/self/status is not a number")
}
