//! The modules that are loaded, in the order in which the loader looks for symbols.
//!
//! The list is the one that the loader keeps for debuggers: no call is made to find it, for such a call may be somebody
//! else's (ThreadSanitizer has a dl_iterate_phdr of its own, which fails before it is set up) and takes a lock, which a
//! forked child may find taken. What another thread loads or unloads meanwhile stands behind all that was there at the start:
//! only a name that libc lacks is looked for there.

use crate::elf::{Module, Name};
use std::ffi::{CStr, c_char, c_int, c_void};

/// What debuggers know of a module. The members that every libc has.
#[repr(C)]
struct LinkMap {
    base: usize,
    path: *const c_char,
    dynamic: *const [usize; 2],
    next: *const LinkMap,
}

/// What the loader tells debuggers.
#[repr(C)]
struct Debug {
    version: c_int,
    first: *const LinkMap,
}

/// One loaded module.
pub struct Loaded {
    base: usize,
    path: *const c_char,
    dynamic: *const [usize; 2],
}

impl Loaded {
    /// The path by which the loader knows it; empty for the program itself. It lives as long as the module is loaded.
    pub fn path(&self) -> &'static CStr {
        if self.path.is_null() {
            return c"";
        }
        // SAFETY: the loader's own string.
        unsafe { CStr::from_ptr(self.path) }
    }

    /// The load address: what the addresses in the file are relative to.
    pub const fn base(&self) -> usize {
        self.base
    }

    /// Its program headers.
    pub fn headers(&self) -> &[libc::Elf64_Phdr] {
        let (first, own) = (program_headers(), self.base as *const libc::Elf64_Ehdr);
        if self.base == load_address(first) {
            return first;
        }
        // SAFETY: a module but the program begins with its ELF header, behind which its program headers are mapped.
        unsafe {
            if (*own).e_ident.first_chunk::<4>() != Some(b"\x7fELF") {
                return &[];
            }
            let at = (self.base + (*own).e_phoff as usize) as *const libc::Elf64_Phdr;
            std::slice::from_raw_parts(at, usize::from((*own).e_phnum))
        }
    }

    /// The first address that it occupies and the one behind its last.
    pub fn range(&self) -> (usize, usize) {
        let parts = self.headers().iter().filter(|header| header.p_type == libc::PT_LOAD);
        let ends = parts.map(|part| (part.p_vaddr as usize, (part.p_vaddr + part.p_memsz) as usize));
        let (first, end) = ends.fold((usize::MAX, 0), |(low, high), (first, end)| (low.min(first), high.max(end)));
        (self.base.wrapping_add(first), self.base.wrapping_add(end))
    }

    /// Whether an address lies in it.
    pub fn holds(&self, address: usize) -> bool {
        self.headers().iter().any(|header| {
            let first = self.base.wrapping_add(header.p_vaddr as usize);
            header.p_type == libc::PT_LOAD && address.wrapping_sub(first) < header.p_memsz as usize
        })
    }

    fn symbols(&self) -> Option<Module> {
        // SAFETY: the dynamic section of a loaded module.
        unsafe { Module::new(self.base, self.dynamic) }
    }

    fn is_ours(&self) -> bool {
        unsafe extern "C" {
            #[link_name = "_DYNAMIC"]
            static DYNAMIC: [usize; 2];
        }
        std::ptr::eq(self.dynamic, &raw const DYNAMIC)
    }
}

std::arch::global_asm!(".hidden _DYNAMIC");

/// The program's own headers, as the kernel has mapped them.
fn program_headers() -> &'static [libc::Elf64_Phdr] {
    // SAFETY: getauxval takes no pointer.
    let (at, count) = unsafe { (libc::getauxval(libc::AT_PHDR), libc::getauxval(libc::AT_PHNUM)) };
    if at == 0 {
        return &[];
    }
    // SAFETY: the kernel says where they are and how many; they stay.
    unsafe { std::slice::from_raw_parts(at as *const libc::Elf64_Phdr, count as usize) }
}

/// Where the program is, by its headers: they tell of themselves, or else lie behind the ELF header, where the file begins.
fn load_address(headers: &[libc::Elf64_Phdr]) -> usize {
    let at = headers.as_ptr() as usize;
    let own = headers.iter().find(|header| header.p_type == libc::PT_PHDR);
    let start = || headers.iter().find(|header| header.p_type == libc::PT_LOAD && header.p_offset == 0);
    match own {
        Some(own) => at.wrapping_sub(own.p_vaddr as usize),
        None => start().map_or(0, |start| at.wrapping_sub(size_of::<libc::Elf64_Ehdr>() + start.p_vaddr as usize)),
    }
}

