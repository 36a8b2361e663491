//! The order of precedence: a flag or its variable, then the file, then the default.

use std::env;

use super::{file::ConfigFile, partial::Partial, values::Source};

/// Puts the flags over the file. [`Config::new`](super::Config::new) puts both over the defaults.
#[must_use]
pub fn merge(flags: Partial, file: ConfigFile) -> ConfigFile {
    let in_pod = env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    merge_in(flags, file, in_pod)
}

fn merge_in(flags: Partial, mut file: ConfigFile, in_pod: bool) -> ConfigFile {
    if flags.source.is_none() && in_pod {
        skip_missing_kubeconfig(&mut file);
    }
    file.settings = flags.or(file.settings);
    file
}

/// A Pod may be given the ConfigMap of kubeadm without the volume that holds the kubeconfig: its
/// own service account serves instead.
fn skip_missing_kubeconfig(file: &mut ConfigFile) {
    let missing =
        |source: &mut Source| matches!(source, Source::Kubeconfig(path) if !path.exists());
    if let Some(Source::Kubeconfig(path)) = file.settings.source.take_if(missing) {
        file.warnings.push(format!(
            "clientConnection.kubeconfig: {} does not exist, the Pod's service account is used",
            path.display()
        ));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::{
        model::Scheduler,
        settings::{
            flags::{Flags, Pins},
            values::{Conntrack, LogFormat, NodePortAddress},
        },
    };

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        pins: Pins,
        #[command(flatten)]
        flags: Flags,
    }

    const FILE: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: ipvs
hostnameOverride: of-file
healthzBindAddress: 1.1.1.1:1
metricsBindAddress: 2.2.2.2:2
nodePortAddresses: [localhost]
clientConnection: {kubeconfig: /nowhere/kubeconfig}
ipvs: {scheduler: sh}
conntrack: {tcpEstablishedTimeout: 2h, udpTimeout: 40s, maxPerCore: 7}
logging: {format: json, verbosity: 6}
";

    fn merged(line: &str, in_pod: bool) -> ConfigFile {
        let words = std::iter::once("lb-agent").chain(line.split_whitespace());
        let Line { pins, flags } = Line::parse_from(words);
        let file = ConfigFile::read(FILE).unwrap();
        merge_in(flags.settings(pins).unwrap(), file, in_pod)
    }

    #[test]
    fn the_file_is_under_the_flags_and_over_the_defaults() {
        let ConfigFile {
            settings, warnings, ..
        } = merged("", false);
        assert_eq!(settings.node_name.as_deref(), Some("of-file"));
        assert_eq!(settings.health_address, Some("1.1.1.1:1".parse().unwrap()));
        assert_eq!(settings.metrics_address, Some("2.2.2.2:2".parse().unwrap()));
        assert_eq!(
            settings.node_port_addresses,
            Some(vec![NodePortAddress::Localhost])
        );
        assert_eq!(
            settings.source,
            Some(Source::Kubeconfig("/nowhere/kubeconfig".into()))
        );
        assert_eq!(settings.scheduler, Some(Scheduler::SourceHash));
        assert_eq!(settings.log(), (LogFormat::Json, "trace"));
        assert!(warnings.is_empty(), "{warnings:?}");

        let line = "--node-name n --health-bind-address 3.3.3.3:3 --metrics-bind-address 4.4.4.4:4 \
             --node-port-addresses all --manifests /m --scheduler random --log-format text --log-level warn";
        let settings = merged(line, false).settings;
        assert_eq!(settings.node_name.as_deref(), Some("n"));
        assert_eq!(settings.health_address, Some("3.3.3.3:3".parse().unwrap()));
        assert_eq!(settings.metrics_address, Some("4.4.4.4:4".parse().unwrap()));
        // Given, though it is the default.
        assert_eq!(
            settings.node_port_addresses,
            Some(vec![NodePortAddress::All])
        );
        assert_eq!(settings.scheduler, Some(Scheduler::Random));
        assert_eq!(settings.log(), (LogFormat::Text, "warn"));
        assert_eq!(settings.source, Some(Source::Manifests("/m".into())));
    }

    #[test]
    fn each_timeout_of_conntrack_is_a_setting_of_its_own() {
        let of_file = Conntrack {
            max_per_core: Some(7),
            tcp_established: Some(Duration::from_hours(2)),
            udp: Some(Duration::from_secs(40)),
            ..Conntrack::default()
        };
        assert_eq!(merged("", false).settings.conntrack, Some(of_file));
        let line = "--conntrack-tcp-timeout-established 0 --conntrack-tcp-timeout-close-wait 90s \
             --conntrack-udp-timeout-stream 1m30s";
        let both = Conntrack {
            tcp_established: Some(Duration::ZERO),
            tcp_close_wait: Some(Duration::from_secs(90)),
            udp_stream: Some(Duration::from_secs(90)),
            ..of_file
        };
        assert_eq!(merged(line, false).settings.conntrack, Some(both));
        for bad in ["-1s", "30", "soon"] {
            let line = ["lb-agent", &format!("--conntrack-udp-timeout={bad}")];
            assert!(Line::try_parse_from(line).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pod_without_the_kubeconfig_of_the_file_uses_its_service_account() {
        let ConfigFile {
            settings, warnings, ..
        } = merged("", true);
        assert_eq!(settings.source, None);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        let missing = "clientConnection.kubeconfig: /nowhere/kubeconfig does not exist";
        assert!(warnings[0].starts_with(missing), "{warnings:?}");
        // The file's kubeconfig does not matter where a flag names another source.
        assert_eq!(merged("--manifests /m", true).warnings, [""; 0]);
    }
}
