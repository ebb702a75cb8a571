//! The library that an x86-64 ELF program needs first, where it must also be loaded first: AddressSanitizer's runtime
//! ends a program that has loaded any other library before it.
//!
//! Read piece by piece from whatever holds the file's bytes, without allocation: launcher and shim both ask.
//! [`crate::image`] says what the file is.

use crate::decide::last_component;

/// Between such a library and ours in LD_PRELOAD: by the empty entry the shim knows that both are its own.
pub const BEFORE_OURS: &[u8] = b"::";

/// Longer names are none that we look for.
const NAME: usize = 64;
const HEADER: usize = 56;
const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_SONAME: u64 = 14;

/// Whether a library, by its path or name, is one that must be loaded before any other.
#[must_use]
pub fn must_be_first(library: &[u8]) -> bool {
    let name = last_component(library);
    name.starts_with(b"libasan.so") || name.starts_with(b"libclang_rt.asan")
}

/// The name of a library, such as one that must be loaded first.
#[derive(Clone, Copy, Debug)]
pub struct First {
    bytes: [u8; NAME],
    len: usize,
}

impl First {
    /// The name, as the program asks for it.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

/// The first library that a program needs, if that must be loaded first. `head` is the beginning of the file with all its
/// program headers; `read` fills a buffer from an offset and gives how many bytes there were.
pub fn first_library(head: &[u8], read: impl Fn(&mut [u8], u64) -> usize) -> Option<First> {
    let first = name_of(DT_NEEDED, head, read)?;
    // With a separator in it, LD_PRELOAD cannot name it.
    let can_be_told = !first.name().iter().any(|byte| b": ".contains(byte));
    (can_be_told && must_be_first(first.name())).then_some(first)
}

/// Whether a file without an interpreter is the loader itself, which calls itself ld-something.
pub fn is_loader(head: &[u8], read: impl Fn(&mut [u8], u64) -> usize) -> bool {
    name_of(DT_SONAME, head, read)
        .is_some_and(|name| [&b"ld-"[..], b"ld."].iter().any(|start| name.name().starts_with(start)))
}

/// The name that the first entry with this tag refers to.
fn name_of(tag: u64, head: &[u8], read: impl Fn(&mut [u8], u64) -> usize) -> Option<First> {
    let (at, size, count) =
        (number(head, 32, 8)? as usize, number(head, 54, 2)? as usize, number(head, 56, 2)? as usize);
    let headers = (0..count).filter_map(|index| {
        let start = at.checked_add(index.checked_mul(size)?)?;
        head.get(start..start.checked_add(HEADER)?)
    });
    let dynamic = headers.clone().find(|header| number(header, 0, 4) == Some(PT_DYNAMIC))?;
    let (name, strings) = name_and_strings(tag, number(dynamic, 8, 8)?, number(dynamic, 32, 8)?, &read)?;
    // Where the strings lie in memory, and so in the file.
    let offset = headers.filter(|header| number(header, 0, 4) == Some(PT_LOAD)).find_map(|header| {
        let inside = strings.checked_sub(number(header, 16, 8)?)?;
        (inside < number(header, 32, 8)?).then(|| number(header, 8, 8)?.checked_add(inside))?
    })?;
    let mut found = First { bytes: [0; NAME], len: 0 };
    let filled = read(&mut found.bytes, offset.checked_add(name)?);
    found.len = found.bytes.get(..filled)?.iter().position(|byte| *byte == 0)?;
    Some(found)
}

/// Offset in the strings of the name that the first entry with this tag refers to, and their address.
fn name_and_strings(tag: u64, start: u64, size: u64, read: &impl Fn(&mut [u8], u64) -> usize) -> Option<(u64, u64)> {
    const ENTRY: usize = 16;
    let (mut name, mut strings) = (None, None);
    let mut chunk = [0u8; 16 * ENTRY];
    let mut done = 0;
    while done < size {
        let filled = read(&mut chunk, start.checked_add(done)?);
        for entry in chunk.get(..filled)?.chunks_exact(ENTRY) {
            match number(entry, 0, 8)? {
                0 => return None,
                this if this == tag && name.is_none() => name = number(entry, 8, 8),
                DT_STRTAB => strings = number(entry, 8, 8),
                _ => {}
            }
            if let (Some(name), Some(strings)) = (name, strings) {
                return Some((name, strings));
            }
        }
        if filled < ENTRY {
            return None;
        }
        done += filled as u64;
    }
    None
}

/// The little-endian number of `size` bytes at an offset.
pub(crate) fn number(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(size)?)?;
    Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(file: &[u8]) -> Option<String> {
        let read = |buffer: &mut [u8], at: u64| {
            let rest = usize::try_from(at).ok().and_then(|at| file.get(at..)).unwrap_or(&[]);
            let size = rest.len().min(buffer.len());
            buffer[..size].copy_from_slice(&rest[..size]);
            size
        };
        let first = first_library(&file[..file.len().min(1024)], read)?;
        Some(String::from_utf8_lossy(first.name()).into_owned())
    }

