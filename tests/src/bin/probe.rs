//! The helper of the tests: see [`lb_tests::probe`].

fn main() -> anyhow::Result<()> {
    lb_tests::probe::main(std::env::args())
}
