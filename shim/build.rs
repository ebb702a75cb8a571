//! Links the unwinder statically: loading libgcc_s costs every exec some 100 us.
//!
//! Rust's std asks for `-lgcc_s`. A linker script of that name, found first, gives it the static one instead.

use std::path::PathBuf;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let dir = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("unwinder");
    std::fs::create_dir_all(&dir).expect("OUT_DIR is writable");
    std::fs::write(dir.join("libgcc_s.so"), "GROUP ( -lgcc_eh -lgcc )\n").expect("OUT_DIR is writable");
    println!("cargo::rustc-link-search=native={}", dir.display());
}
