//! What a program is: how the kernel comes to run it, through which interpreters, and which engine reaches its calls.

use crate::sys;
use chaos_table::elf::{self, First};
use chaos_table::image::{self, Image};
use object::elf::{ET_DYN, FileHeader64, PT_NOTE};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, Object, ObjectSection, ReadCache};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Scripts name interpreters which may be scripts: as deep as the kernel goes.
const MAX_SCRIPTS: usize = 4;
/// env may start env.
const MAX_STEPS: usize = 8;
const SHELL: &str = "/bin/sh";

/// What stands between a program and its system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// The library in LD_PRELOAD.
    Preload,
    /// The seccomp supervisor in the launcher.
    Seccomp,
}

impl Engine {
    /// Its name, as `--engine` and the log have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Engine::Preload => "preload",
            Engine::Seccomp => "seccomp",
        }
    }
}

/// A program, from the file that is named to the one that runs in the end.
#[derive(Clone, Debug)]
pub struct Program {
    /// The file that execve gets first; each further one is what runs the one before it, or what that starts.
    pub steps: Vec<Step>,
    /// Why the last step cannot be run, if it cannot.
    pub trouble: Option<String>,
}

/// One file on the way.
#[derive(Clone, Debug)]
pub struct Step {
    /// The file.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// The rights that the kernel gives to whoever starts it.
    pub gain: Option<Gain>,
}

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A script, with what its first line names.
    Script,
    /// Text without `#!`: execve refuses it, execvp and shells give it to /bin/sh.
    Text,
    /// Its loader brings libraries.
    Dynamic {
        /// The loader.
        loader: PathBuf,
        /// Whose code makes system calls of its own.
        go: Option<Go>,
    },
    /// The loader itself.
    Loader,
    /// Without a loader.
    Static {
        /// Whether it may lie anywhere in memory (static-pie).
        pie: bool,
        /// Whether Go's linker made it.
        go: Option<Go>,
    },
    /// For another machine; the text says which.
    Foreign(&'static str),
}

/// A program by Go's linker: its version, as `go1.19.8`; empty when the program does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Go(pub String);

/// Rights that a program gives to whoever starts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gain {
    /// Its owner's.
    Setuid,
    /// Its group's.
    Setgid,
    /// Capabilities.
    Capabilities,
}

impl Gain {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Gain::Setuid => "setuid",
            Gain::Setgid => "setgid",
            Gain::Capabilities => "has file capabilities",
        }
    }
}

impl Kind {
    /// In words.
    #[must_use]
    pub fn words(&self) -> String {
        let by = |go: &Option<Go>| match go {
            Some(Go(version)) if version.is_empty() => ", Go".to_owned(),
            Some(Go(version)) => format!(", Go ({version})"),
            None => String::new(),
        };
        match self {
            Kind::Script => "script".into(),
            Kind::Text => "text without #!, for /bin/sh".into(),
            Kind::Dynamic { loader, go } => format!("dynamic, {}{}", libc_of(loader), by(go)),
            Kind::Loader => "the dynamic loader".into(),
            Kind::Static { pie: true, go } => format!("static-pie{}", by(go)),
            Kind::Static { pie: false, go } => format!("static{}", by(go)),
            Kind::Foreign(machine) => format!("for {machine}"),
        }
    }

    /// The engine that reaches its calls; `None` for what neither reaches, and for scripts.
    #[must_use]
    pub fn engine(&self) -> Option<Engine> {
        match self {
            Kind::Dynamic { go: None, .. } | Kind::Loader => Some(Engine::Preload),
            Kind::Dynamic { .. } | Kind::Static { .. } => Some(Engine::Seccomp),
            Kind::Script | Kind::Text | Kind::Foreign(_) => None,
        }
    }
}

/// The C library that a loader belongs to.
fn libc_of(loader: &Path) -> String {
    let name = loader.file_name().unwrap_or_default().to_string_lossy();
    match &*name {
        name if name.starts_with("ld-musl") => "musl".into(),
        name if name.starts_with("ld-linux") => "glibc".into(),
        _ => format!("loader {}", loader.display()),
    }
}

impl Program {
    /// Looks at a file and follows what it names.
    #[must_use]
    pub fn at(path: &Path, arguments: &[OsString]) -> Program {
        let mut program = Program { steps: Vec::new(), trouble: None };
        program.follow(path.to_owned(), arguments.iter().skip(1).cloned().collect());
        program
    }

