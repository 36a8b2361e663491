//! The helper of the tests: see [`testbed::probe`].

fn main() -> anyhow::Result<()> {
    testbed::probe::main(std::env::args())
}
