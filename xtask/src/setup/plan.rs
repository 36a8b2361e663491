//! The decision what to install and build, from facts alone, and the look that gathers them.
//! Changes nothing on the machine.

use std::path::Path;

use anyhow::{Result, bail};
use lb_build::{Machine, Route, choose, program_on_path};

use super::{
    Needs,
    control_plane::{self, Tool},
    monitoring,
    mounts::{cgroup2_root, mounted},
    packages::{self, Program},
    previous,
    rights::Rights,
};

/// What stands on this machine.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one thing that is there or not"
)]
pub(super) struct Facts {
    pub(super) rights: Rights,
    has_apt: bool,
    has_go: bool,
    has_llvm: bool,
    has_clippy: bool,
    has_bpffs: bool,
    has_cgroup2: bool,
    machine: Machine,
    missing_programs: Vec<Program>,
    missing_tools: Vec<&'static Tool>,
    missing_previous: bool,
    missing_prometheus: bool,
}

/// What will be done, in this order.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one thing that is done or not"
)]
pub(super) struct Plan {
    /// Debian packages to install.
    pub(super) packages: Vec<&'static str>,
    /// Whether bpf-linker is built into the cache.
    pub(super) linker: bool,
    /// Whether bpffs is mounted.
    pub(super) bpffs: bool,
    /// What Go builds into the cache.
    pub(super) tools: Vec<&'static Tool>,
    /// Whether the older agent is built into the cache.
    pub(super) previous: bool,
    /// Whether Prometheus is fetched into the cache.
    pub(super) prometheus: bool,
}

impl Plan {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Looks by file existence only, so that a machine that is ready costs a few milliseconds.
pub(super) fn look(needs: Needs) -> Result<Facts> {
    let machine = lb_build::probe()?;
    Ok(Facts {
        rights: Rights::find(),
        has_apt: program_on_path("apt-get").is_some(),
        has_go: control_plane::go().is_some(),
        has_llvm: Path::new("/usr/lib/llvm-22/bin/llvm-config").is_file(),
        has_clippy: choose(&machine).is_ok_and(|choice| lb_build::cargo_clippy(&choice).is_file()),
        has_bpffs: mounted("bpf")
            .iter()
            .any(|point| point == Path::new("/sys/fs/bpf")),
        has_cgroup2: cgroup2_root().is_some(),
        machine,
        missing_programs: packages::missing_programs(needs),
        missing_tools: control_plane::missing(needs),
        missing_previous: needs.previous && previous::is_missing(),
        missing_prometheus: needs.control_plane && monitoring::is_missing(),
    })
}

/// What to do, or one message with everything that only the user can do.
pub(super) fn plan(needs: Needs, facts: &Facts) -> Result<Plan> {
    let mut plan = Plan {
        previous: needs.previous && facts.missing_previous,
        ..Plan::default()
    };
    let mut problems = Vec::new();
    if needs.ebpf
        && let Err(nothing) = choose(&facts.machine)
    {
        if facts.has_apt {
            plan.packages
                .extend(packages::for_ebpf(&facts.machine, facts.has_llvm));
            plan.linker = packages::needs_linker(&facts.machine);
        } else {
            problems.push(nothing.to_string());
        }
    }
    if needs.clippy {
        plan_clippy(facts, &mut plan, &mut problems);
    }
    if needs.machine {
        plan_machine(facts, &mut plan, &mut problems);
    }
    if !facts.missing_tools.is_empty() {
        if facts.has_go {
            plan.tools.clone_from(&facts.missing_tools);
        } else {
            let names: Vec<_> = facts.missing_tools.iter().map(|tool| tool.binary).collect();
            problems.push(format!(
                "install Go 1.26 or newer, which builds these once: {}; or put them on PATH \
                 or into $KUBEBUILDER_ASSETS",
                names.join(", ")
            ));
        }
    }
    if needs.control_plane && facts.missing_prometheus {
        if facts.has_apt {
            plan.prometheus = true;
        } else {
            problems.push("put prometheus and promtool on PATH".into());
        }
    }
    plan.packages.sort_unstable();
    plan.packages.dedup();
    if facts.rights == Rights::User && !plan.packages.is_empty() {
        problems.push(format!("sudo apt-get install {}", plan.packages.join(" ")));
    }
    if !problems.is_empty() {
        bail!("missing on this machine:\n- {}", problems.join("\n- "));
    }
    Ok(plan)
}

/// clippy comes with its compiler: with rustup's by a component, with Debian's by a package.
fn plan_clippy(facts: &Facts, plan: &mut Plan, problems: &mut Vec<String>) {
    if facts.has_clippy {
        return;
    }
    match choose(&facts.machine).map(|choice| choice.route) {
        Ok(Route::Nightly) => {
            problems.push("rustup component add clippy --toolchain nightly".into());
        }
        _ if facts.has_apt => plan.packages.push("rust-web-clippy"),
        _ => problems.push("clippy for the compiler of lb-ebpf: Debian's rust-web-clippy".into()),
    }
}

fn plan_machine(facts: &Facts, plan: &mut Plan, problems: &mut Vec<String>) {
    if facts.rights == Rights::User {
        problems.push(
            "root: network namespaces, cgroups and eBPF need it; run this as root, or allow sudo without a password"
                .into(),
        );
    }
    if !facts.has_cgroup2 {
        problems.push("a cgroup v2 tree: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified".into());
    }
    if facts.has_apt {
        plan.packages
            .extend(facts.missing_programs.iter().map(|program| program.package));
    } else if !facts.missing_programs.is_empty() {
        let list: Vec<_> = facts
            .missing_programs
            .iter()
            .map(|program| format!("{} (Debian's {})", program.name, program.package))
            .collect();
        problems.push(format!(
            "install with your package manager: {}",
            list.join(", ")
        ));
    }
    plan.bpffs = !facts.has_bpffs;
}

#[cfg(test)]
mod tests {
    use lb_build::{Debian, Nightly};

