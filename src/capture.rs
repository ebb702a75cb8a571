//! What the target writes to stdout or stderr, passed on as it comes and kept for the checks. Only a check, or
//! evidence, makes a pipe of an output: without one the target has the launcher's own.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Bytes that are kept: the first and, beyond them, the last.
const KEPT_FIRST: usize = 8 << 20;
const KEPT_LAST: usize = 1 << 20;
/// How long what still holds the pipe after the end is waited for.
const PATIENCE: Duration = Duration::from_millis(300);

/// Which output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

impl Stream {
    /// As files of evidence are named.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }

    /// Whether somebody sits before it.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        match self {
            Stream::Stdout => io::stdout().is_terminal(),
            Stream::Stderr => io::stderr().is_terminal(),
        }
    }

    fn path(self) -> &'static str {
        match self {
            Stream::Stdout => "/proc/self/fd/1",
            Stream::Stderr => "/proc/self/fd/2",
        }
    }

    /// How long the file is that the launcher's own output goes to; `None` when that is no file.
    #[must_use]
    pub fn file_len(self) -> Option<u64> {
        std::fs::metadata(self.path()).ok().filter(std::fs::Metadata::is_file).map(|meta| meta.len())
    }

    /// The end of that file, at most so many bytes and nothing of what was there before.
    #[must_use]
    pub fn end_of_file(self, before: u64, most: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A descriptor of its own, so that the target's position stays where it is.
        let Ok(mut file) = File::open(self.path()) else { return bytes };
        let len = file.metadata().map_or(0, |meta| meta.len());
        let from = len.saturating_sub(most as u64).max(before.min(len));
        let read = file.seek(SeekFrom::Start(from)).and_then(|_| file.take(most as u64).read_to_end(&mut bytes));
        read.map(|_| bytes).unwrap_or_default()
    }
}

/// What came through.
#[derive(Clone, Debug, Default)]
pub struct Captured {
    first: Vec<u8>,
    last: Vec<u8>,
    left_out: u64,
}

impl Captured {
    fn add(&mut self, bytes: &[u8]) {
        let room = KEPT_FIRST.saturating_sub(self.first.len()).min(bytes.len());
        let (first, rest) = bytes.split_at(room);
        self.first.extend(first);
        self.last.extend(rest);
        if self.last.len() > 2 * KEPT_LAST {
            let old = self.last.len() - KEPT_LAST;
            self.last.drain(..old);
            self.left_out += old as u64;
        }
    }

    /// What stands in a file; nothing when there is none.
    #[must_use]
    pub fn of_file(path: &Path) -> Captured {
        let mut captured = Captured::default();
        let Ok(mut file) = File::open(path) else { return captured };
        let mut buffer = vec![0; 1 << 16];
        while let Ok(count @ 1..) = file.read(&mut buffer) {
            captured.add(&buffer[..count]);
        }
        captured
    }

    /// What is kept of it, in order.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        [self.first.as_slice(), &self.last].concat()
    }

    /// Bytes in the middle that are not kept.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
    }
}

/// An output that is being captured.
pub struct Capture {
    shared: Arc<Mutex<Captured>>,
    done: Receiver<()>,
}

impl Capture {
    /// A pipe whose other end the target gets, once the copying has [begun](Pipe::copy).
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn pipe() -> io::Result<(Pipe, OwnedFd)> {
        let (reader, writer) = crate::sys::pipe()?;
        Ok((Pipe(reader), writer.into()))
    }

    /// What has come through, once nobody can write any more, or after a moment.
    #[must_use]
    pub fn finish(self) -> Captured {
        let _ = self.done.recv_timeout(PATIENCE);
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The launcher's end of a pipe.
pub struct Pipe(File);

impl Pipe {
    /// Passes on what comes, from a thread of its own: a reader of ours that is slow holds up the target, as it would
    /// without the pipe, and nobody else.
    #[must_use]
    pub fn copy(self, stream: Stream) -> Capture {
        let shared = Arc::new(Mutex::new(Captured::default()));
        let (tell, done) = channel();
        let into = Arc::clone(&shared);
        std::thread::spawn(move || {
            pass_on(self.0, stream, &into);
            let _ = tell.send(());
        });
        Capture { shared, done }
    }
}

fn pass_on(mut from: File, stream: Stream, into: &Mutex<Captured>) {
    // Past Rust's own handles: the main thread holds the lock of one, and what the target has written is to be seen
    // at once.
    let to = match stream {
        Stream::Stdout => io::stdout().as_fd().try_clone_to_owned(),
        Stream::Stderr => io::stderr().as_fd().try_clone_to_owned(),
    };
    let mut to = to.ok().map(File::from);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let bytes = match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => &buffer[..count],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        into.lock().unwrap_or_else(PoisonError::into_inner).add(bytes);
        let passed = to.as_mut().map_or(Ok(()), |to| to.write_all(bytes));
        if passed.is_err() {
            // Nobody reads: closing the pipe tells the target, as it would be told without us.
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_keeps_its_beginning_and_its_end() {
        let mut captured = Captured::default();
        let chunk: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
        for _ in 0..40 {
            captured.add(&chunk);
        }
        captured.add(b"the end");
        let bytes = captured.bytes();
        assert!(bytes.len() <= KEPT_FIRST + 2 * KEPT_LAST && bytes.ends_with(b"the end"));
        assert_eq!(bytes.len() as u64 + captured.left_out(), (40 << 20) + 7);
    }
}
