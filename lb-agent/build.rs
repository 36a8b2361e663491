//! Compiles the kernel side and hands its object to the agent (see lb-build).

fn main() {}
