//! What the kernel will make of an executable, and so which engine can reach it: from its first bytes, and a few more
//! that are read where the headers point. Without allocation: launcher and shim both ask.

use crate::elf::number;

/// So much of a file holds all headers of nearly every program.
pub const HEAD: usize = 1024;
/// The kernel looks no further for the end of a `#!` line.
const SCRIPT_LINE: usize = 256;
const PROGRAM_HEADER: usize = 56;
const PT_INTERP: u64 = 3;
const PT_NOTE: u64 = 4;
const TYPE_EXEC: u64 = 2;
const TYPE_DYN: u64 = 3;
const MACHINE_X86_64: u64 = 62;
const CLASS_64: u8 = 2;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image<'a> {
    /// A script: its first line names the program that is run.
    Script {
        /// The program.
        interpreter: &'a [u8],
        /// What follows it on the line, one argument whatever its spaces; empty: nothing.
        argument: &'a [u8],
    },
    /// Its loader brings libraries, the shim among them.
    Dynamic,
    /// As [`Image::Dynamic`], but Go's own code makes its system calls without libc.
    DynamicGo,
    /// The loader itself: what it is told to run gets the shim.
    Loader,
    /// No loader, so no shim.
    Static,
    /// For another machine, or 32 bits.
    Foreign,
    /// Neither: execve refuses it with ENOEXEC, and a shell or execvp reads it as a script of /bin/sh.
    Unknown,
}

impl Image<'_> {
    /// Whether only the kernel's own engine reaches its system calls.
    #[must_use]
    pub fn makes_its_own_system_calls(&self) -> bool {
        matches!(self, Image::Static | Image::DynamicGo)
    }
}

/// What a file is. `head` is its beginning, [`HEAD`] bytes where there are so many; `read` fills a buffer from an offset
/// and gives how many bytes there were.
pub fn image<'a>(head: &'a [u8], read: impl Fn(&mut [u8], u64) -> usize) -> Image<'a> {
    if let Some(script) = head.strip_prefix(b"#!") {
        return script_of(script);
    }
    if !head.starts_with(b"\x7fELF") {
        return Image::Unknown;
    }
    let is_program = matches!(number(head, 16, 2), Some(TYPE_EXEC | TYPE_DYN));
    if head.get(4) != Some(&CLASS_64) || number(head, 18, 2) != Some(MACHINE_X86_64) {
        return if is_program { Image::Foreign } else { Image::Unknown };
    }
    let Some(headers) = Headers::of(head, &read).filter(|_| is_program) else { return Image::Unknown };
    let (mut dynamic, mut go) = (false, false);
    for header in headers.all() {
        // What is cut off before its headers end is refused by the kernel, too.
        let Some(header) = header else { return Image::Unknown };
        match number(&header, 0, 4) {
            Some(PT_INTERP) => dynamic = true,
            Some(PT_NOTE) => go |= headers.is_gos_note(&header),
            _ => {}
        }
    }
    match (dynamic, go) {
        (true, true) => Image::DynamicGo,
        (true, false) => Image::Dynamic,
        (false, _) if crate::elf::is_loader(head, read) => Image::Loader,
        (false, _) => Image::Static,
    }
}

/// Splits a `#!` line as the kernel does.
fn script_of(script: &[u8]) -> Image<'_> {
    let script = script.get(..SCRIPT_LINE - 2).unwrap_or(script);
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let end = script.iter().position(|byte| *byte == b'\n');
    // Where the line does not end in time, its last byte makes room for a NUL.
    let last = script.len().min(SCRIPT_LINE - 3);
    let line = trim(script.get(..end.unwrap_or(last)).unwrap_or(&[]));
    let split = line.iter().position(is_blank);
    let (interpreter, argument) = line.split_at_checked(split.unwrap_or(line.len())).unwrap_or((line, &[]));
    // Of a line that goes on beyond what the kernel reads, the program's name may be cut.
    let cut = end.is_none() && split.is_none() && script.len() == SCRIPT_LINE - 2;
    if interpreter.is_empty() || cut {
        return Image::Unknown;
    }
    Image::Script { interpreter, argument: trim(argument) }
}

/// Without blanks around; NUL ends a line as well.
fn trim(line: &[u8]) -> &[u8] {
    let line = line.split(|byte| *byte == 0).next().unwrap_or(&[]);
    let mut line = line;
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = line {
        line = rest;
    }
    line
}

/// The program headers of an ELF file.
struct Headers<'a, R> {
    head: &'a [u8],
    read: &'a R,
    at: u64,
    size: u64,
    count: u64,
}

