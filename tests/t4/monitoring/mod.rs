//! The chart's alerts and dashboard, by the real promtool, and by a real Prometheus that scrapes a
//! running agent.

mod prometheus;
mod queries;
mod rules;