    use super::*;

    const ALL: Needs = Needs {
        ebpf: true,
        clippy: true,
        machine: true,
        control_plane: true,
        nodes: true,
        suite: true,
        guests: true,
        browser: true,
        previous: true,
    };

    fn ready() -> Facts {
        Facts {
            rights: Rights::Root,
            has_apt: true,
            has_go: true,
            has_llvm: true,
            has_clippy: true,
            has_bpffs: true,
            has_cgroup2: true,
            machine: Machine {
                nightly: Some(Nightly {
                    root: "/n".into(),
                    has_rust_src: true,
                }),
                own_linker: Some("/l".into()),
                ..Machine::default()
            },
            missing_programs: Vec::new(),
            missing_tools: Vec::new(),
            missing_previous: false,
            missing_prometheus: false,
        }
    }

    #[test]
    fn a_machine_that_is_ready_gets_nothing() {
        assert!(plan(ALL, &ready()).unwrap().is_empty());
    }

    #[test]
    fn a_bare_debian_gets_everything() {
        let facts = Facts {
            has_llvm: false,
            has_bpffs: false,
            machine: Machine::default(),
            missing_programs: vec![Program {
                name: "jq",
                package: "jq",
            }],
            missing_tools: control_plane::all(),
            missing_previous: true,
            missing_prometheus: true,
            ..ready()
        };
        let plan = plan(ALL, &facts).unwrap();
        assert!(plan.linker && plan.bpffs && plan.previous && plan.prometheus);
        assert!(plan.packages.contains(&"jq") && plan.packages.contains(&"rustc-web"));
        assert_eq!(plan.tools, control_plane::all());
    }

    #[test]
    fn clippy_comes_the_way_its_compiler_came() {
        let lacks = |machine| Facts {
            has_clippy: false,
            machine,
            ..ready()
        };
        let nightly = lacks(ready().machine);
        let said = plan(ALL, &nightly).unwrap_err().to_string();
        assert!(said.contains("rustup component add clippy"), "{said}");
        let debian = lacks(Machine {
            debian: Debian {
                cargo: true,
                rustc: true,
                bpf_core: true,
            },
            cached_linker: Some("/l".into()),
            ..Machine::default()
        });
        assert_eq!(plan(ALL, &debian).unwrap().packages, ["rust-web-clippy"]);
    }

    #[test]
    fn building_alone_asks_for_neither_root_nor_control_plane() {
        let facts = Facts {
            rights: Rights::User,
            has_bpffs: false,
            missing_programs: vec![Program {
                name: "jq",
                package: "jq",
            }],
            ..ready()
        };
        let needs = Needs {
            ebpf: true,
            ..Needs::default()
        };
        assert!(plan(needs, &facts).unwrap().is_empty());
    }

    #[test]
    fn without_apt_one_message_names_everything() {
        let facts = Facts {
            has_apt: false,
            has_go: false,
            machine: Machine::default(),
            missing_programs: vec![
                Program {
                    name: "nft",
                    package: "nftables",
                },
                Program {
                    name: "jq",
                    package: "jq",
                },
            ],
            missing_tools: control_plane::all(),
            ..ready()
        };
        let said = plan(ALL, &facts).unwrap_err().to_string();
        for name in [
            "nft (Debian's nftables)",
            "jq",
            "bpf-linker",
            "Go 1.26",
            "kube-apiserver",
        ] {
            assert!(said.contains(name), "{name} is not named in: {said}");
        }
    }

    #[test]
    fn who_is_not_root_is_told_so_with_the_command_to_run() {
        let facts = Facts {
            rights: Rights::User,
            machine: Machine {
                debian: Debian {
                    cargo: true,
                    rustc: true,
                    bpf_core: false,
                },
                cached_linker: Some("/l".into()),
                ..Machine::default()
            },
            ..ready()
        };
        let said = plan(ALL, &facts).unwrap_err().to_string();
        assert!(said.contains("- root: network namespaces"), "{said}");
        assert!(
            said.contains("sudo apt-get install cargo-web libstd-rust-web-dev-bpf"),
            "{said}"
        );
    }
}
