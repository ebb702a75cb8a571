//! The shim that the launcher carries inside, and the environment that makes a target load it.

use crate::error::{Failure, Result};
use chaos_table::elf::{self, First};
use chaos_table::env;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The shim, as build.rs made it.
pub const SHIM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libchaos_shim.so"));

/// What every shim's file is called, unless somebody renames it.
const SHIM_NAME: &str = "/libchaos_shim.so";

/// Refuses to run where another chaos-exec's shim is loaded: it would follow the target in place of ours, which would
/// then inject nothing. The environment does not tell, since a shim hides itself there.
///
/// # Errors
/// When this launcher is itself a target.
pub fn refuse_to_nest() -> Result<()> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    if maps.lines().any(|line| line.ends_with(SHIM_NAME)) {
        let why = "this chaos-exec runs under another one, whose shim would keep this one's from its target";
        return Err(Failure::new(why).help("give both tables to the outer one: -t and -f add up"));
    }
    Ok(())
}

const LD_PRELOAD: &[u8] = b"LD_PRELOAD";

/// The target's environment: the launcher's own in its order, without what the launcher has read from it, with the
/// shim before what the user preloads, but behind a library that has to be first: what the target needs of that kind
/// (`first`), or what the user preloads of it. With the seed of a run whose first process the seccomp engine has, shims
/// below it find out that they are.
#[must_use]
pub fn target_environment(
    inherited: &[CString],
    shim: &Path,
    session: &Path,
    first: Option<&First>,
    supervised: Option<u64>,
) -> Vec<CString> {
    let shim = shim.as_os_str().as_bytes();
    let users = inherited.iter().find(|entry| name_of(entry.as_bytes()) == LD_PRELOAD);
    let users = users.map_or(&b""[..], |entry| &entry.as_bytes()[LD_PRELOAD.len() + 1..]);
    let users_is_first = users.split(|byte| b": ".contains(byte)).any(elf::must_be_first);
    let ours = match first {
        Some(first) if !users_is_first => [first.name(), elf::BEFORE_OURS, shim].concat(),
        _ => shim.to_vec(),
    };
    let mut preload = [LD_PRELOAD, b"="].concat();
    let mut users_at = None;
    let mut environment: Vec<CString> = Vec::with_capacity(inherited.len() + 2);
    for entry in inherited {
        let name = name_of(entry.as_bytes());
        if name == LD_PRELOAD && users_at.is_none() {
            // An empty list keeps its colon: by it the shim knows that the variable was set.
            let (one, other) = if users_is_first { (users, &ours[..]) } else { (&ours[..], users) };
            preload.extend_from_slice(&[one, b":", other].concat());
            users_at = Some(environment.len());
            environment.push(CString::default());
        } else if !is_ours(name) {
            environment.push(entry.clone());
        }
    }
    match users_at {
        Some(at) => environment[at] = c_string(preload),
        None => environment.push(c_string([&preload[..], &ours].concat())),
    }
    environment.push(c_string([env::SESSION.as_bytes(), b"=", session.as_os_str().as_bytes()].concat()));
    if let Some(seed) = supervised {
        // A place as shims tell it, with no slot, and the sign that the seccomp engine knows better.
        let place = format!("{}=0,{:016x},0,-,-,s", env::LINEAGE, chaos_table::lineage::root(seed));
        environment.push(c_string(place.into_bytes()));
    }
    environment
}

/// The environment of a target without a shim: the launcher's own, without what the launcher has read from it.
#[must_use]
pub fn own_environment(inherited: &[CString]) -> Vec<CString> {
    inherited.iter().filter(|entry| !is_ours(name_of(entry.as_bytes()))).cloned().collect()
}

/// The name of an entry; empty for what is no `NAME=value`.
fn name_of(entry: &[u8]) -> &[u8] {
    entry.iter().position(|byte| *byte == b'=').map_or(&[], |end| &entry[..end])
}

fn is_ours(name: &[u8]) -> bool {
    name.starts_with(b"_CHAOS_") || env::PUBLIC.iter().any(|public| public.as_bytes() == name)
}

fn c_string(mut bytes: Vec<u8>) -> CString {
    // Paths and environment entries have no NUL inside; cutting there is what the system would do.
    bytes.truncate(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
    CString::new(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(inherited: &[&str]) -> Vec<String> {
        let inherited: Vec<CString> = inherited.iter().map(|entry| CString::new(*entry).unwrap()).collect();
        let made = target_environment(&inherited, Path::new("/s/shim.so"), Path::new("/s/session"), None, None);
        made.into_iter().map(|entry| entry.into_string().unwrap()).collect()
    }

    #[test]
    fn order_doubles_and_odd_entries_are_kept() {
        let made = environment(&["B=2", "A=1", "B=3", "odd", "=odd"]);
        assert_eq!(made[..5], ["B=2", "A=1", "B=3", "odd", "=odd"]);
    }

    #[test]
    fn the_users_preload_stays_behind_ours_at_its_place() {
        let made = environment(&["A=1", "LD_PRELOAD=/x.so /y.so", "Z=1"]);
        assert_eq!(made, ["A=1", "LD_PRELOAD=/s/shim.so:/x.so /y.so", "Z=1", "_CHAOS_SESSION=/s/session"]);
        assert!(environment(&["LD_PRELOAD="]).contains(&"LD_PRELOAD=/s/shim.so:".to_owned()));
        let made = environment(&["LD_PRELOAD=/x.so:/lib/libasan.so.8"]);
        assert_eq!(made[0], "LD_PRELOAD=/x.so:/lib/libasan.so.8:/s/shim.so");
    }

    #[test]
    fn what_the_launcher_has_read_is_taken_out_and_nothing_else() {
        let made = environment(&["CHAOS_SEED=1", "_CHAOS_SESSION=/old", "_CHAOS_LINEAGE=0.1", "CHAOS_MONKEY=1"]);
        assert_eq!(made, ["CHAOS_MONKEY=1", "LD_PRELOAD=/s/shim.so", "_CHAOS_SESSION=/s/session"]);
    }
}
