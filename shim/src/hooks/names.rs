//! Look-ups of names and addresses.

use super::{simple, tracked};
use crate::real::{hooks, set_errno};
use crate::select::Target;
use crate::session::attached;
use crate::{effects, fds};
use chaos_table::calls::Op;
use libc::{addrinfo, c_char, c_int, c_void, hostent, sockaddr, socklen_t};
use std::ffi::CStr;

/// The look-up failed for another reason than the name; errno has it.
const NETDB_INTERNAL: c_int = -1;
const HOST_NOT_FOUND: c_int = 1;
const TRY_AGAIN: c_int = 2;
const NO_RECOVERY: c_int = 3;
const NO_DATA: c_int = 4;
const NI_NUMERICHOST: c_int = 1;

unsafe extern "C" {
    fn __h_errno_location() -> *mut c_int;
}

/// What h_errno says for an EAI code.
fn h_errno_of(code: c_int) -> c_int {
    match code {
        libc::EAI_NONAME => HOST_NOT_FOUND,
        libc::EAI_AGAIN => TRY_AGAIN,
        libc::EAI_FAIL => NO_RECOVERY,
        libc::EAI_NODATA => NO_DATA,
        _ => NETDB_INTERNAL,
    }
}

/// The errno that comes with an EAI code, where one does.
fn errno_of(code: c_int) -> c_int {
    match code {
        libc::EAI_MEMORY => libc::ENOMEM,
        _ => libc::EIO,
    }
}

/// A code of getaddrinfo or getnameinfo.
fn eai(code: c_int) -> c_int {
    if code == libc::EAI_SYSTEM {
        set_errno(errno_of(code));
    }
    code
}

/// NULL and h_errno.
fn no_host(code: c_int) -> *mut hostent {
    let told = h_errno_of(code);
    if told == NETDB_INTERNAL {
        set_errno(errno_of(code));
    }
    // SAFETY: always a valid pointer to this thread's h_errno.
    unsafe { *__h_errno_location() = told };
    std::ptr::null_mut()
}

/// Where the re-entrant forms put what they found.
#[derive(Clone, Copy)]
struct Found {
    host: *mut *mut hostent,
    h_errno: *mut c_int,
}

impl Found {
    /// What the re-entrant forms return: 0 where there is no such host, else an errno.
    fn none(self, code: c_int) -> c_int {
        let told = h_errno_of(code);
        // SAFETY: the program's own arguments, which the real call fills. The resolver leaves the thread's own h_errno
        // the same, and CPython reads that one.
        unsafe {
            *self.host = std::ptr::null_mut();
            *self.h_errno = told;
            *__h_errno_location() = told;
        }
        match told {
            HOST_NOT_FOUND | NO_DATA => 0,
            TRY_AGAIN => libc::EAGAIN,
            NO_RECOVERY => libc::EBADMSG,
            _ => errno_of(code),
        }
    }
}

/// A name look-up; the addresses of names that rules know are remembered.
///
/// # Safety
/// The arguments of getaddrinfo.
unsafe fn looking_up(node: *const c_char, result: *mut *mut addrinfo, real: impl FnOnce() -> c_int) -> c_int {
    let code = simple(Op::Getaddrinfo, Target::Name(node), real, eai);
    if code == 0
        && tracked(Op::Getaddrinfo)
        && !node.is_null()
        && let Some(session) = attached()
    {
        // SAFETY: getaddrinfo has succeeded: node is a C string and the result a list.
        unsafe { effects::remember_answers(session, CStr::from_ptr(node).to_bytes(), *result) };
    }
    code
}

/// Remembers the addresses of a host that was found by its name.
///
/// # Safety
/// `name` must be the name that was looked up, `host` NULL or what was found.
unsafe fn remember_host(name: *const c_char, host: *const hostent) {
    if host.is_null() || name.is_null() || !tracked(Op::Gethostbyname) {
        return;
    }
    let Some(session) = attached() else { return };
    // SAFETY: the look-up has succeeded: a C string, and a list of addresses of h_length bytes ended by NULL.
    unsafe {
        let hosts = session.patterns().host_bits(crate::select::lower_case(CStr::from_ptr(name).to_bytes()).bytes());
        let len = usize::try_from((*host).h_length).unwrap_or(0).min(16);
        let mut list = (*host).h_addr_list;
        while hosts != 0 && !list.is_null() && !(*list).is_null() {
            let mut address = [0u8; 16];
            std::ptr::copy_nonoverlapping((*list).cast::<u8>(), address.as_mut_ptr(), len);
            fds::remember(session, &address, hosts);
            list = list.add(1);
        }
    }
}

