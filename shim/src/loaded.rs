//! The modules that are loaded, in the order in which the loader looks for symbols.

use crate::elf::{Module, Name};
use std::ffi::{CStr, c_int, c_void};

/// One loaded module.
pub struct Loaded<'a>(&'a libc::dl_phdr_info);

impl Loaded<'_> {
    /// The path by which the loader knows it; empty for the program itself. It lives as long as the module is loaded.
    pub fn path(&self) -> &'static CStr {
        if self.0.dlpi_name.is_null() {
            return c"";
        }
        // SAFETY: the loader's own string.
        unsafe { CStr::from_ptr(self.0.dlpi_name) }
    }

    /// The load address: what the addresses in the file are relative to.
    pub fn base(&self) -> usize {
        self.0.dlpi_addr as usize
    }

    /// Its program headers.
    pub fn headers(&self) -> &[libc::Elf64_Phdr] {
        // SAFETY: the loader's own list.
        unsafe { std::slice::from_raw_parts(self.0.dlpi_phdr, usize::from(self.0.dlpi_phnum)) }
    }

    /// The first address that it occupies and the one behind its last.
    pub fn range(&self) -> (usize, usize) {
        let parts = self.headers().iter().filter(|header| header.p_type == libc::PT_LOAD);
        let ends = parts.map(|part| (part.p_vaddr as usize, (part.p_vaddr + part.p_memsz) as usize));
        let (first, end) = ends.fold((usize::MAX, 0), |(low, high), (first, end)| (low.min(first), high.max(end)));
        (self.base().wrapping_add(first), self.base().wrapping_add(end))
    }

    /// Whether an address lies in it.
    pub fn holds(&self, address: usize) -> bool {
        self.headers().iter().any(|header| {
            let first = self.base().wrapping_add(header.p_vaddr as usize);
            header.p_type == libc::PT_LOAD && address.wrapping_sub(first) < header.p_memsz as usize
        })
    }

    fn symbols(&self) -> Option<Module> {
        let dynamic = self.headers().iter().find(|header| header.p_type == libc::PT_DYNAMIC)?;
        // SAFETY: the dynamic section of a loaded module.
        unsafe { Module::new(self.base(), (self.base().wrapping_add(dynamic.p_vaddr as usize)) as *const [usize; 2]) }
    }

    fn is_ours(&self) -> bool {
        self.holds((&raw const OURS) as usize)
    }
}

/// An address in this module.
static OURS: u8 = 0;

/// Visits the modules in the loader's order until `visit` says that it is done. The loader's lock is held meanwhile.
pub fn each<F: FnMut(&Loaded<'_>) -> bool>(mut visit: F) {
    unsafe extern "C" fn call<F: FnMut(&Loaded<'_>) -> bool>(
        info: *mut libc::dl_phdr_info,
        _: usize,
        visit: *mut c_void,
    ) -> c_int {
        // SAFETY: the loader passes one module, and what `each` has given it.
        unsafe { c_int::from((*visit.cast::<F>())(&Loaded(&*info))) }
    }
    // SAFETY: `visit` lives through the call, and is used by it alone.
    unsafe { libc::dl_iterate_phdr(Some(call::<F>), (&raw mut visit).cast()) };
}

/// Visits the symbols of the modules behind this one, among which RTLD_NEXT looks.
pub fn each_behind_us(mut visit: impl FnMut(&Module) -> bool) {
    let mut behind = false;
    each(|loaded| {
        if !behind {
            behind = loaded.is_ours();
            return false;
        }
        loaded.symbols().is_some_and(|module| visit(&module))
    });
}

/// As dlsym with RTLD_NEXT, from here.
pub fn next(name: Name<'_>) -> Option<*mut c_void> {
    let mut found = None;
    each_behind_us(|module| {
        found = module.find(name);
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
        if kernels_own != 0 && loaded.holds(kernels_own) {
            return false;
        }
        found = loaded.symbols().and_then(|module| module.find(name));
        found.is_some()
    });
    found
}

/// What `look` makes of the module that an address lies in.
pub fn of<T>(address: usize, look: impl Fn(&Loaded<'_>) -> T) -> Option<T> {
    let mut found = None;
    each(|loaded| {
        if loaded.holds(address) {
            found = Some(look(loaded));
        }
        found.is_some()
    });
    found
}
