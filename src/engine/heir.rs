//! What becomes of a tree under a filter when the launcher has ended: it goes on without faults.
//!
//! A filter stays for as long as its processes do. Were the launcher's listeners the only ones, every call of the filter
//! would fail with ENOSYS from its end on, whether it ended well or was killed. So a process of its own, outside the
//! tree, holds all of them too, sleeps for as long as the launcher lives, and then lets every call pass.

use super::kernel::{Answer, Listener};
use super::shared::{ProcessPlace, Shared};
use crate::error::{Context, Result};
use crate::sys::{self, orphan};
use chaos_table::session::ProcessSlot;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use std::fs::OpenOptions;
use std::io::{IoSlice, IoSliceMut};
use std::mem::offset_of;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::Ordering;

/// So many calls may have been under way when the launcher ended.
const UNDER_WAY: u64 = 1 << 16;

/// The launcher's end of the line to its heir.
#[derive(Debug)]
pub struct Heir(UnixStream);

impl Heir {
    /// Starts the heir, as a child of this thread.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(session: &Path) -> Result<Heir> {
        let (ours, theirs) = UnixStream::pair().cannot("make a socket")?;
        orphan::start(c"chaos-heir", &theirs.into(), || {
            let _ = inherit(session);
        })
        .cannot("start the engine's second process")?;
        Ok(Heir(ours))
    }

    /// Gives it a listener, whose first process has this slot.
    ///
    /// # Errors
    /// When it is gone.
    pub fn give(&self, listener: &OwnedFd, slot: usize) -> std::io::Result<()> {
        let fds = [listener.as_raw_fd()];
        let text = (slot as u64).to_ne_bytes();
        let control = [ControlMessage::ScmRights(&fds)];
        sendmsg::<()>(self.0.as_raw_fd(), &[IoSlice::new(&text)], &control, MsgFlags::MSG_NOSIGNAL, None)?;
        Ok(())
    }
}

/// The heir: holds the listeners that come through stdin, and answers when the launcher has ended.
fn inherit(session: &Path) -> Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(session).cannot("open the session")?;
    let shared = Shared::map(&file).cannot("map the session")?;
    drop(file);
    let mut held = Vec::new();
    while let Some(listener) = next(libc::STDIN_FILENO) {
        held.push(listener);
    }
    let threads: Vec<_> = held
        .into_iter()
        .map(|(listener, slot)| {
            let last = shared.process_at(slot).map_or(0, |place| last_of(&shared, place));
            std::thread::spawn(move || let_pass(&listener, last))
        })
        .collect();
    for thread in threads {
        let _ = thread.join();
    }
    Ok(())
}

/// The last call of a filter that the launcher was asked about.
fn last_of(shared: &Shared, place: ProcessPlace) -> u64 {
    let half = |at| u64::from(shared.process_field(place, offset_of!(ProcessSlot, room) + at).load(Ordering::Relaxed));
    half(4) << 32 | half(0)
}

/// The next listener; `None` when the launcher has ended.
fn next(line: RawFd) -> Option<(Listener, usize)> {
    loop {
        let mut text = [0u8; 8];
        let mut control = cmsg_space!([RawFd; 1]);
        let mut into = [IoSliceMut::new(&mut text)];
        let got = match recvmsg::<()>(line, &mut into, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC) {
            Err(Errno::EINTR) => continue,
            Err(_) => return None,
            Ok(got) if got.bytes == 0 => return None,
            Ok(got) => got,
        };
        let fd = got.cmsgs().ok()?.find_map(|message| match message {
            ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
            _ => None,
        });
        let slot = usize::try_from(u64::from_ne_bytes(text)).unwrap_or(usize::MAX);
        if let Some(fd) = fd {
            return Some((Listener::new(sys::own(fd)), slot));
        }
    }
}

/// Lets every call pass: those that were under way when the launcher ended, which have one number after the other, and all
/// that come. The launcher may have taken one more than it has noted.
fn let_pass(listener: &Listener, last: u64) {
    for id in (0..UNDER_WAY).map(|back| last.wrapping_add(1).wrapping_sub(back)) {
        listener.answer(id, Answer::Go);
    }
    while let Ok(Some(asked)) = listener.receive() {
        listener.answer(asked.id, Answer::Go);
    }
}
