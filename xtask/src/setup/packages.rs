//! The list of programs that tests and demo call, and the Debian packages that hold them. Installs
//! nothing.

use lb_build::{Machine, program_on_path};

use super::Needs;

/// A program and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Program {
    /// The file that is looked for.
    pub(super) name: &'static str,
    /// The package of Debian and Ubuntu.
    pub(super) package: &'static str,
}

const PROGRAMS: [Program; 22] = [
    Program {
        name: "bpftool",
        package: "bpftool",
    },
    Program {
        name: "ip",
        package: "iproute2",
    },
    Program {
        name: "tc",
        package: "iproute2",
    },
    Program {
        name: "iptables",
        package: "iptables",
    },
    Program {
        name: "nft",
        package: "nftables",
    },
    Program {
        name: "ipset",
        package: "ipset",
    },
    Program {
        name: "conntrack",
        package: "conntrack",
    },
    Program {
        name: "tcpdump",
        package: "tcpdump",
    },
    Program {
        name: "ethtool",
        package: "ethtool",
    },
    Program {
        name: "curl",
        package: "curl",
    },
    Program {
        name: "jq",
        package: "jq",
    },
    Program {
        name: "haproxy",
        package: "haproxy",
    },
    Program {
        name: "nslookup",
        package: "dnsutils",
    },
    Program {
        name: "ping",
        package: "iputils-ping",
    },
    Program {
        name: "traceroute",
        package: "traceroute",
    },
    Program {
        name: "wget",
        package: "wget",
    },
    Program {
        name: "dnsmasq",
        package: "dnsmasq-base",
    },
    Program {
        name: "busybox",
        package: "busybox-static",
    },
    Program {
        name: "ps",
        package: "procps",
    },
    Program {
        name: "nsenter",
        package: "util-linux",
    },
    Program {
        name: "setpriv",
        package: "util-linux",
    },
    Program {
        name: "openssl",
        package: "openssl",
    },
];

/// What containerd calls on a node with pods.
const FOR_NODES: [Program; 3] = [
    Program {
        name: "runc",
        package: "runc",
    },
    // Not on PATH, but where the package puts it.
    Program {
        name: "/usr/lib/cni/ptp",
        package: "containernetworking-plugins",
    },
    Program {
        name: "ldd",
        package: "libc-bin",
    },
];

/// What the pods of Kubernetes' suite call by a shell.
const FOR_SUITE: [Program; 3] = [
    Program {
        name: "dash",
        package: "dash",
    },
    Program {
        name: "nc.openbsd",
        package: "netcat-openbsd",
    },
    Program {
        name: "dig",
        package: "dnsutils",
    },
];

/// What the page is shown in: 113 MB to fetch, 560 MB on the disk. Fonts come with it.
const FOR_BROWSER: [Program; 1] = [Program {
    name: "chromium",
    package: "chromium",
}];

/// What starts guests of other kernels, and what is called in them alone.
const FOR_GUESTS: [Program; 5] = [
    Program {
        name: "qemu-system-x86_64",
        package: "qemu-system-x86",
    },
    Program {
        name: "depmod",
        package: "kmod",
    },
    Program {
        name: "xz",
        package: "xz-utils",
    },
    Program {
        name: "strip",
        package: "binutils",
    },
    Program {
        name: "ipvsadm",
        package: "ipvsadm",
    },
];

/// Those that tests and demo call, by name.
pub(super) fn names() -> Vec<&'static str> {
    PROGRAMS.iter().map(|program| program.name).collect()
}

/// The programs that are not on this machine.
pub(super) fn missing_programs(needs: Needs) -> Vec<Program> {
    let for_guests = if needs.guests { &FOR_GUESTS[..] } else { &[] };
    let for_browser = if needs.browser { &FOR_BROWSER[..] } else { &[] };
    let for_nodes = if needs.nodes { &FOR_NODES[..] } else { &[] };
    let for_suite = if needs.suite { &FOR_SUITE[..] } else { &[] };
    PROGRAMS
        .iter()
        .chain(for_nodes)
        .chain(for_suite)
        .chain(for_guests)
        .chain(for_browser)
        .filter(|program| program_on_path(program.name).is_none())
        .copied()
        .collect()
}

/// Debian's packages for eBPF that this machine lacks; bpf-linker itself is no package.
pub(super) fn for_ebpf(machine: &Machine, has_llvm: bool) -> Vec<&'static str> {
    let mut packages = Vec::new();
    let debian = &machine.debian;
    if !(debian.cargo && debian.rustc && debian.bpf_core) {
        packages.extend([
            "rustc-web",
            "cargo-web",
            "rust-web-src",
            "libstd-rust-web-dev-bpf",
        ]);
    }
    if needs_linker(machine) && !has_llvm {
        packages.extend(["llvm-22-dev", "zlib1g-dev", "libzstd-dev"]);
    }
    packages
}

/// Whether Debian's route lacks a linker.
pub(super) fn needs_linker(machine: &Machine) -> bool {
    machine.own_linker.is_none() && machine.cached_linker.is_none()
}

#[cfg(test)]
mod tests {
    use lb_build::Debian;

    use super::*;

    const COMPLETE: Debian = Debian {
        cargo: true,
        rustc: true,
        bpf_core: true,
    };

    #[test]
    fn a_bare_debian_gets_the_compiler_and_what_the_linker_is_built_with() {
        let packages = for_ebpf(&Machine::default(), false);
        assert_eq!(packages.len(), 7, "{packages:?}");
    }

    #[test]
    fn a_linker_that_is_there_needs_no_llvm() {
        let machine = Machine {
            cached_linker: Some("/c/bpf-linker".into()),
            ..Machine::default()
        };
        assert!(!for_ebpf(&machine, false).contains(&"llvm-22-dev"));
    }

    #[test]
    fn llvm_that_is_there_is_not_installed_again() {
        let machine = Machine {
            debian: COMPLETE,
            ..Machine::default()
        };
        assert_eq!(for_ebpf(&machine, true), Vec::<&str>::new());
        assert!(needs_linker(&machine));
    }
}
