//! The command `lb-agent`: parses, initialises, runs.
#![forbid(unsafe_code)]

fn main() {}
