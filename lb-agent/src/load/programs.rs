//! Every program of the object, the hook that it belongs to, and the order in which programs are
//! attached: those that undo a translation before those that make one.

use std::{
    collections::BTreeMap,
    num::NonZero,
    os::fd::{AsFd, BorrowedFd},
    panic,
    sync::{Mutex, PoisonError},
    thread,
};

use anyhow::{Context, Result, bail};
use aya::{Btf, Ebpf, programs::Program};
use lb_sys::{CgroupHook, TcHook};

use super::Options;

/// Where a program runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hook {
    /// A hook of the cgroup.
    Cgroup(CgroupHook),
    /// Egress of every node device.
    TcEgress,
    /// Ingress of every node device.
    TcIngress,
    /// Egress of `lb0`'s other end: replies of local backends.
    Lb0Back,
    /// Egress of `lb0`: packets for VIPs.
    Lb0Out,
    /// XDP of the devices named by `--attach-xdp`.
    Xdp,
    /// Run by the agent over all socket records.
    IterSockets,
}

impl Hook {
    /// Its direction, if it is one of traffic control.
    #[must_use]
    pub const fn tc(self) -> Option<TcHook> {
        match self {
            Self::TcIngress => Some(TcHook::Ingress),
            Self::TcEgress | Self::Lb0Out | Self::Lb0Back => Some(TcHook::Egress),
            Self::Cgroup(_) | Self::Xdp | Self::IterSockets => None,
        }
    }

    /// Is there anything to attach its program to?
    const fn is_used(self, options: &Options) -> bool {
        match self {
            Self::Xdp => options.xdp,
            Self::Lb0Out | Self::Lb0Back => options.lb0 || options.lb0_may_come,
            Self::Cgroup(_) | Self::TcEgress | Self::TcIngress | Self::IterSockets => true,
        }
    }
}

/// One program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spec {
    /// Its name in the object, in `bpftool prog` and in pins.
    pub name: &'static str,
    /// Where it runs.
    pub hook: Hook,
}

const fn cgroup(name: &'static str, hook: CgroupHook) -> Spec {
    Spec {
        name,
        hook: Hook::Cgroup(hook),
    }
}

const fn other(name: &'static str, hook: Hook) -> Spec {
    Spec { name, hook }
}

/// All, readers before writers.
pub const ALL: &[Spec] = &[
    cgroup("lb_recvmsg4", CgroupHook::Udp4Recvmsg),
    cgroup("lb_recvmsg6", CgroupHook::Udp6Recvmsg),
    cgroup("lb_getpeer4", CgroupHook::Inet4Getpeername),
    cgroup("lb_getpeer6", CgroupHook::Inet6Getpeername),
    cgroup("lb_sk_release", CgroupHook::InetSockRelease),
    cgroup("lb_sockops", CgroupHook::SockOps),
    other("lb_tc_egress", Hook::TcEgress),
    other("lb_vip_back", Hook::Lb0Back),
    other("lb_iter_sk", Hook::IterSockets),
    cgroup("lb_bind4", CgroupHook::Inet4Bind),
    cgroup("lb_bind6", CgroupHook::Inet6Bind),
    cgroup("lb_sendmsg4", CgroupHook::Udp4Sendmsg),
    cgroup("lb_sendmsg6", CgroupHook::Udp6Sendmsg),
    cgroup("lb_connect4", CgroupHook::Inet4Connect),
    cgroup("lb_connect6", CgroupHook::Inet6Connect),
    other("lb_tc_ingress", Hook::TcIngress),
    other("lb_xdp", Hook::Xdp),
    other("lb_vip_out", Hook::Lb0Out),
];

/// The program of that hook, by name.
#[must_use]
pub fn by_hook(hook: Hook) -> Option<&'static Spec> {
    ALL.iter().find(|s| s.hook == hook)
}

/// Has the kernel verify the programs of the object, side by side on each CPU that this process may
/// use: most of an agent's start is that.
/// Those that are attached nowhere are left out. The error names the first in [`ALL`] that the kernel
/// refuses, with its message.
pub(crate) fn load_wanted(ebpf: &mut Ebpf, options: &Options) -> Result<()> {
    let btf = Btf::from_sys_fs().context(
        "cannot read the kernel's types from /sys/kernel/btf/vmlinux: a kernel with CONFIG_DEBUG_INFO_BTF is needed",
    )?;
    let mut found: BTreeMap<&str, &mut Program> = ebpf.programs_mut().collect();
    let mut wanted = Vec::new();
    for spec in ALL {
        let program = found
            .remove(spec.name)
            .with_context(|| format!("program {}: not in the eBPF object", spec.name))?;
        if spec.hook.is_used(options) {
            wanted.push((spec, program));
        }
    }
    if let Some(name) = found.keys().next() {
        bail!("program {name}: not in the agent's list, so it would never be attached");
    }
    let threads = thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    side_by_side(wanted, threads, |(spec, program)| load(spec, program, &btf))
}