impl<'a, R: Fn(&mut [u8], u64) -> usize> Headers<'a, R> {
    fn of(head: &'a [u8], read: &'a R) -> Option<Headers<'a, R>> {
        let (at, size, count) = (number(head, 32, 8)?, number(head, 54, 2)?, number(head, 56, 2)?);
        // The kernel takes no other size.
        (size == PROGRAM_HEADER as u64).then_some(Headers { head, read, at, size, count })
    }

    /// All of them; `None` for one that the file does not have.
    fn all(&self) -> impl Iterator<Item = Option<[u8; PROGRAM_HEADER]>> {
        (0..self.count).map(|index| {
            let mut header = [0; PROGRAM_HEADER];
            self.fill(&mut header, self.at.checked_add(index * self.size)?)
        })
    }

    /// Bytes from the file; of those that are in the head, without a read.
    fn fill<const N: usize>(&self, buffer: &mut [u8; N], at: u64) -> Option<[u8; N]> {
        let start = usize::try_from(at).ok()?;
        if let Some(there) = start.checked_add(N).and_then(|end| self.head.get(start..end)) {
            buffer.copy_from_slice(there);
            return Some(*buffer);
        }
        ((self.read)(buffer, at) == N).then_some(*buffer)
    }

    /// Whether a note segment begins with the build ID that Go's linker writes.
    fn is_gos_note(&self, header: &[u8]) -> bool {
        const TYPE_BUILD_ID: u64 = 4;
        let note = number(header, 8, 8).and_then(|at| self.fill(&mut [0; 16], at));
        note.is_some_and(|note| note.get(12..) == Some(b"Go\0\0") && number(&note, 8, 4) == Some(TYPE_BUILD_ID))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(file: &[u8]) -> Image<'_> {
        let read = |buffer: &mut [u8], at: u64| {
            let rest = usize::try_from(at).ok().and_then(|at| file.get(at..)).unwrap_or(&[]);
            let size = rest.len().min(buffer.len());
            buffer[..size].copy_from_slice(&rest[..size]);
            size
        };
        image(&file[..file.len().min(HEAD)], read)
    }

    /// A program with these segments: kind, offset; its headers at an offset.
    fn program(headers_at: usize, segments: &[(u64, u64)]) -> Vec<u8> {
        let mut file = vec![0u8; headers_at.max(64)];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[16] = 3;
        file[18] = 62;
        file[32..40].copy_from_slice(&(headers_at as u64).to_le_bytes());
        file[54] = 56;
        file[56] = u8::try_from(segments.len()).unwrap();
        for (kind, offset) in segments {
            let mut header = [0u8; PROGRAM_HEADER];
            header[..8].copy_from_slice(&kind.to_le_bytes());
            header[8..16].copy_from_slice(&offset.to_le_bytes());
            file.extend(header);
        }
        file
    }

    fn script(line: &str) -> Option<(String, String)> {
        match ask(line.as_bytes()) {
            Image::Script { interpreter, argument } => Some((
                String::from_utf8_lossy(interpreter).into_owned(),
                String::from_utf8_lossy(argument).into_owned(),
            )),
            Image::Unknown => None,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn an_interpreter_makes_it_dynamic_wherever_the_headers_are() {
        for at in [64, 900, 5000] {
            assert_eq!(ask(&program(at, &[(1, 0), (3, 0)])), Image::Dynamic, "{at}");
            assert_eq!(ask(&program(at, &[(1, 0), (6, 0)])), Image::Static, "{at}");
            let whole = program(at, &[(1, 0), (3, 0)]);
            assert_eq!(ask(&whole[..whole.len() - 1]), Image::Unknown, "{at}");
        }
    }

    #[test]
    fn gos_note_tells_a_dynamic_go_program() {
        for note_at in [400u64, 3996] {
            let mut file = program(64, &[(3, 0), (4, 300), (4, note_at)]);
            file.resize(5000, 0);
            file[note_at as usize..][..16].copy_from_slice(b"\x04\0\0\0\x53\0\0\0\x04\0\0\0Go\0\0");
            assert_eq!(ask(&file), Image::DynamicGo, "{note_at}");
            file[note_at as usize + 8] = 3;
            assert_eq!(ask(&file), Image::Dynamic, "{note_at}");
        }
    }

    #[test]
    fn what_cannot_be_run_here_is_told_from_what_is_no_program() {
        let whole = program(64, &[(3, 0)]);
        let with = |at: usize, byte: u8| {
            let mut file = whole.clone();
            file[at] = byte;
            file
        };
        assert_eq!(ask(&with(4, 1)), Image::Foreign, "32 bits");
        assert_eq!(ask(&with(18, 183)), Image::Foreign, "another machine");
        assert_eq!(ask(&with(16, 1)), Image::Unknown, "an object file");
        assert_eq!(ask(&with(54, 32)), Image::Unknown, "headers of another size");
        assert_eq!(ask(b""), Image::Unknown);
        assert_eq!(ask(b"echo hello\n"), Image::Unknown);
        for end in 0..whole.len() {
            ask(&whole[..end]);
        }
        for at in 0..whole.len() {
            for byte in [0, 0x7f, 0xff] {
                ask(&with(at, byte));
            }
        }
    }

    #[test]
    fn script_lines_are_split_as_the_kernel_splits_them() {
        let is = |interpreter: &str, argument: &str| Some((interpreter.to_owned(), argument.to_owned()));
        assert_eq!(script("#!/bin/sh\n"), is("/bin/sh", ""));
        assert_eq!(script("#! \t/bin/sh -e \t\nx"), is("/bin/sh", "-e"));
        assert_eq!(script("#!/usr/bin/env -S a  b\n"), is("/usr/bin/env", "-S a  b"));
        assert_eq!(script("#!/bin/sh"), is("/bin/sh", ""), "no end of line");
        assert_eq!(script("#!/bin/sh\r\n"), is("/bin/sh\r", ""), "as the kernel, which then finds no such file");
        assert_eq!(script("#!\n/bin/sh"), None);
        assert_eq!(script("#!  \n"), None);
        assert_eq!(script("#!"), None);
        let long = format!("#!/{}\n", "x".repeat(300));
        assert_eq!(script(&long), None, "a name that the kernel would cut");
        let long = format!("#!/bin/sh {}\n", "x".repeat(300));
        assert_eq!(script(&long), is("/bin/sh", &"x".repeat(245)), "an argument is cut");
    }
}
