//! The native backtrace of a thread that stands still: its frames by the unwind tables of the files that it maps, with
//! the names of their symbol tables. Nothing is run or changed in the process; everything that is read of it is
//! checked, as a process that crashes may have any stack.

use crate::sys::ptrace::Registers;
use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64};
use framehop::{ExplicitModuleSectionInfo, Unwinder};
use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol, ReadCache, SymbolKind};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Frames that are shown: endless recursion is a common crash.
const MAX_FRAMES: usize = 100;
/// Files that a process maps as code.
const MAX_FILES: usize = 500;
/// Bytes of one section.
const MAX_SECTION: u64 = 64 << 20;

/// A file that the process maps as code.
struct Module {
    path: String,
    /// Where it lies.
    range: Range<u64>,
    /// What is added to an address of the file.
    bias: u64,
    cache: ReadCache<File>,
}

/// The frames of a thread, the innermost first, a line each; with the reason when there are none.
#[must_use]
pub fn frames(pid: i32, registers: Registers) -> String {
    let modules = modules(pid);
    let mut unwinder = UnwinderX86_64::<Vec<u8>>::new();
    modules.iter().filter_map(Module::unwinding).for_each(|module| unwinder.add_module(module));
    let mut cache = CacheX86_64::<_>::new();
    let Ok(memory) = File::open(format!("/proc/{pid}/mem")) else { return "its memory cannot be read\n".into() };
    let mut read = |address: u64| {
        let mut word = [0; 8];
        memory.read_exact_at(&mut word, address).map(|()| u64::from_le_bytes(word)).map_err(drop)
    };
    let Registers { ip, sp, bp, .. } = registers;
    let mut frames = unwinder.iter_frames(ip, UnwindRegsX86_64::new(ip, sp, bp), &mut cache, &mut read);
    let mut lines = String::new();
    for number in 0..MAX_FRAMES {
        let Ok(Some(frame)) = frames.next() else { return lines };
        let address = frame.address_for_lookup();
        let module = modules.iter().find(|module| module.range.contains(&address));
        let place = module.map_or_else(|| "?".into(), |module| module.place(address));
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "#{number:<3} {:#018x}  {place}", frame.address());
    }
    lines + "...\n"
}

/// The files that a process maps as code.
fn modules(pid: i32) -> Vec<Module> {
    let maps = fs::read(format!("/proc/{pid}/maps")).unwrap_or_default();
    let maps = String::from_utf8_lossy(&maps).into_owned();
    let mut modules: Vec<Module> = Vec::new();
    for (range, executable, offset, path) in maps.lines().filter_map(mapping) {
        if let Some(module) = modules.iter_mut().find(|module| module.path == path) {
            module.range.end = module.range.end.max(range.end);
        } else if executable && modules.len() < MAX_FILES {
            modules.extend(Module::open(pid, path, range, offset));
        }
    }
    modules
}

/// Where it lies, whether it is code, its place in the file, and the file.
fn mapping(line: &str) -> Option<(Range<u64>, bool, u64, &str)> {
    let mut words = line.splitn(6, ' ');
    let (from, to) = words.next()?.split_once('-')?;
    let range = u64::from_str_radix(from, 16).ok()?..u64::from_str_radix(to, 16).ok()?;
    let executable = words.next()?.contains('x');
    let offset = u64::from_str_radix(words.next()?, 16).ok()?;
    let path = words.nth(2)?.trim_start();
    path.starts_with('/').then_some((range, executable, offset, path))
}

impl Module {
    fn open(pid: i32, path: &str, range: Range<u64>, offset: u64) -> Option<Module> {
        // As the process sees it, which may be in a root of its own.
        let file = File::open(format!("/proc/{pid}/root{path}")).ok()?;
        let cache = ReadCache::new(file);
        let bias = {
            let object = object::File::parse(&cache).ok()?;
            let segment = object.segments().find(|segment| {
                let (start, size) = segment.file_range();
                // A mapping begins at a page.
                (start & !0xfff..start.saturating_add(size)).contains(&offset)
            })?;
            let (start, _) = segment.file_range();
            range.start.wrapping_sub(segment.address().wrapping_add(offset).wrapping_sub(start))
        };
        Some(Module { path: path.to_owned(), range, bias, cache })
    }

    /// What framehop wants to know.
    fn unwinding(&self) -> Option<framehop::Module<Vec<u8>>> {
        let object = object::File::parse(&self.cache).ok()?;
        let svma = |name: &str| {
            object
                .section_by_name(name)
                .map(|section| section.address()..section.address().saturating_add(section.size()))
        };
        let data = |name: &str| {
            let section = object.section_by_name(name).filter(|section| section.size() <= MAX_SECTION)?;
            section.data().ok().map(<[u8]>::to_vec)
        };
        let sections = ExplicitModuleSectionInfo {
            text_svma: svma(".text"),
            text: data(".text"),
            got_svma: svma(".got"),
            eh_frame_svma: svma(".eh_frame"),
            eh_frame: data(".eh_frame"),
            eh_frame_hdr_svma: svma(".eh_frame_hdr"),
            eh_frame_hdr: data(".eh_frame_hdr"),
            ..ExplicitModuleSectionInfo::default()
        };
        Some(framehop::Module::new(self.path.clone(), self.range.clone(), self.bias, sections))
    }

    /// An address in words: the function and how far in, the file and where there.
    fn place(&self, address: u64) -> String {
        let inside = address.wrapping_sub(self.bias);
        match self.function(inside) {
            Some((name, from)) => format!("{name}+{:#x} ({}+{inside:#x})", inside - from, self.path),
            None => format!("{}+{inside:#x}", self.path),
        }
    }

    fn function(&self, inside: u64) -> Option<(String, u64)> {
        let object = object::File::parse(&self.cache).ok()?;
        let symbols = object.symbols().chain(object.dynamic_symbols());
        let around = |symbol: &object::Symbol<'_, '_, _>| {
            let end = symbol.address().saturating_add(symbol.size().max(1));
            symbol.kind() == SymbolKind::Text && (symbol.address()..end).contains(&inside)
        };
        // Among several names of one place, the one that begins last.
        let found = symbols.filter(around).max_by_key(ObjectSymbol::address)?;
        Some((found.name().ok()?.to_owned(), found.address()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_maps_is_a_file_or_nothing() {
        let code = "7f00-7f10 r-xp 00002000 fd:00 1234                       /lib/a b.so";
        assert_eq!(mapping(code), Some((0x7f00..0x7f10, true, 0x2000, "/lib/a b.so")));
        for odd in
            ["", "7f00-7f10", "7f00-7f10 rw-p 0 00:00 0 [heap]", "x-y r-xp 0 0:0 0 /a", "7f00-7f10 rw-p 0 00:00 0"]
        {
            assert_eq!(mapping(odd), None, "{odd}");
        }
    }
}