    fn follow(&mut self, path: PathBuf, arguments: Vec<OsString>) {
        let (step, next) = match look(&path) {
            Ok(seen) => seen,
            Err(error) => {
                self.trouble = Some(format!("cannot look at {}: {}", path.display(), crate::error::plain(&error)));
                return;
            }
        };
        let is_env = matches!(step.kind, Kind::Dynamic { .. } | Kind::Static { .. })
            && path.file_name() == Some(OsStr::new("env"));
        if let Kind::Dynamic { loader, .. } = &step.kind
            && !loader.is_file()
        {
            self.trouble = Some(format!("its loader {} is missing", loader.display()));
        }
        self.steps.push(step);
        let scripts = self.steps.iter().filter(|step| step.kind == Kind::Script).count();
        match next {
            Some(_) if scripts > MAX_SCRIPTS => {
                self.trouble = Some(format!("interpreters that are scripts, more than {MAX_SCRIPTS} deep"));
            }
            Some((interpreter, argument)) => {
                let mut words: Vec<OsString> = argument.into_iter().collect();
                words.push(path.into());
                words.extend(arguments);
                if interpreter.is_file() {
                    self.follow(interpreter, words);
                } else {
                    self.trouble = Some(format!("its interpreter {} is missing", interpreter.display()));
                }
            }
            None if is_env && self.trouble.is_none() && self.steps.len() < MAX_STEPS => {
                // What env cannot find is env's to complain of; it starts all the same.
                if let Some((path, rest)) = started_by_env(&arguments) {
                    self.follow(path, rest);
                }
            }
            None => {}
        }
    }

    /// The file that the kernel runs first: what the scripts before it lead to.
    #[must_use]
    pub fn first(&self) -> Option<&Step> {
        self.steps.iter().find(|step| !matches!(step.kind, Kind::Script | Kind::Text))
    }

    /// The file that runs in the end.
    #[must_use]
    pub fn last(&self) -> Option<&Step> {
        self.steps.iter().rfind(|step| !matches!(step.kind, Kind::Script | Kind::Text))
    }

    /// The library that must be loaded before the shim, if there is one.
    #[must_use]
    pub fn first_library(&self) -> Option<First> {
        let file = File::open(&self.first()?.path).ok()?;
        elf::first_library(&head_of(&file), |buffer, at| file.read_at(buffer, at).unwrap_or(0))
    }
}

impl Step {
    /// Why neither engine reaches it, if none does.
    #[must_use]
    pub fn out_of_reach(&self) -> Option<String> {
        let shown = self.path.display();
        match (self.gain, &self.kind) {
            (Some(gain), _) => Some(format!(
                "{shown} {}",
                if gain == Gain::Capabilities { gain.words().into() } else { format!("is {}", gain.words()) }
            )),
            (None, Kind::Foreign(machine)) => Some(format!("{shown} is for {machine}")),
            _ => None,
        }
    }
}

/// So much of a file as its headers take.
fn head_of(file: &File) -> Vec<u8> {
    let mut head = vec![0; image::HEAD];
    let filled = file.read_at(&mut head, 0).unwrap_or(0);
    head.truncate(filled);
    head
}

/// A file, and the interpreter that it names with its argument.
type Seen = (Step, Option<(PathBuf, Option<OsString>)>);

fn look(path: &Path) -> std::io::Result<Seen> {
    let file = File::open(path)?;
    let head = head_of(&file);
    let mut gain = gain(path, &file)?;
    let mut next = None;
    let kind = match image::image(&head, |buffer, at| file.read_at(buffer, at).unwrap_or(0)) {
        Image::Script { interpreter, argument } => {
            let owned = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
            next = Some((owned(interpreter).into(), Some(owned(argument)).filter(|argument| !argument.is_empty())));
            Kind::Script
        }
        Image::Unknown => {
            next = Some((SHELL.into(), None));
            Kind::Text
        }
        Image::Foreign => Kind::Foreign(machine(&head)),
        Image::Loader => Kind::Loader,
        Image::Dynamic | Image::DynamicGo | Image::Static => inside(file),
    };
    if matches!(kind, Kind::Script | Kind::Text) {
        // The kernel gives a script no rights.
        gain = None;
    }
    Ok((Step { path: path.to_owned(), kind, gain }, next))
}

fn gain(path: &Path, file: &File) -> std::io::Result<Option<Gain>> {
    let meta = file.metadata()?;
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let both = libc::S_ISGID | libc::S_IXGRP;
    let gain = if meta.mode() & libc::S_ISUID != 0 && meta.uid() != uid {
        Gain::Setuid
    } else if meta.mode() & both == both && meta.gid() != gid {
        Gain::Setgid
    } else if uid != 0 && sys::has_capabilities(file) {
        Gain::Capabilities
    } else {
        return Ok(None);
    };
    let nosuid = nix::sys::statvfs::statvfs(path)
        .is_ok_and(|mount| mount.flags().contains(nix::sys::statvfs::FsFlags::ST_NOSUID));
    let gave_up = nix::sys::prctl::get_no_new_privs().unwrap_or(false);
    Ok(Some(gain).filter(|_| !nosuid && !gave_up))
}