    /// A program with one load segment of the whole file at 0x400000, whose strings are a NUL, the name, and a NUL.
    fn program(name: &str, entries: &[(u64, u64)]) -> Vec<u8> {
        let mut file = vec![0u8; 64];
        file[32..40].copy_from_slice(&64u64.to_le_bytes());
        file[54..56].copy_from_slice(&56u16.to_le_bytes());
        file[56..58].copy_from_slice(&2u16.to_le_bytes());
        let dynamic = 64 + 2 * 56;
        let strings = dynamic + entries.len() * 16;
        let size = (strings + name.len() + 2) as u64;
        for (kind, offset, address, size) in
            [(1u64, 0u64, 0x40_0000, size), (2, dynamic as u64, 0x40_0000 + dynamic as u64, entries.len() as u64 * 16)]
        {
            for word in [kind, offset, address, address, size, size, 8] {
                file.extend(word.to_le_bytes());
            }
        }
        for (tag, value) in entries {
            file.extend(tag.to_le_bytes());
            let value = if *tag == DT_STRTAB { 0x40_0000 + strings as u64 } else { *value };
            file.extend(value.to_le_bytes());
        }
        file.push(0);
        file.extend(name.as_bytes());
        file.push(0);
        file
    }

    const USUAL: &[(u64, u64)] = &[(DT_NEEDED, 1), (DT_NEEDED, 9999), (12, 5), (DT_STRTAB, 0), (0, 0)];

    #[test]
    fn only_the_sanitizer_is_found_and_only_where_it_is_needed_first() {
        assert_eq!(ask(&program("libasan.so.8", USUAL)).as_deref(), Some("libasan.so.8"));
        let clang = "libclang_rt.asan-x86_64.so";
        assert_eq!(ask(&program(clang, USUAL)).as_deref(), Some(clang));
        assert_eq!(ask(&program("libc.so.6", USUAL)), None);
        assert_eq!(ask(&program("libasan.so.8", &[(DT_NEEDED, 4), (DT_NEEDED, 1), (DT_STRTAB, 0), (0, 0)])), None);
        let late: Vec<_> = [(DT_NEEDED, 1)].into_iter().chain([(12, 0); 40]).chain([(DT_STRTAB, 0), (0, 0)]).collect();
        assert_eq!(ask(&program("libasan.so.8", &late)).as_deref(), Some("libasan.so.8"), "beyond the first chunk");
    }

    #[test]
    fn the_loader_is_known_by_its_own_name() {
        let named = |name: &str| {
            let file = program(name, &[(DT_SONAME, 1), (DT_STRTAB, 0), (0, 0)]);
            is_loader(&file, |buffer, at| {
                let rest = &file[at as usize..];
                let size = rest.len().min(buffer.len());
                buffer[..size].copy_from_slice(&rest[..size]);
                size
            })
        };
        assert!(named("ld-linux-x86-64.so.2") && named("ld-musl-x86_64.so.1"));
        assert!(!named("libc.so.6") && !named(""));
    }

    #[test]
    fn nonsense_is_no_program() {
        let whole = program("libasan.so.8", USUAL);
        for end in 0..whole.len() {
            // The name's own NUL is the last byte, so every shorter file lacks something.
            assert_eq!(ask(&whole[..end]), None, "cut at {end}");
        }
        for at in 0..whole.len() {
            for byte in [0, 0x7f, 0xff] {
                let mut spoiled = whole.clone();
                spoiled[at] = byte;
                ask(&spoiled);
            }
        }
        assert_eq!(ask(&program("libasan.so.8", &[(DT_NEEDED, 1), (0, 0)])), None);
        assert_eq!(ask(&program("libasan.so.8:/x.so", USUAL)), None);
        assert_eq!(ask(&program(&format!("libasan.so{}", "x".repeat(80)), USUAL)), None);
    }
}
