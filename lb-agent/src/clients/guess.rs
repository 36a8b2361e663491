//! What a pod is, by what is written of it: meshes' injectors and runtimes leave their marks. Each
//! mark is one that the software itself writes, not one that asks for it: a pod that should have
//! been injected and was not has no side-car.

use std::collections::BTreeMap;

/// What is written of a pod.
#[derive(Clone, Copy, Debug)]
pub struct Traits<'a> {
    /// Of the object.
    pub annotations: &'a BTreeMap<String, String>,
    /// Of the object.
    pub labels: &'a BTreeMap<String, String>,
    /// `runtimeClassName`
    pub runtime_class: Option<&'a str>,
    /// Names of its containers, init containers too.
    pub containers: &'a [&'a str],
}

/// A kind of pod whose connections something in it must see as they were asked for, or that no
/// socket hook reaches.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Guess {
    /// Istio's side-car.
    Istio,
    /// Istio without side-car: ztunnel listens in the pod's network namespace.
    IstioAmbient,
    /// Linkerd's proxy.
    Linkerd,
    /// Kuma's side-car.
    Kuma,
    /// Consul's data plane as a transparent proxy.
    Consul,
    /// A virtual machine of `KubeVirt`.
    KubeVirt,
    /// A virtual machine around the pod.
    Kata,
    /// gVisor's own network stack.
    GVisor,
}

impl Guess {
    /// One word, for machines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Istio => "istio",
            Self::IstioAmbient => "istio-ambient",
            Self::Linkerd => "linkerd",
            Self::Kuma => "kuma",
            Self::Consul => "consul",
            Self::KubeVirt => "kubevirt",
            Self::Kata => "kata",
            Self::GVisor => "gvisor",
        }
    }

    /// What it is, for people.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Istio => "Istio's side-car asks for the original destination",
            Self::IstioAmbient => "Istio's ztunnel asks for the original destination",
            Self::Linkerd => "Linkerd's proxy asks for the original destination",
            Self::Kuma => "Kuma's side-car asks for the original destination",
            Self::Consul => "Consul's transparent proxy asks for the original destination",
            Self::KubeVirt => "KubeVirt runs a virtual machine, which has a kernel of its own",
            Self::Kata => "Kata runs it in a virtual machine, which has a kernel of its own",
            Self::GVisor => "gVisor has a network stack of its own",
        }
    }
}

/// What the pod seems to be; `None`: an ordinary one.
#[must_use]
pub fn guess(pod: &Traits<'_>) -> Option<Guess> {
    let says = |key: &str, value: &str| pod.annotations.get(key).is_some_and(|v| v == value);
    let annotated = |key: &str| pod.annotations.contains_key(key);
    let runs = |name: &str| pod.containers.contains(&name);
    let of_class = |words: &[&str]| {
        let class = pod.runtime_class.unwrap_or_default().to_ascii_lowercase();
        words.iter().any(|word| class.contains(word))
    };
    Some(if of_class(&["kata"]) {
        Guess::Kata
    } else if of_class(&["gvisor", "runsc"]) {
        Guess::GVisor
    } else if pod
        .labels
        .get("kubevirt.io")
        .is_some_and(|v| v == "virt-launcher")
    {
        Guess::KubeVirt
    } else if annotated("sidecar.istio.io/status") || runs("istio-proxy") || runs("istio-init") {
        Guess::Istio
    } else if says("ambient.istio.io/redirection", "enabled") {
        Guess::IstioAmbient
    } else if annotated("linkerd.io/proxy-version") || runs("linkerd-proxy") || runs("linkerd-init")
    {
        Guess::Linkerd
    } else if says("kuma.io/sidecar-injected", "true") || runs("kuma-sidecar") || runs("kuma-init")
    {
        Guess::Kuma
    } else if says("consul.hashicorp.com/transparent-proxy-status", "enabled") {
        Guess::Consul
    } else {
        return None;
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(
        annotations: &[(&str, &str)],
        labels: &[(&str, &str)],
        runtime_class: Option<&str>,
        containers: &[&str],
    ) -> Option<Guess> {
        let map = |all: &[(&str, &str)]| {
            let owned = all.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            owned.collect::<BTreeMap<String, String>>()
        };
        guess(&Traits {
            annotations: &map(annotations),
            labels: &map(labels),
            runtime_class,
            containers,
        })
    }

    fn with(annotation: &str, value: &str) -> Option<Guess> {
        of(&[(annotation, value)], &[], None, &["app"])
    }

    #[test]
    fn what_injectors_write_is_known() {
        let ambient = "ambient.istio.io/redirection";
        let consul = "consul.hashicorp.com/transparent-proxy-status";
        for (annotation, value, expected) in [
            ("sidecar.istio.io/status", "{}", Some(Guess::Istio)),
            (ambient, "enabled", Some(Guess::IstioAmbient)),
            (ambient, "disabled", None),
            (
                "linkerd.io/proxy-version",
                "edge-25.1.1",
                Some(Guess::Linkerd),
            ),
            ("kuma.io/sidecar-injected", "true", Some(Guess::Kuma)),
            ("kuma.io/sidecar-injected", "false", None),
            (consul, "enabled", Some(Guess::Consul)),
            // Its side-car, without redirects: applications name it themselves.
            (
                "consul.hashicorp.com/connect-inject-status",
                "injected",
                None,
            ),
            // What asks for a side-car is no side-car.
            ("sidecar.istio.io/inject", "true", None),
            ("linkerd.io/inject", "enabled", None),
        ] {
            assert_eq!(with(annotation, value), expected, "{annotation}: {value}");
        }
    }

    #[test]
    fn containers_tell_which_mesh_it_is() {
        for (containers, expected) in [
            (&["app"][..], None),
            // A native side-car is an init container.
            (&["istio-init", "istio-proxy", "app"], Some(Guess::Istio)),
            (&["linkerd-proxy"], Some(Guess::Linkerd)),
            (&["kuma-sidecar"], Some(Guess::Kuma)),
        ] {
            assert_eq!(of(&[], &[], None, containers), expected, "{containers:?}");
        }
    }

    #[test]
    fn virtual_machines_and_sandboxes_are_known_whatever_runs_in_them() {
        for (class, expected) in [
            ("kata-qemu", Some(Guess::Kata)),
            ("Kata", Some(Guess::Kata)),
            ("gvisor", Some(Guess::GVisor)),
            ("runsc-kvm", Some(Guess::GVisor)),
            ("nvidia", None),
        ] {
            assert_eq!(of(&[], &[], Some(class), &[]), expected, "{class}");
        }
        let mesh = [("sidecar.istio.io/status", "{}")];
        assert_eq!(of(&mesh, &[], Some("kata"), &[]), Some(Guess::Kata));
        let launcher = [("kubevirt.io", "virt-launcher")];
        assert_eq!(
            of(&[], &launcher, None, &["compute"]),
            Some(Guess::KubeVirt)
        );
        assert_eq!(of(&[], &[("kubevirt.io", "virt-handler")], None, &[]), None);
    }
}
