//! The chart, by the real helm: what its templates make, what its schema refuses, and that the
//! agent works with exactly what the chart gives it.

mod api_server;
mod guards;
mod helm_test;
mod install;
mod installed;
mod kustomize;
mod objects;
mod render;
mod rollout;
mod shapes;
