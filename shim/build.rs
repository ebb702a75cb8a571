//! Links the unwinder statically: loading libgcc_s costs every exec some 100 us.
//!
//! Rust's std asks for `-lgcc_s`. A linker script of that name, found first, gives it the static one instead.

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    let dir = PathBuf::from(out).join("unwinder");
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("libgcc_s.so"), "GROUP ( -lgcc_eh -lgcc )\n")?;
    println!("cargo::rustc-link-search=native={}", dir.display());
    // Functions in the order of their names: what every exec runs then lies on few pages, apart from the parsers that
    // only the first process may need.
    println!("cargo::rustc-cdylib-link-arg=-Wl,--sort-section=name");
    // No crti.o and crtbegin.o: what they run at start and exit does nothing here, and lies on pages of its own.
    println!("cargo::rustc-cdylib-link-arg=-nostartfiles");
    // No read-only relocations: they cost a system call and a split mapping in every exec, 12 us, and protect little
    // here, since the pointers to the real functions must stay writable anyway.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,norelro");
    Ok(())
}
