//! Symbols of a loaded module, found in its own hash table.
//!
//! dlsym costs some 300 ns a name and takes libdl before glibc 2.34; every process that starts looks up hundreds. This
//! is the same look-up for a name without a version: the default version, weak or not, functions behind an indirect
//! symbol resolved. A test compares the two.

use std::ffi::{CStr, c_char, c_void};

/// Tags of the dynamic section.
mod tag {
    pub const HASH: usize = 4;
    pub const STRTAB: usize = 5;
    pub const SYMTAB: usize = 6;
    pub const GNU_HASH: usize = 0x6fff_fef5;
    pub const VERSYM: usize = 0x6fff_fff0;
    pub const VERDEF: usize = 0x6fff_fffc;
}

const TYPE_INDIRECT: u8 = 10;
const BIND_WEAK: u8 = 2;
const BIND_UNIQUE: u8 = 10;
const UNDEFINED: u16 = 0;
const ABSOLUTE: u16 = 0xfff1;
/// In a version number: not the default one.
const NOT_DEFAULT: u16 = 0x8000;

/// A name that is looked for, with its hash.
#[derive(Clone, Copy)]
pub struct Name<'a> {
    /// The name.
    pub text: &'a CStr,
    hash: u32,
    /// The number of a version in the module that is looked into, 0 for the default one.
    version: u16,
}