/// A look-up by name.
///
/// # Safety
/// `name` must be the argument of gethostbyname.
unsafe fn hosting(name: *const c_char, real: impl FnOnce() -> *mut hostent) -> *mut hostent {
    let host = simple(Op::Gethostbyname, Target::Name(name), real, no_host);
    // SAFETY: as the caller says.
    unsafe { remember_host(name, host) };
    host
}

/// A re-entrant look-up by name.
///
/// # Safety
/// The arguments of gethostbyname_r.
unsafe fn hosting_r(name: *const c_char, found: Found, real: impl FnOnce() -> c_int) -> c_int {
    let code = simple(Op::Gethostbyname, Target::Name(name), real, |code| found.none(code));
    // SAFETY: the real call has filled it when it succeeded.
    unsafe { remember_host(name, if code == 0 { *found.host } else { std::ptr::null() }) };
    code
}

/// A look-up of an address: without a name, the address itself is the answer, unless a name was insisted on.
fn naming(address: *const sockaddr, len: socklen_t, flags: c_int, real: impl Fn(c_int) -> c_int) -> c_int {
    simple(
        Op::Getnameinfo,
        Target::Peer(-1, address, len),
        || real(flags),
        |code| {
            if code == libc::EAI_NONAME && flags & libc::NI_NAMEREQD == 0 {
                real(flags | NI_NUMERICHOST)
            } else {
                eai(code)
            }
        },
    )
}

hooks! {
    Getaddrinfo, getaddrinfo(node: *const c_char, service: *const c_char, hints: *const addrinfo, result: *mut *mut addrinfo) -> c_int,
        real => looking_up(node, result, || real(node, service, hints, result));
    Getnameinfo, getnameinfo(address: *const sockaddr, size: socklen_t, host: *mut c_char, host_room: socklen_t, service: *mut c_char, room: socklen_t, flags: c_int) -> c_int,
        real => naming(address, size, flags, |flags| real(address, size, host, host_room, service, room, flags));
    Gethostbyname, gethostbyname(name: *const c_char) -> *mut hostent, real => hosting(name, || real(name));
    Gethostbyname, gethostbyname2(name: *const c_char, family: c_int) -> *mut hostent, real =>
        hosting(name, || real(name, family));
    Gethostbyname, gethostbyname_r(name: *const c_char, host: *mut hostent, buffer: *mut c_char, room: usize, result: *mut *mut hostent, h_errno: *mut c_int) -> c_int,
        real => hosting_r(name, Found { host: result, h_errno }, || real(name, host, buffer, room, result, h_errno));
    Gethostbyname, gethostbyname2_r(name: *const c_char, family: c_int, host: *mut hostent, buffer: *mut c_char, room: usize, result: *mut *mut hostent, h_errno: *mut c_int) -> c_int,
        real => hosting_r(name, Found { host: result, h_errno }, || real(name, family, host, buffer, room, result, h_errno));
    Gethostbyaddr, gethostbyaddr(address: *const c_void, size: socklen_t, family: c_int) -> *mut hostent, real =>
        simple(Op::Gethostbyaddr, Target::Nothing, || real(address, size, family), no_host);
    Gethostbyaddr, gethostbyaddr_r(address: *const c_void, size: socklen_t, family: c_int, host: *mut hostent, buffer: *mut c_char, room: usize, result: *mut *mut hostent, h_errno: *mut c_int) -> c_int,
        real => {
            let found = Found { host: result, h_errno };
            simple(Op::Gethostbyaddr, Target::Nothing, || real(address, size, family, host, buffer, room, result, h_errno),
                |code| found.none(code))
        };
}
