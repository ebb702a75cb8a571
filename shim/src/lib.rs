//! The LD_PRELOAD shim of chaos-exec.
//!
//! The life of one intercepted call, from top to bottom:
//!
//! 1. A naked entry (`real.rs`) compares one word of the compiled table with zero and, when no rule is on the call,
//!    jumps to the real function: no frame, no lock, no system call, no shared line written.
//! 2. Otherwise the hook in `hooks/` asks `call.rs`, which takes the thread's token (`guard.rs`), finds the rules whose
//!    selectors match (`select.rs`; `fds.rs` knows what each descriptor is, `paths.rs` where a path leads) and lets
//!    `chaos_table::decide` count and draw.
//! 3. Nothing fired: the hook calls the real function, the token long given back.
//! 4. Something fired: `call.rs` reads the identity of the descriptor from the kernel again, refuses what no kernel
//!    could do there, publishes the record (`log.rs`, which `resource.rs` gives a name), and only then does
//!    `effects.rs` touch the call.
//! 5. `tree.rs` knows who this process and thread are and claims their `slots.rs` in the session; `children.rs` passes
//!    the session on in environments; `init.rs` attaches, arms (`signs.rs`: when a runtime has booted), and hides us.
//!    A rule that is added later is taken up by `learn.rs`, when a call first meets its bit.
//! 6. `loaded.rs` walks the loaded modules and `elf.rs` looks into their symbol tables, in place of dlsym; `portable.rs`
//!    has what std needs and some libc lacks: one file serves every glibc from 2.17 on, and musl. `versions.rs` has the
//!    names that stand for two functions in glibc.
//! 7. `watch.rs` sees what a program gets over: while an operation has open episodes, its calls are made by way of it.
//!
//! 8. `ahead.rs` makes the draws of a plain rate ahead, so that most calls that pass need no more than the entry.
//! 9. `timing.rs` counts how long the calls took that rules match, where that was asked for, on the same way.
//!
//! What a program asks of us by name is in `api/`: the functions of `include/chaos.h`, and `chaos_fail` in
//! `hooks/point.rs`.
//!
//! Quotas of disk (`disk.rs`) know what each file has taken.
//!
//! House rules. While armed, nothing here allocates, locks, panics, or owns a descriptor; system calls of our own go
//! through `sys.rs` and leave errno alone; the token is held around our own code only, never around the real call.
//! `real.rs`, `guard.rs` and `sys.rs` hold what is bound to x86-64.

#![expect(non_snake_case, reason = "modules are named after the symbols of libc")]

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
compile_error!("the shim is written for x86-64 Linux");

mod ahead;
mod api;
mod call;
mod census;
mod children;
mod clock;
mod connects;
mod counted;
mod descriptors;
mod disk;
mod edges;
mod effects;
mod elf;
mod fds;
mod guard;
mod handing;
mod hooks;
mod init;
mod learn;
mod loaded;
mod log;
mod memory;
mod modules;
mod moved;
mod paths;
mod portable;
mod real;
mod resource;
mod select;
mod session;
mod signs;
mod slots;
mod standalone;
mod stream;
mod supervised;
mod sys;
mod target;
mod text;
mod timing;
mod tree;
mod versions;
mod wall;
mod watch;
