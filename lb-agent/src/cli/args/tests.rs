use clap::{CommandFactory, Parser, ValueEnum};

use super::*;
use crate::{
    model::Scheduler,
    settings::values::{BindHold, Lb0Mode, LogFormat, SocketLb, SocketReset, XdpMode, defaults},
};

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_flag_has_its_environment_variable() {
    for arg in Cli::command().get_arguments() {
        let Some(long) = arg.get_long().filter(|l| !matches!(*l, "help" | "version")) else {
            continue;
        };
        let want = format!("LB_AGENT_{}", long.replace('-', "_").to_uppercase());
        assert_eq!(arg.get_env().unwrap().to_str(), Some(want.as_str()));
    }
}

/// Flags are optional, so that the file can stand under them: their help names the default by hand.
#[test]
fn the_help_names_the_defaults() {
    let help = |flag: &str| {
        let command = Cli::command();
        let arg = command.get_arguments().find(|a| a.get_long() == Some(flag));
        arg.unwrap().get_help().unwrap().to_string()
    };
    let scheduler = Scheduler::default().name();
    for (flag, default) in [
        ("bpf-dir", defaults::BPF_DIR),
        ("state-dir", defaults::STATE_DIR),
        ("health-bind-address", &defaults::HEALTH_ADDRESS.to_string()),
        (
            "metrics-bind-address",
            &defaults::METRICS_ADDRESS.to_string(),
        ),
        ("log-level", defaults::LOG_LEVEL),
        ("scheduler", scheduler),
        ("service-metrics", "on"),
        ("log-format", &word(&LogFormat::default())),
        ("xdp-mode", &word(&XdpMode::default())),
        ("socket-lb", &word(&SocketLb::default())),
        ("socket-reset", &word(&SocketReset::default())),
        ("bind-hold", &word(&BindHold::default())),
        ("lb0", &word(&Lb0Mode::default())),
    ] {
        let help = help(flag);
        assert!(help.ends_with(&format!("[default: {default}]")), "{help}");
    }
}

fn word<T: ValueEnum>(value: &T) -> String {
    value.to_possible_value().unwrap().get_name().to_owned()
}

#[test]
fn lists_repeat_and_take_commas() {
    let cli = Cli::try_parse_from([
        "lb-agent",
        "--attach-xdp",
        "eth0",
        "--attach-xdp",
        "eth1,eth2",
        "--node-port-addresses",
        "primary,10.0.0.0/8",
        "--map-capacity",
        "lb_frontends=4096",
        "--external-ip-cidrs",
        "198.18.0.0/15,fd66::/16",
    ])
    .unwrap();
    assert!(cli.verb.is_none());
    let attach_xdp = cli.run.devices.attach_xdp.unwrap();
    assert_eq!(attach_xdp, ["eth0", "eth1", "eth2"]);
    assert_eq!(cli.run.node_port_addresses.unwrap().len(), 2);
    assert_eq!(cli.run.map_capacity.unwrap()[0].entries, 4096);
    assert_eq!(cli.run.external_ip_cidrs.unwrap().len(), 2);
}

#[test]
fn flags_of_a_verb_stand_behind_it() {
    let cli = Cli::try_parse_from(["lb-agent", "get", "services", "--bpf-dir", "/x"]).unwrap();
    assert!(
        matches!(cli.verb, Some(Verb::Get(get)) if get.pins.dir() == std::path::Path::new("/x"))
    );
    // In front of it they would mean nothing, so they are not taken in silence.
    assert!(Cli::try_parse_from(["lb-agent", "--bpf-dir", "/x", "get", "services"]).is_err());
    let line = [
        "lb-agent",
        "cleanup",
        "--state-dir",
        "/x",
        "--bpf-dir",
        "/y",
    ];
    assert!(Cli::try_parse_from(line).is_ok());
    let line = [
        "lb-agent",
        "check",
        "--attach-xdp",
        "eth0",
        "--cgroup",
        "/x",
    ];
    assert!(Cli::try_parse_from(line).is_ok());
}

#[test]
fn wrong_words_are_refused() {
    for line in [
        vec!["lb-agent", "--map-capacity", "lb_nothing=1"],
        vec!["lb-agent", "--map-capacity", "lb_frontends=0"],
        vec!["lb-agent", "--map-capacity", "lb_frontends"],
        vec!["lb-agent", "--scheduler", "fastest"],
        vec!["lb-agent", "--external-ip-cidrs", "all"],
        vec!["lb-agent", "--node-port-addresses", "everywhere"],
        vec!["lb-agent", "--kubeconfig", "a", "--manifests", "b"],
        vec!["lb-agent", "get", "nodes"],
        vec!["lb-agent", "get", "services", "--stats", "--rate"],
        vec!["lb-agent", "get", "services", "--thresholds", "--watch"],
        vec!["lb-agent", "get", "services", "--interval", "2s"],
        vec!["lb-agent", "get", "services", "--stats", "--interval", "2s"],
        vec!["lb-agent", "explain", "svc/x", "--node-name", "a"],
        vec!["lb-agent", "--xdp-mode", "generic"],
    ] {
        let error = Cli::try_parse_from(&line).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line:?}");
    }
}
