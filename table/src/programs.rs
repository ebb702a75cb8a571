//! What processes of the tree have learnt of the programs that they start, so that the next one need not ask again: each
//! question costs an exec more than all the rest that the shim does in it.
//!
//! A program is known by the path that it is started by together with the file's identity: a file that was changed or
//! exchanged is another one. There is room for a few, on a page that every process has at hand; a target may have
//! spoiled all of it.

use crate::decide::{hash_on, mix};
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// So many programs are remembered.
const ENTRIES: usize = 12;
/// Words for the path of an executable; of a longer one none is remembered.
const WORDS: usize = 29;
/// The longest path that is remembered, in bytes.
pub const MAX_PATH: usize = WORDS * 8;
/// In [`Program::about`]: the length of the path.
const LENGTH: u64 = 0xff;
/// In [`Program::about`]: see [`Known::is_plain`].
const PLAIN: u64 = 0x100;
/// A file that was changed so shortly ago may be changed again at what the file system takes for the same time. In
/// seconds.
const SETTLED: i64 = 2;

/// What makes a file another one: from its stat.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity {
    /// Device and number of the process's root directory.
    pub root: (u64, u64),
    /// The device that it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// When it was last changed, its attributes included: seconds since 1970 ...
    pub changed: i64,
    /// ... and nanoseconds.
    pub changed_ns: i64,
}

impl Identity {
    /// The key of a program that is started by an absolute path. `None` for a path that leads elsewhere for each process.
    #[must_use]
    #[inline(always)]
    pub fn key(&self, path: &[u8]) -> Option<u64> {
        let is_fixed = path.starts_with(b"/") && !path.starts_with(b"/proc/") && !path.starts_with(b"/dev/");
        let words = [self.root.0, self.root.1, self.inode, self.size, self.changed as u64, self.changed_ns as u64];
        let file = words.iter().fold(self.device, |hash, word| mix(hash.rotate_left(5) ^ word));
        is_fixed.then(|| mix(hash_on(file, path)).max(1))
    }
}

/// Whether a file that was last changed then can be remembered now; both in seconds since 1970.
#[must_use]
pub fn is_settled_at(changed: i64, now: i64) -> bool {
    changed.saturating_add(SETTLED) < now
}

/// What is known of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// It is a dynamic program like most: the shim is all that it needs, and it gives no rights.
    pub is_plain: bool,
    /// How many bytes the path of its executable has; 0: not known.
    pub path: usize,
}

/// The programs that are remembered.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Programs([Program; ENTRIES]);

/// A program.
#[repr(C)]
#[derive(Debug, Default)]
struct Program {
    /// Goes up by one before and after each change: while it is odd, somebody writes. 0: nobody has.
    state: AtomicU64,
    key: AtomicU64,
    about: AtomicU64,
    path: [AtomicU64; WORDS],
}

impl Programs {
    /// What is known of a program, and the path of its executable into `path`.
    #[inline(always)]
    pub fn read(&self, key: u64, path: &mut [u8; MAX_PATH]) -> Option<Known> {
        self.of(key)?.read(key, path)
    }

    /// Whether a program is known as plain, see [`Known::is_plain`].
    #[must_use]
    pub fn is_plain(&self, key: u64) -> bool {
        self.of(key).is_some_and(|program| {
            let state = program.state.load(Ordering::Acquire);
            let about = program.about.load(Ordering::Relaxed);
            about & PLAIN != 0 && program.is_still(state, key)
        })
    }

    /// Remembers that a program is plain.
    pub fn tell_plain(&self, key: u64) {
        self.tell(key, |program| {
            program.about.fetch_or(PLAIN, Ordering::Relaxed);
        });
    }

    /// Remembers the path of a program's executable, if it is short enough.
    pub fn tell_path(&self, key: u64, path: &[u8]) {
        if path.is_empty() || path.len() > MAX_PATH {
            return;
        }
        self.tell(key, |program| {
            for (to, from) in program.path.iter().zip(path.chunks(8)) {
                let mut word = [0; 8];
                word.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                to.store(u64::from_le_bytes(word), Ordering::Relaxed);
            }
            let about = program.about.load(Ordering::Relaxed);
            program.about.store(about & !LENGTH | path.len() as u64, Ordering::Relaxed);
        });
    }

    #[inline(always)]
    fn of(&self, key: u64) -> Option<&Program> {
        self.0.iter().find(|program| program.key.load(Ordering::Relaxed) == key)
    }

    /// Changes the entry of a program; if it has none, it gets a free one or that of another.
    fn tell(&self, key: u64, change: impl FnOnce(&Program)) {
        let free = || self.0.iter().find(|program| program.state.load(Ordering::Relaxed) == 0);
        let others = || self.0.get((key % ENTRIES as u64) as usize);
        let Some(program) = self.of(key).or_else(free).or_else(others) else { return };
        let state = program.state.load(Ordering::Relaxed);
        let writing = state.wrapping_add(1);
        // Somebody else writes, or has died over it: nothing hangs on it.
        if state & 1 != 0
            || program.state.compare_exchange(state, writing, Ordering::Acquire, Ordering::Relaxed).is_err()
        {
            return;
        }
        fence(Ordering::Release);
        if program.key.swap(key, Ordering::Relaxed) != key {
            program.about.store(0, Ordering::Relaxed);
        }
        change(program);
        program.state.store(state.wrapping_add(2), Ordering::Release);
    }
}

