//! The file's values under the flags: a flag that was given, or its variable, wins; then the file; then the default. Owns
//! this order and nothing of the values.

use std::env;

use super::{file::KubeProxy, flags::RunArgs};

impl KubeProxy {
    /// Writes what the file says into every flag that `given` (by the name of its field) denies.
    pub fn fill(&mut self, args: &mut RunArgs, given: impl Fn(&str) -> bool) {
        let in_pod = env::var_os("KUBERNETES_SERVICE_HOST").is_some();
        self.fill_in(args, given, in_pod);
    }

    fn fill_in(&mut self, args: &mut RunArgs, given: impl Fn(&str) -> bool, in_pod: bool) {
        if !given("kubeconfig") && !given("manifests") {
            self.source(args, in_pod);
        }
        if !given("node_name") {
            args.node_name = self.node_name.clone().or(args.node_name.take());
        }
        let free = |flag| !given(flag);
        put(
            &mut args.health.health_bind_address,
            self.health_address,
            free("health_bind_address"),
        );
        put(
            &mut args.metrics.metrics_bind_address,
            self.metrics_address,
            free("metrics_bind_address"),
        );
        put(&mut args.scheduler, self.scheduler, free("scheduler"));
        let words = Some(self.node_port_addresses.clone()).filter(|words| !words.is_empty());
        put(
            &mut args.node_port_addresses,
            words,
            free("node_port_addresses"),
        );
        put(&mut args.log_format, self.log_format, free("log_format"));
        let level = self.log_level.map(str::to_owned);
        put(&mut args.log_level, level, free("log_level"));
    }

    /// A kubeconfig that is not there, as where a Pod was given the ConfigMap of kubeadm without its volume, leaves the Pod's
    /// own service account.
    fn source(&mut self, args: &mut RunArgs, in_pod: bool) {
        let Some(path) = self.kubeconfig.clone() else {
            return;
        };
        if in_pod && !path.exists() {
            self.remarks.push(format!(
                "clientConnection.kubeconfig: {} is not there, the Pod's service account is used",
                path.display()
            ));
            return;
        }
        args.kubeconfig = Some(path);
    }
}

fn put<T>(flag: &mut T, said: Option<T>, free: bool) {
    if let Some(value) = said.filter(|_| free) {
        *flag = value;
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _, parser::ValueSource};

    use super::*;
    use crate::{
        cli::args::Cli,
        model::Scheduler,
        settings::values::{LogFormat, NodePortAddress},
    };

    const FILE: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: ipvs
hostnameOverride: of-file
healthzBindAddress: 1.1.1.1:1
metricsBindAddress: 2.2.2.2:2
nodePortAddresses: [localhost]
clientConnection: {kubeconfig: /nowhere/kubeconfig}
ipvs: {scheduler: sh}
logging: {format: json, verbosity: 6}
";

    fn filled(line: &[&str], in_pod: bool) -> (RunArgs, KubeProxy) {
        let words = std::iter::once(&"lb-agent").chain(line);
        let matches = Cli::command().get_matches_from(words);
        let mut run = Cli::from_arg_matches(&matches).unwrap().run;
        let mut file = KubeProxy::read(FILE).unwrap();
        let given = |flag: &str| matches.value_source(flag) == Some(ValueSource::CommandLine);
        file.fill_in(&mut run, given, in_pod);
        (run, file)
    }

    #[test]
    fn the_file_stands_under_the_flags_and_over_their_defaults() {
        let (run, file) = filled(&[], false);
        assert_eq!(run.node_name.as_deref(), Some("of-file"));
        assert_eq!(run.health.health_bind_address.to_string(), "1.1.1.1:1");
        assert_eq!(run.metrics.metrics_bind_address.to_string(), "2.2.2.2:2");
        assert_eq!(run.node_port_addresses, [NodePortAddress::Localhost]);
        assert_eq!(run.kubeconfig, Some("/nowhere/kubeconfig".into()));
        assert_eq!(run.scheduler, Scheduler::SourceHash);
        assert_eq!(run.log_format, LogFormat::Json);
        assert_eq!(run.log_level, "trace");
        assert_eq!(file.warning(), None);

        let line = "--node-name n --health-bind-address 3.3.3.3:3 --metrics-bind-address 4.4.4.4:4 \
             --node-port-addresses all --manifests /m --scheduler random --log-format text --log-level warn";
        let line: Vec<&str> = line.split(' ').filter(|w| !w.is_empty()).collect();
        let (run, _) = filled(&line, false);
        assert_eq!(run.node_name.as_deref(), Some("n"));
        assert_eq!(run.health.health_bind_address.to_string(), "3.3.3.3:3");
        assert_eq!(run.metrics.metrics_bind_address.to_string(), "4.4.4.4:4");
        // At its default, and given all the same.
        assert_eq!(run.node_port_addresses, [NodePortAddress::All]);
        assert_eq!(run.scheduler, Scheduler::Random);
        assert_eq!(run.log_format, LogFormat::Text);
        assert_eq!(run.log_level, "warn");
        assert_eq!((run.kubeconfig, run.manifests), (None, Some("/m".into())));
    }

    #[test]
    fn a_pod_without_the_kubeconfig_of_the_file_has_its_service_account() {
        let (run, file) = filled(&[], true);
        assert_eq!(run.kubeconfig, None);
        let warning = file.warning().unwrap();
        assert!(
            warning.contains("/nowhere/kubeconfig is not there"),
            "{warning}"
        );
    }
}