/// A file as it is now: its device, inode, size, and when it was last changed.
type Identity = (u64, u64, u64, i64, i64);

/// What was found in programs before: many runs of one are made by copies of a process that has looked at it.
static SEEN: Mutex<BTreeMap<Identity, Kind>> = Mutex::new(BTreeMap::new());

/// What an x86-64 program is, from all of its headers.
fn inside(file: File) -> Kind {
    let seen = || SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let identity = file.metadata().map(|meta| (meta.dev(), meta.ino(), meta.size(), meta.ctime(), meta.ctime_nsec()));
    if let Ok(identity) = &identity
        && let Some(kind) = seen().get(identity)
    {
        return kind.clone();
    }
    let kind = from_headers(file);
    if let Ok(identity) = identity {
        seen().insert(identity, kind.clone());
    }
    kind
}

fn from_headers(file: File) -> Kind {
    let cache = ReadCache::new(file);
    let unknown = Kind::Static { pie: false, go: None };
    // Its sections may be cut off or stripped: the kernel needs none.
    let Ok(header) = FileHeader64::<Endianness>::parse(&cache) else { return unknown };
    let Ok(endian) = header.endian() else { return unknown };
    let headers = header.program_headers(endian, &cache).unwrap_or_default();
    let go = Elf::parse(&cache).ok().and_then(|elf| go_of(&elf));
    match headers.iter().find_map(|header| header.interpreter(endian, &cache).ok().flatten()) {
        Some(loader) => Kind::Dynamic { loader: PathBuf::from(OsStr::from_bytes(loader)), go },
        None => Kind::Static { pie: header.e_type(endian) == ET_DYN, go },
    }
}

type Elf<'a> = ElfFile64<'a, Endianness, &'a ReadCache<File>>;

/// Go's build information, or its linker's note where that was stripped.
fn go_of(elf: &Elf<'_>) -> Option<Go> {
    if let Some(data) = elf.section_by_name(".go.buildinfo").and_then(|section| section.data().ok()) {
        return Some(Go(go_version(data).unwrap_or_default()));
    }
    let endian = elf.endian();
    let notes = elf.elf_program_headers().iter().filter(|header| header.p_type(endian) == PT_NOTE);
    let is_go = notes
        .flat_map(|header| header.notes(endian, elf.data()).ok().flatten())
        .any(|mut notes| std::iter::from_fn(|| notes.next().ok().flatten()).any(|note| note.name() == b"Go"));
    is_go.then(Go::default)
}

/// The version in build information of Go 1.18 and later, which holds it as a length and text.
fn go_version(info: &[u8]) -> Option<String> {
    const HEADER: usize = 32;
    const INLINE: u8 = 2;
    let flags = info.strip_prefix(b"\xff Go buildinf:")?.get(1)?;
    let (length, text) = info.get(HEADER..)?.split_first()?;
    // One byte of length is enough for any version's name.
    let text = text.get(..usize::from(*length)).filter(|_| flags & INLINE != 0 && *length < 128)?;
    std::str::from_utf8(text).ok().map(str::to_owned)
}

/// The machine that a foreign program is for.
fn machine(head: &[u8]) -> &'static str {
    let number = head.get(18..20).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_le_bytes);
    match (number, head.get(4)) {
        (3, _) => "32-bit x86",
        (62, _) => "the x32 ABI",
        (183, _) => "arm64",
        (40, _) => "32-bit ARM",
        (243, _) => "RISC-V",
        (21, _) => "PowerPC",
        (22, _) => "s390",
        _ => "another machine",
    }
}

/// What env(1) starts with these arguments, and what that gets.
fn started_by_env(arguments: &[OsString]) -> Option<(PathBuf, Vec<OsString>)> {
    let mut words: Vec<OsString> = arguments.to_vec();
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let bytes = word.as_bytes();
        if let Some(string) = bytes.strip_prefix(b"-S").or_else(|| bytes.strip_prefix(b"--split-string=")) {
            // Of the kernel's one argument env makes several.
            let split = string.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
            let split: Vec<OsString> = split.map(|word| OsString::from_vec(word.to_vec())).collect();
            words.splice(at..=at, split);
        } else if matches!(bytes, b"-u" | b"-C" | b"--unset" | b"--chdir") {
            at += 2;
        } else if bytes.starts_with(b"-") || bytes.contains(&b'=') {
            at += 1;
        } else {
            let path = crate::command::find_file(word).ok()?;
            return Some((path, words.split_off(at + 1)));
        }
    }
    None
}