impl<'a> Name<'a> {
    /// A name with the hash that [`hash`] has given for it.
    pub const fn hashed(text: &'a CStr, hash: u32) -> Name<'a> {
        Name { text, hash, version: 0 }
    }

    /// Any name.
    pub const fn new(text: &'a CStr) -> Name<'a> {
        Name { text, hash: hash(text.to_bytes()), version: 0 }
    }
}

/// The hash of a name in DT_GNU_HASH.
#[expect(clippy::indexing_slicing, reason = "the index is below the length; iterators are not for const")]
pub const fn hash(name: &[u8]) -> u32 {
    let (mut hash, mut at) = (5381u32, 0);
    while at < name.len() {
        hash = hash.wrapping_mul(33).wrapping_add(name[at] as u32);
        at += 1;
    }
    hash
}

/// The hash of a name in DT_HASH.
fn old_hash(name: &CStr) -> u32 {
    name.to_bytes().iter().fold(0u32, |hash, byte| {
        let hash = (hash << 4).wrapping_add(u32::from(*byte));
        let high = hash & 0xf000_0000;
        (hash ^ (high >> 24)) & !high
    })
}

/// Where a module keeps its symbols.
pub struct Module {
    base: usize,
    symbols: *const libc::Elf64_Sym,
    strings: *const c_char,
    gnu_hash: *const u32,
    hash: *const u32,
    versions: *const u16,
    definitions: *const Definition,
}

/// A version that a module defines; its name lies `names` bytes behind, as an offset into the strings.
#[repr(C)]
struct Definition {
    revision: u16,
    flags: u16,
    number: u16,
    count: u16,
    hash: u32,
    names: u32,
    next: u32,
}

impl Module {
    /// The module with this load address and dynamic section; `None` when it has no symbols that could be found.
    ///
    /// # Safety
    /// `dynamic` must be the dynamic section of a module that the loader has mapped at `base`.
    pub unsafe fn new(base: usize, dynamic: *const [usize; 2]) -> Option<Module> {
        let mut module = Module {
            base,
            symbols: std::ptr::null(),
            strings: std::ptr::null(),
            gnu_hash: std::ptr::null(),
            hash: std::ptr::null(),
            versions: std::ptr::null(),
            definitions: std::ptr::null(),
        };
        // Not by one `match`: its table of jumps would lie far from here, on a page that an exec needs for nothing else.
        let mut low = [0; tag::SYMTAB + 1];
        let mut entry = dynamic;
        loop {
            // SAFETY: the section ends with a zero tag.
            let [tag, value] = unsafe { *entry };
            // glibc has added the load address already, musl has not.
            let address = if value < base { base.wrapping_add(value) } else { value };
            if tag == 0 {
                break;
            }
            if let Some(low) = low.get_mut(tag) {
                *low = address;
            }
            match tag {
                tag::GNU_HASH => module.gnu_hash = address as *const u32,
                tag::VERSYM => module.versions = address as *const u16,
                tag::VERDEF => module.definitions = address as *const Definition,
                _ => {}
            }
            entry = entry.wrapping_add(1);
        }
        let low = |tag: usize| low.get(tag).copied().unwrap_or(0);
        module.hash = low(tag::HASH) as *const u32;
        module.strings = low(tag::STRTAB) as *const c_char;
        module.symbols = low(tag::SYMTAB) as *const libc::Elf64_Sym;
        let no_table = module.gnu_hash.is_null() && module.hash.is_null();
        let nothing = module.symbols.is_null() || module.strings.is_null() || no_table;
        (!nothing).then_some(module)
    }

    /// The address that the module defines a name at; `None` when it does not.
    #[unsafe(link_section = ".text.chaos_start")]
    pub fn find(&self, name: Name<'_>) -> Option<*mut c_void> {
        // SAFETY: the tables are those of a loaded module; the loader itself relies on what they say.
        unsafe { if self.gnu_hash.is_null() { self.find_by_hash(name) } else { self.find_by_gnu_hash(name) } }
    }

    /// As [`Module::find`], for one version of the name; in a module without versions, any.
    pub fn find_version(&self, name: Name<'_>, version: &CStr) -> Option<*mut c_void> {
        let version = if self.definitions.is_null() { 0 } else { self.number_of(version)? };
        self.find(Name { version, ..name })
    }

    /// The number of a version that the module defines.
    fn number_of(&self, version: &CStr) -> Option<u16> {
        let mut at = self.definitions;
        loop {
            // SAFETY: the layout of DT_VERDEF in a loaded module: a chain of definitions, ended by a zero offset.
            unsafe {
                let name = *at.byte_add((*at).names as usize).cast::<u32>();
                if CStr::from_ptr(self.strings.add(name as usize)) == version {
                    return Some((*at).number);
                }
                if (*at).next == 0 {
                    return None;
                }
                at = at.byte_add((*at).next as usize);
            }
        }
    }

    #[unsafe(link_section = ".text.chaos_start")]
    unsafe fn find_by_gnu_hash(&self, name: Name<'_>) -> Option<*mut c_void> {
        let table = self.gnu_hash;
        // SAFETY: the layout of DT_GNU_HASH: four numbers, a filter of 64-bit words, buckets, and one hash for each
        // symbol from `first` on, whose lowest bit ends a chain.
        unsafe {
            let [buckets, first, words, shift] = *table.cast::<[u32; 4]>();
            let filter = table.add(4).cast::<u64>();
            let word = *filter.add((name.hash as usize / 64) & (words as usize).wrapping_sub(1));
            let bits = 1u64 << (name.hash % 64) | 1u64 << ((name.hash >> (shift % 32)) % 64);
            if word & bits != bits || buckets == 0 {
                return None;
            }
            let bucket = filter.add(words as usize).cast::<u32>();
            let hashes = bucket.add(buckets as usize);
            let mut index = *bucket.add((name.hash % buckets) as usize);
            if index < first {
                return None;
            }
            loop {
                let hash = *hashes.add((index - first) as usize);
                if hash | 1 == name.hash | 1
                    && let Some(address) = self.defined(index, name)
                {
                    return Some(address);
                }
                if hash & 1 != 0 {
                    return None;
                }
                index += 1;
            }
        }
    }

    unsafe fn find_by_hash(&self, name: Name<'_>) -> Option<*mut c_void> {
        let table = self.hash;
        // SAFETY: the layout of DT_HASH: the numbers of buckets and of symbols, the buckets, and for each symbol the
        // next one of its chain; 0 ends it.
        unsafe {
            let buckets = *table;
            let bucket = table.add(2);
            let next = bucket.add(buckets as usize);
            let mut index = if buckets == 0 { 0 } else { *bucket.add((old_hash(name.text) % buckets) as usize) };
            while index != 0 {
                if let Some(address) = self.defined(index, name) {
                    return Some(address);
                }
                index = *next.add(index as usize);
            }
            None
        }
    }

    /// The address of a symbol if it has this name, is defined here, and is the version that is wanted.
    #[unsafe(link_section = ".text.chaos_start")]
    unsafe fn defined(&self, index: u32, name: Name<'_>) -> Option<*mut c_void> {
        let index = index as usize;
        // SAFETY: the index comes from the module's own table; every symbol has a name and, where there are versions,
        // a version.
        let symbol = unsafe { &*self.symbols.add(index) };
        let (kind, binding) = (symbol.st_info & 15, symbol.st_info >> 4);
        if symbol.st_shndx == UNDEFINED || !matches!(kind, 0 | 1 | 2 | 5 | TYPE_INDIRECT) {
            return None;
        }
        if !matches!(binding, 1 | BIND_WEAK | BIND_UNIQUE) || (symbol.st_value == 0 && symbol.st_shndx != ABSOLUTE) {
            return None;
        }
        // SAFETY: as above.
        unsafe {
            let version = if self.versions.is_null() { 0 } else { *self.versions.add(index) };
            let is_wanted = match name.version {
                0 => version & NOT_DEFAULT == 0,
                wanted => version & !NOT_DEFAULT == wanted,
            };
            if !is_wanted {
                return None;
            }
            if CStr::from_ptr(self.strings.add(symbol.st_name as usize)) != name.text {
                return None;
            }
        }
        let base = if symbol.st_shndx == ABSOLUTE { 0 } else { self.base };
        let address = base.wrapping_add(symbol.st_value as usize);
        if kind == TYPE_INDIRECT {
            // SAFETY: such a symbol is a function without arguments that picks the implementation, to be called when
            // its module is relocated; those behind us are.
            return Some(unsafe { std::mem::transmute::<usize, extern "C" fn() -> *mut c_void>(address)() });
        }
        Some(address as *mut c_void)
    }
}
