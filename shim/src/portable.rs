//! Names that std and the unwinder ask for, and that not every C library has.
//!
//! This one file is to load under glibc 2.17, where `dlsym` lives in libdl and `stat64` is no symbol at all, under
//! today's, and under musl. What is younger than glibc 2.17, or lives elsewhere than in libc.so.6, is therefore defined
//! here, hidden from the program, or is one of our own hooks. When `make dist` names one more such symbol, this is the place for it.

use crate::elf::Name;
use crate::loaded;
use crate::real::{Slot, set_errno};
use crate::sys;
use std::arch::global_asm;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// Gives functions of this file names that the linker sees and the program does not; `weak` for what std declares so.
macro_rules! hidden {
    ($($binding:ident $name:literal => $function:ident;)*) => {
        global_asm!(
            ".pushsection .text.chaos_start,\"ax\",@progbits",
            $(
                concat!(".", stringify!($binding), " ", $name),
                concat!(".hidden ", $name),
                concat!(".type ", $name, ",@function"),
                concat!($name, ": jmp {", stringify!($function), "}"),
                concat!(".size ", $name, ", . - ", $name),
            )*
            ".popsection",
            $($function = sym $function,)*
        );
    };
}

hidden! {
    globl "dlsym" => symbol;
    globl "dladdr" => place;
    globl "_dl_find_object" => find_object;
    globl "__tls_get_addr" => tls_address;
    weak "gettid" => gettid;
    globl "pthread_key_create" => key_create;
    globl "__pthread_key_create" => key_create_again;
    globl "pthread_key_delete" => key_delete;
    globl "pthread_setspecific" => key_set;
    globl "pthread_once" => once;
}

/// dlsym(3), for std and redhook.
#[unsafe(link_section = ".text.chaos_start")]
unsafe extern "C" fn symbol(handle: *mut c_void, name: *const c_char) -> *mut c_void {
    // SAFETY: callers pass a C string.
    let name = Name::new(unsafe { CStr::from_ptr(name) });
    let found = match handle {
        libc::RTLD_NEXT => loaded::next(name),
        _ => loaded::first(name),
    };
    found.unwrap_or(std::ptr::null_mut())
}

/// dladdr(3), without the nearest symbol.
unsafe extern "C" fn place(address: *const c_void, info: *mut libc::Dl_info) -> c_int {
    let found = loaded::of(address as usize, |module| (module.path().as_ptr(), module.range().0));
    let Some((path, base)) = found else { return 0 };
    // SAFETY: the caller's structure.
    unsafe {
        *info = libc::Dl_info {
            dli_fname: path,
            dli_fbase: base as *mut c_void,
            dli_sname: std::ptr::null(),
            dli_saddr: std::ptr::null_mut(),
        };
    }
    1
}

/// What `_dl_find_object` (glibc 2.35) says of a module.
#[repr(C)]
struct Object {
    flags: u64,
    start: usize,
    end: usize,
    link_map: usize,
    unwind_table: usize,
    reserved: [u64; 7],
}

/// Where the static unwinder finds the frames of a module.
unsafe extern "C" fn find_object(address: usize, object: *mut Object) -> c_int {
    const PT_GNU_EH_FRAME: u32 = 0x6474_e550;
    let found = loaded::of(address, |module| {
        let table = module.headers().iter().find(|header| header.p_type == PT_GNU_EH_FRAME)?;
        let (start, end) = module.range();
        let unwind_table = module.base().wrapping_add(table.p_vaddr as usize);
        Some(Object { flags: 0, start, end, link_map: 0, unwind_table, reserved: [0; 7] })
    });
    match found.flatten() {
        // SAFETY: the unwinder's structure.
        Some(found) => unsafe {
            object.write(found);
            0
        },
        None => -1,
    }
}

/// std's own thread locals: they lie in the static block beside ours, so nothing has to be allocated on first use.
#[unsafe(naked)]
unsafe extern "C" fn tls_address() {
    std::arch::naked_asm!(
        // The argument is a module, which is this one, and an offset in its block.
        "mov rax, qword ptr fs:[0]",
        "add rax, qword ptr [rip + chaos_shim_thread@GOTTPOFF]",
        "sub rax, offset chaos_shim_thread@DTPOFF",
        "add rax, qword ptr [rdi + 8]",
        "ret",
    )
}

/// A kernel's answer as libc gives it.
fn answer(result: isize) -> isize {
    if (-4095..0).contains(&result) {
        set_errno(-result as i32);
        return -1;
    }
    result
}

/// Declares slots that serve where libc lacks a symbol: the system call of these arguments. glibc before 2.33 has no
/// `stat`, before 2.28 no `statx`, before 2.25 no `getrandom`.
macro_rules! kernel {
    ($($slot:ident = $number:ident;)*) => {$(
        pub mod $slot {
            use super::*;

            pub static SLOT: Slot = Slot { target: AtomicPtr::new(ask as *mut c_void) };

            unsafe extern "C" fn ask(a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
                // SAFETY: the caller's arguments, which the kernel checks; its structures are those of libc.
                answer(unsafe { sys::syscall6(libc::$number, [a, b, c, d, e, 0]) })
            }
        }
    )*};
}

kernel! {
    kernel_stat = SYS_stat;
    kernel_lstat = SYS_lstat;
    kernel_fstat = SYS_fstat;
    kernel_fstatat = SYS_newfstatat;
    kernel_statx = SYS_statx;
    kernel_getrandom = SYS_getrandom;
}

unsafe extern "C" fn gettid() -> c_int {
    sys::gettid() as c_int
}

/// Keys would run destructors of ours in the program's threads, and keys are numbered: a program could see a gap. What
/// std keeps in thread locals with destructors (nothing, while armed) is left to the end of the process.
unsafe extern "C" fn key_create(key: *mut c_uint, _destructor: *const c_void) -> c_int {
    static LAST: AtomicU32 = AtomicU32::new(0);
    // SAFETY: the caller's variable.
    unsafe { *key = LAST.fetch_add(1, Ordering::Relaxed) + 1 };
    0
}

unsafe extern "C" fn key_create_again(key: *mut c_uint, destructor: *const c_void) -> c_int {
    // SAFETY: the caller's arguments.
    unsafe { key_create(key, destructor) }
}

unsafe extern "C" fn key_delete(_key: c_uint) -> c_int {
    0
}

unsafe extern "C" fn key_set(_key: c_uint, _value: *const c_void) -> c_int {
    0
}

/// The unwinder sets up a table of constants: twice at the same moment does no harm.
unsafe extern "C" fn once(control: *const AtomicU32, work: extern "C" fn()) -> c_int {
    // SAFETY: a pthread_once_t is an int that begins as 0.
    let done = unsafe { &*control };
    if done.load(Ordering::Acquire) == 0 {
        work();
        done.store(2, Ordering::Release);
    }
    0
}
