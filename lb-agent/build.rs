//! Owns the compilation of `lb-ebpf` into `$OUT_DIR/lb-ebpf.o`, which the agent embeds without its
//! debug sections. Knows nothing of what is in it.

use std::{env, fs, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use object::{
    build::elf::{Builder, SectionData},
    elf,
};

fn main() -> ExitCode {
    match embed() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn embed() -> Result<()> {
    let variable = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .with_context(|| format!("{name} is not set"))
    };
    let out_dir = variable("OUT_DIR")?;
    let package = variable("CARGO_MANIFEST_DIR")?;
    let workspace = package
        .parent()
        .context("the package stands in no workspace")?;

    for source in [
        "lb-ebpf/src",
        "lb-ebpf/Cargo.toml",
        "lb-ebpf/Cargo.lock",
        "lb-common/src",
        "lb-common/Cargo.toml",
    ] {
        println!(
            "cargo::rerun-if-changed={}",
            workspace.join(source).display()
        );
    }

    let object = lb_build::build_ebpf(
        &workspace.join("lb-ebpf"),
        &lb_build::target_dir_of(&out_dir),
    )?;
    let embedded = out_dir.join("lb-ebpf.o");
    let whole = fs::read(&object).with_context(|| format!("read {}", object.display()))?;
    let small = without_dwarf(&whole)
        .with_context(|| format!("take the debug sections out of {}", object.display()))?;
    fs::write(&embedded, small).with_context(|| format!("write {}", embedded.display()))
}

/// Three quarters of the object, which the agent would read at each start: what the kernel is told
/// of lines and types stands in BTF.
fn without_dwarf(object: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(object)?;
    for section in &mut builder.sections {
        let name = section.name.as_slice();
        section.delete = name.starts_with(b".debug_") || name.starts_with(b".rel.debug_");
    }
    builder.delete_orphans();
    // The linker keeps names of sections and of symbols in one table, the builder in two.
    if builder
        .sections
        .iter()
        .all(|s| !matches!(s.data, SectionData::SectionString))
    {
        let names = builder.sections.add();
        names.name = b".shstrtab"[..].into();
        names.sh_type = elf::SHT_STRTAB;
        names.sh_addralign = 1;
        names.data = SectionData::SectionString;
    }
    let mut small = Vec::new();
    builder.write(&mut small)?;
    Ok(small)
}