impl Program {
    #[inline(always)]
    fn read(&self, key: u64, path: &mut [u8; MAX_PATH]) -> Option<Known> {
        let state = self.state.load(Ordering::Acquire);
        let about = self.about.load(Ordering::Relaxed);
        let length = ((about & LENGTH) as usize).min(MAX_PATH);
        for (to, from) in path.chunks_mut(8).zip(&self.path).take(length.div_ceil(8)) {
            to.copy_from_slice(&from.load(Ordering::Relaxed).to_le_bytes());
        }
        self.is_still(state, key).then_some(Known { is_plain: about & PLAIN != 0, path: length })
    }

    /// Whether what was read since the state was read is whole, and is of this key.
    #[inline(always)]
    fn is_still(&self, state: u64, key: u64) -> bool {
        fence(Ordering::Acquire);
        let is_own = self.key.load(Ordering::Relaxed) == key;
        is_own && state & 1 == 0 && self.state.load(Ordering::Relaxed) == state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(programs: &Programs, key: u64) -> Option<(bool, String)> {
        let mut path = [b'?'; MAX_PATH];
        let known = programs.read(key, &mut path)?;
        Some((known.is_plain, String::from_utf8_lossy(&path[..known.path]).into_owned()))
    }

    #[test]
    fn both_facts_of_a_program_are_kept_whichever_comes_first() {
        let programs = Programs::default();
        assert_eq!(read(&programs, 5), None);
        programs.tell_plain(5);
        assert_eq!(read(&programs, 5), Some((true, String::new())));
        programs.tell_path(5, b"/usr/bin/true");
        assert_eq!(read(&programs, 5), Some((true, "/usr/bin/true".into())));
        programs.tell_path(6, b"/usr/bin/false");
        assert_eq!(read(&programs, 6), Some((false, "/usr/bin/false".into())));
        assert!(programs.is_plain(5) && !programs.is_plain(6) && !programs.is_plain(7));
        programs.tell_plain(6);
        assert_eq!(read(&programs, 6), Some((true, "/usr/bin/false".into())));
        programs.tell_path(6, b"/bin/no");
        assert_eq!(read(&programs, 6), Some((true, "/bin/no".into())), "a shorter one");
    }

    #[test]
    fn one_program_too_many_takes_the_place_of_another_and_none_of_its_facts() {
        let programs = Programs::default();
        for key in 1..=ENTRIES as u64 + 1 {
            programs.tell_path(key, b"/an/executable");
            programs.tell_plain(key);
        }
        let newest = ENTRIES as u64 + 2;
        programs.tell_path(newest, b"/b");
        assert_eq!(read(&programs, newest), Some((false, "/b".into())));
        assert_eq!((1..=newest).filter(|key| read(&programs, *key).is_some()).count(), ENTRIES);
    }

    #[test]
    fn only_paths_that_fit_are_remembered() {
        let programs = Programs::default();
        let longest = "/".repeat(MAX_PATH);
        programs.tell_path(1, longest.as_bytes());
        assert_eq!(read(&programs, 1), Some((false, longest.clone())));
        programs.tell_path(2, format!("{longest}/").as_bytes());
        programs.tell_path(3, b"");
        assert_eq!((read(&programs, 2), read(&programs, 3)), (None, None));
    }

    #[test]
    fn what_is_being_written_is_not_known() {
        let programs = Programs::default();
        programs.tell_plain(1);
        programs.0[0].state.fetch_add(1, Ordering::Relaxed);
        assert!(read(&programs, 1).is_none() && !programs.is_plain(1));
        programs.tell_path(1, b"/a");
        assert_eq!(programs.0[0].state.load(Ordering::Relaxed) & 1, 1, "left to who writes it");
    }

    #[test]
    fn spoiled_entries_are_only_wrong() {
        let programs = Programs::default();
        for word in [0, 1, 2, u64::MAX, u64::MAX - 1, 0x1ff, 0xff] {
            for program in &programs.0 {
                program.state.store(word, Ordering::Relaxed);
                program.about.store(word, Ordering::Relaxed);
                program.key.store(word, Ordering::Relaxed);
            }
            for key in [1, word] {
                read(&programs, key);
                programs.tell_plain(key);
                programs.tell_path(key, b"/a");
            }
        }
    }

    #[test]
    fn every_part_of_a_files_identity_and_its_path_make_the_key() {
        let file = Identity { root: (8, 9), device: 1, inode: 2, size: 3, changed: 4, changed_ns: 5 };
        let others = [
            Identity { root: (7, 9), ..file },
            Identity { root: (8, 7), ..file },
            Identity { device: 2, ..file },
            Identity { inode: 3, ..file },
            Identity { size: 4, ..file },
            Identity { changed: 5, ..file },
            Identity { changed_ns: 6, ..file },
        ];
        let mut keys = vec![file.key(b"/bin/a").unwrap(), file.key(b"/bin/b").unwrap()];
        keys.extend(others.iter().map(|other| other.key(b"/bin/a").unwrap()));
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 9);
        for path in [&b"bin/a"[..], b"./a", b"", b"/proc/self/exe", b"/dev/fd/3"] {
            assert_eq!(file.key(path), None, "{}", String::from_utf8_lossy(path));
        }
        assert!(!is_settled_at(4, 4) && !is_settled_at(4, 5) && is_settled_at(4, 10));
        assert!(!is_settled_at(i64::MAX, i64::MAX));
    }

    #[test]
    fn writers_at_once_leave_nothing_torn() {
        let programs = Programs::default();
        let paths = [[b'a'; 200], [b'b'; 200]];
        std::thread::scope(|scope| {
            for path in &paths {
                scope.spawn(|| (0..20_000).for_each(|_| programs.tell_path(9, path)));
            }
            for _ in 0..20_000 {
                if let Some((_, path)) = read(&programs, 9) {
                    assert!(path.is_empty() || paths.iter().any(|whole| whole == path.as_bytes()), "{path}");
                }
            }
        });
    }
}
