//! Tier 4: a real control plane: etcd, kube-apiserver, kube-controller-manager, CoreDNS, helm and
//! kube-proxy.

mod chart;
mod cluster;
mod examples;
mod kubeproxy_config;
mod monitoring;
mod referee;