/// What the loader has written into the program's dynamic section for debuggers.
#[unsafe(link_section = ".text.chaos_start")]
fn first_of_list() -> Option<*const LinkMap> {
    const DT_DEBUG: usize = 21;
    let headers = program_headers();
    let dynamic = headers.iter().find(|header| header.p_type == libc::PT_DYNAMIC)?;
    let mut entry = load_address(headers).wrapping_add(dynamic.p_vaddr as usize) as *const [usize; 2];
    loop {
        // SAFETY: the program's own dynamic section, which ends with a zero tag; the loader's structure.
        unsafe {
            match *entry {
                [0, _] | [DT_DEBUG, 0] => return None,
                [DT_DEBUG, found] => return Some((*(found as *const Debug)).first),
                _ => entry = entry.add(1),
            }
        }
    }
}

/// Visits the modules in the loader's order until `visit` says that it is done.
pub fn each(mut visit: impl FnMut(&Loaded) -> bool) {
    let Some(mut map) = first_of_list() else { return each_by_libc(visit) };
    // SAFETY: the loader's list, which ends with NULL.
    while let Some(LinkMap { base, path, dynamic, next }) = unsafe { map.as_ref() } {
        if !dynamic.is_null() && visit(&Loaded { base: *base, path: *path, dynamic: *dynamic }) {
            return;
        }
        map = *next;
    }
}

/// As [`each`], for a program that was linked without a place for debuggers.
#[cold]
fn each_by_libc<F: FnMut(&Loaded) -> bool>(mut visit: F) {
    unsafe extern "C" fn call<F: FnMut(&Loaded) -> bool>(
        info: *mut libc::dl_phdr_info,
        _: usize,
        visit: *mut c_void,
    ) -> c_int {
        // SAFETY: the loader passes one module and its headers, and what `each_by_libc` has given it.
        unsafe {
            let base = (*info).dlpi_addr as usize;
            let headers = std::slice::from_raw_parts((*info).dlpi_phdr, usize::from((*info).dlpi_phnum));
            let Some(dynamic) = headers.iter().find(|header| header.p_type == libc::PT_DYNAMIC) else { return 0 };
            let dynamic = base.wrapping_add(dynamic.p_vaddr as usize) as *const [usize; 2];
            c_int::from((*visit.cast::<F>())(&Loaded { base, path: (*info).dlpi_name, dynamic }))
        }
    }
    // SAFETY: `visit` lives through the call, and is used by it alone.
    unsafe { libc::dl_iterate_phdr(Some(call::<F>), (&raw mut visit).cast()) };
}

/// As dlsym with RTLD_NEXT, from here.
#[unsafe(link_section = ".text.chaos_start")]
pub fn next(name: Name<'_>) -> Option<*mut c_void> {
    next_by(|module| module.find(name))
}

/// As dlvsym with RTLD_NEXT, from here.
pub fn next_version(name: Name<'_>, version: &CStr) -> Option<*mut c_void> {
    next_by(|module| module.find_version(name, version))
}

fn next_by(look: impl Fn(&Module) -> Option<*mut c_void>) -> Option<*mut c_void> {
    let mut found = None;
    let mut behind = false;
    each(|loaded| {
        if behind {
            found = loaded.symbols().and_then(|module| look(&module));
        }
        behind |= loaded.is_ours();
        found.is_some()
    });
    found
}

/// As dlsym with RTLD_DEFAULT.
pub fn first(name: Name<'_>) -> Option<*mut c_void> {
    // SAFETY: getauxval takes no pointer.
    let kernels_own = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) } as usize;
    let mut found = None;
    each(|loaded| {
        // The vDSO is no part of the loader's search.
        if kernels_own != 0 && loaded.base == kernels_own {
            return false;
        }
        found = loaded.symbols().and_then(|module| module.find(name));
        found.is_some()
    });
    found
}

/// What `look` makes of our own module.
pub fn ours<T>(look: impl Fn(&Loaded) -> T) -> Option<T> {
    find(Loaded::is_ours, look)
}

/// What `look` makes of the module that an address lies in.
pub fn of<T>(address: usize, look: impl Fn(&Loaded) -> T) -> Option<T> {
    find(|loaded| loaded.holds(address), look)
}

fn find<T>(is_it: impl Fn(&Loaded) -> bool, look: impl Fn(&Loaded) -> T) -> Option<T> {
    let mut found = None;
    each(|loaded| {
        if is_it(loaded) {
            found = Some(look(loaded));
        }
        found.is_some()
    });
    found
}
