//! The chart, by the real helm: what its templates make, what its schema refuses, and that the
//! agent works with exactly what the chart gives it.

mod install;
mod render;