/// Does this for each, on no more than so many threads. The error is that of the first in order.
fn side_by_side<T: Send>(
    all: Vec<T>,
    threads: NonZero<usize>,
    each: impl Fn(T) -> Result<()> + Sync,
) -> Result<()> {
    let threads = threads.get().min(all.len());
    let rest = Mutex::new(all.into_iter().enumerate());
    let work = || {
        let mut failed = Vec::new();
        loop {
            let next = rest.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((n, one)) = next else {
                return failed;
            };
            failed.extend(each(one).err().map(|error| (n, error)));
        }
    };
    let mut failed = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let ended = workers.into_iter().flat_map(|worker| {
            worker
                .join()
                .unwrap_or_else(|panic| panic::resume_unwind(panic))
        });
        ended.collect::<Vec<_>>()
    });
    failed.sort_by_key(|(n, _)| *n);
    failed
        .into_iter()
        .next()
        .map_or(Ok(()), |(_, error)| Err(error))
}

fn load(spec: &Spec, program: &mut Program, btf: &Btf) -> Result<()> {
    let result = match program {
        Program::CgroupSockAddr(p) => p.load(),
        Program::CgroupSock(p) => p.load(),
        Program::SockOps(p) => p.load(),
        Program::SchedClassifier(p) => p.load(),
        Program::Xdp(p) => p.load(),
        Program::Iter(p) => p.load("bpf_sk_storage_map", btf),
        _ => bail!("program {}: of a kind that is never attached", spec.name),
    };
    result.with_context(|| format!("the kernel refused program {}", spec.name))
}

/// The descriptor of a loaded program; `None` if the object does not contain it, an error if it was
/// not loaded.
pub(crate) fn descriptor<'a>(ebpf: &'a Ebpf, name: &str) -> Result<Option<BorrowedFd<'a>>> {
    let Some(program) = ebpf.program(name) else {
        return Ok(None);
    };
    let fd = match program {
        Program::CgroupSockAddr(p) => p.fd(),
        Program::CgroupSock(p) => p.fd(),
        Program::SockOps(p) => p.fd(),
        Program::SchedClassifier(p) => p.fd(),
        Program::Xdp(p) => p.fd(),
        Program::Iter(p) => p.fd(),
        _ => bail!("program {name}: of a kind that is never attached"),
    };
    let fd = fd.with_context(|| format!("program {name} is not loaded"))?;
    Ok(Some(fd.as_fd()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    fn position(name: &str) -> usize {
        ALL.iter().position(|s| s.name == name).unwrap()
    }

    #[test]
    fn a_program_that_undoes_a_translation_comes_before_one_that_makes_it() {
        for writer in ["lb_connect4", "lb_connect6", "lb_sendmsg4", "lb_sendmsg6"] {
            for reader in [
                "lb_recvmsg4",
                "lb_recvmsg6",
                "lb_getpeer4",
                "lb_getpeer6",
                "lb_sk_release",
                "lb_sockops",
            ] {
                assert!(position(reader) < position(writer), "{reader}, {writer}");
            }
        }
        assert!(position("lb_tc_egress") < position("lb_tc_ingress"));
        assert!(position("lb_tc_ingress") < position("lb_xdp"));
        assert!(position("lb_vip_back") < position("lb_vip_out"));
        assert!(position("lb_tc_ingress") < position("lb_vip_out"));
    }

    #[test]
    fn so_many_are_loaded_at_a_time_and_the_first_error_counts() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let two = NonZero::new(2).unwrap();
        let done = side_by_side((0..20).collect(), two, |n| {
            most.fetch_max(now.fetch_add(1, Relaxed) + 1, Relaxed);
            thread::yield_now();
            now.fetch_sub(1, Relaxed);
            anyhow::ensure!(n < 7, "{n}");
            Ok(())
        });
        assert_eq!(done.unwrap_err().to_string(), "7");
        assert!(most.into_inner() <= 2);
        assert!(side_by_side(Vec::<()>::new(), two, |()| Ok(())).is_ok());
    }

    #[test]
    fn names_fit_into_the_15_bytes_that_the_kernel_keeps() {
        assert!(ALL.iter().all(|s| s.name.len() <= 15));
    }
}
