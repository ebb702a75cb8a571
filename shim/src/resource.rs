//! What the log names as the resource of an injection: a path, a peer, a name, a program.

use crate::fds::PeerBuffer;
use crate::paths::{self, Desk, PathBuffer};
use crate::select::Target;
use chaos_table::decide::Peer;
use std::ffi::{CStr, c_char};

/// What the log names as the resource.
pub fn describe(target: Target, desk: &mut Desk) {
    match target {
        Target::Fd(fd) => descriptor(fd, desk),
        Target::Fds(to, from) => two(desk, |desk| descriptor(from, desk), |desk| descriptor(to, desk)),
        Target::Path(dirfd, path) => named(desk, (dirfd, path), true),
        Target::Entry(dirfd, path) => named(desk, (dirfd, path), false),
        Target::Entries(old, new) => two(desk, |desk| named(desk, old, false), |desk| named(desk, new, false)),
        Target::Peer(_, address, len) => {
            let mut buffer = PeerBuffer::new();
            // SAFETY: the program's own arguments.
            push_peer(unsafe { buffer.given(address, len) }, &mut desk.path);
        }
        Target::Name(text) | Target::Program(text) | Target::Point(text) => {
            if !text.is_null() {
                // SAFETY: the program's own argument, a C string.
                desk.path.push(unsafe { CStr::from_ptr(text) }.to_bytes());
            }
        }
        Target::Memory | Target::Wait(..) | Target::Nothing => {}
    }
}

fn descriptor(fd: i32, desk: &mut Desk) {
    let mut buffer = PeerBuffer::new();
    if !push_peer(buffer.of_connection(fd), &mut desk.path) {
        desk.descriptor(fd);
    }
}

fn named(desk: &mut Desk, (dirfd, path): (i32, *const c_char), follow: bool) {
    // SAFETY: the program's own argument.
    unsafe { desk.absolute(dirfd, path, follow) };
}

/// `one -> other`; the first alone where both are too long.
fn two(desk: &mut Desk, one: impl FnOnce(&mut Desk), other: impl FnOnce(&mut Desk)) {
    one(desk);
    paths::with_desk(|second| {
        other(second);
        let room = paths::PATH_MAX.saturating_sub(desk.path.bytes().len());
        if second.path.bytes().len() + 4 <= room {
            desk.path.push(b" -> ");
            desk.path.push(second.path.bytes());
        }
    });
}

fn push_peer(peer: Peer<'_>, out: &mut PathBuffer) -> bool {
    match peer {
        Peer::V4([a, b, c, d], port) => {
            for (index, part) in [a, b, c, d].into_iter().enumerate() {
                if index != 0 {
                    out.push(b".");
                }
                out.push_number(u64::from(part));
            }
            out.push(b":");
            out.push_number(u64::from(port))
        }
        Peer::V6(address, port) => {
            use std::io::Write;
            let mut text = [0u8; 64];
            let mut cursor = std::io::Cursor::new(&mut text[..]);
            // Formatting into a fixed buffer allocates nothing; it cannot be too small for an address.
            let written = write!(cursor, "[{}]", std::net::Ipv6Addr::from(address));
            let len = if written.is_ok() { cursor.position() as usize } else { 0 };
            out.push(text.get(..len).unwrap_or(&[]));
            out.push(b":");
            out.push_number(u64::from(port))
        }
        Peer::Unix(path) => {
            out.push(b"unix:");
            out.push(path)
        }
        Peer::Unknown => false,
    }
}
