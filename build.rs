//! Builds the shim with a nested cargo, so that the launcher can carry it inside: one installed file is a working tool.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// What the shim is made of.
const SOURCES: [&str; 6] = ["shim/src", "shim/Cargo.toml", "table/src", "table/Cargo.toml", "Cargo.toml", "Cargo.lock"];

fn main() {
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
    }
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(variable("OUT_DIR"));
    // Beside target/debug and target/release, so that all of them share one build of the shim.
    let target = match out.ancestors().nth(4) {
        Some(target) if target.join("CACHEDIR.TAG").exists() => target.join("shim"),
        _ => out.join("shim"),
    };
    if !nested_cargo(&root, &target).status().is_ok_and(|status| status.success()) {
        println!("cargo::error=the shim did not build; `cargo build --release -p chaos-shim` shows why");
        return;
    }
    let built = target.join("release/libchaos_shim.so");
    if let Err(error) = fs::copy(&built, out.join("libchaos_shim.so")) {
        println!("cargo::error=cannot copy {}: {error}", built.display());
    }
}

fn nested_cargo(root: &Path, target: &Path) -> Command {
    let mut cargo = Command::new(variable("CARGO"));
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(belongs_to_the_outer_build) {
            cargo.env_remove(&name);
        }
    }
    cargo
        .args(["build", "--release", "--package", "chaos-shim"])
        .arg("--manifest-path")
        .arg(root.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(target);
    cargo
}

/// Whether a variable speaks of the launcher's own compilation (its flags, its target, a wrapper such as clippy or a
/// coverage tool) and so must not reach the shim's. What says how to fetch crates and how many jobs to run stays.
fn belongs_to_the_outer_build(name: &str) -> bool {
    const STAYS: [&str; 7] =
        ["CARGO_HOME", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR", "CARGO_SOURCE_", "CARGO_TERM_", "CARGO_MAKEFLAGS"];
    let cargo = name.starts_with("CARGO") && !STAYS.iter().any(|prefix| name.starts_with(prefix));
    cargo || name.starts_with("RUSTC") || name.contains("RUSTFLAGS") || name.starts_with("LLVM_PROFILE")
}

fn variable(name: &str) -> std::ffi::OsString {
    // Cargo sets the three that are asked for in every build script.
    env::var_os(name).unwrap_or_else(|| panic!("cargo did not set {name}"))
}
