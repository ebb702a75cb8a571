//! How the shim is linked: with the unwinder inside, and some names in the versions that glibc has of them.
//!
//! Loading libgcc_s costs every exec some 100 us. Rust's std asks for `-lgcc_s`: a linker script of that name, found
//! first, gives it the static one instead.

use std::path::PathBuf;
use std::{env, fs, io};

/// The versions that `versions.rs` and the hooks name. The first must come first: what was linked without versions is
/// bound to it.
const VERSIONS: &str = "\
GLIBC_2.2.5 {};
GLIBC_2.3 {} GLIBC_2.2.5;
GLIBC_2.3.2 {} GLIBC_2.3;
GLIBC_2.3.3 {} GLIBC_2.3.2;
GLIBC_2.15 {} GLIBC_2.3.3;
GLIBC_2.34 {} GLIBC_2.15;
";

/// Where some parts go; the linker's own rules hold for the rest. What every exec runs lies with the tables that it reads,
/// and the beginning of thread-local data with what the loader writes: each page that a process comes upon costs 1 to 3 us.
/// What is left out keeps the arguments for `std::env::args`, which nobody asks for here: its code lies on a page of its
/// own, and would run in every exec.
const LAYOUT: &str = "\
SECTIONS { chaos_start : { *(.text.chaos_start) } } INSERT AFTER chaos_names;
SECTIONS { .tdata : { *(.tdata .tdata.*) } .tbss : { *(.tbss .tbss.*) } } INSERT AFTER .data;
SECTIONS { /DISCARD/ : { *(.init_array.00099) } } INSERT AFTER chaos_start;
";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?);
    let dir = out.join("unwinder");
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
    println!("cargo::rustc-cdylib-link-arg=-Wl,--no-rosegment");
    // rustc names what is exported by a script of its own; rust-lld takes this one beside it.
    let script = out.join("versions.map");
    fs::write(&script, VERSIONS)?;
    println!("cargo::rustc-cdylib-link-arg=-Wl,--version-script={}", script.display());
    let layout = out.join("layout.ld");
    fs::write(&layout, LAYOUT)?;
    println!("cargo::rustc-cdylib-link-arg=-Wl,-T,{}", layout.display());
    // Else the path of the build would stand in the table of versions.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libchaos_shim.so");
    Ok(())
}
