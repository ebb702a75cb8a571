//! Which calls of the table a program can make where an engine sees them, and so which rules could fire in it.

use crate::engine;
use crate::program::Engine;
use chaos_table::calls::{CALLS, Call, Op};
use chaos_table::decide::{Patterns, last_component};
use chaos_table::rule::{Plan, Rule, flag};
use lddtree::DependencyAnalyzer;
use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSymbol, ReadCache};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What a dynamic program takes from libc, by itself and by its libraries.
#[derive(Debug, Default)]
pub struct Imports {
    /// Each call, and the files that import it.
    pub calls: BTreeMap<usize, Vec<String>>,
    /// The libraries that the loader brings, by what the program calls them.
    pub libraries: Vec<String>,
    /// Those that it will not find.
    pub missing: Vec<String>,
    /// Who makes system calls by libc's `syscall()`, which the shim sees as well.
    pub raw: Vec<String>,
    /// Who loads more code while it runs.
    pub loads: Vec<String>,
}

/// Whether a call, or a rule, can come to anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "fires", content = "why", rename_all = "lowercase")]
pub enum Chance {
    /// It can; at these calls, or by the launcher.
    Yes(String),
    /// Nothing that was seen makes it, but what cannot be seen from outside may.
    Perhaps(String),
    /// It cannot.
    No(String),
}

impl Imports {
    /// Of a program and of all libraries that its loader will bring.
    #[must_use]
    pub fn of(program: &Path) -> Imports {
        let mut all = Imports::default();
        all.add(program);
        // The loader looks there as well; what the shim's own environment would add is no library of the program's.
        let paths = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        let paths: Vec<PathBuf> = std::env::split_paths(&paths).filter(|path| path.is_absolute()).collect();
        let Ok(tree) = DependencyAnalyzer::default().library_paths(paths).analyze(program) else { return all };
        let mut files = BTreeSet::new();
        let sorted: BTreeMap<_, _> = tree.libraries.iter().collect();
        for (name, library) in sorted {
            // libc's calls to itself never come by where the shim stands; musl's is the loader, whatever it is called.
            if is_libc(name) {
                all.libraries.push(name.clone());
                continue;
            }
            match &library.realpath {
                None => all.missing.push(name.clone()),
                Some(path) => {
                    all.libraries.push(name.clone());
                    if files.insert(path.clone()) {
                        all.add(path);
                    }
                }
            }
        }
        all
    }

    fn add(&mut self, file: &Path) {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for symbol in imported(file).unwrap_or_default() {
            let users = match symbol.as_str() {
                "syscall" => &mut self.raw,
                "dlopen" | "dlmopen" => &mut self.loads,
                symbol => match Op::by_symbol(symbol) {
                    Some(op) => self.calls.entry(op as usize).or_default(),
                    None => continue,
                },
            };
            if users.last() != Some(&name) {
                users.push(name.clone());
            }
        }
    }

    /// Whether the shim may come to see this call.
    fn chance(&self, call: &Call) -> Chance {
        if let Some(users) = self.calls.get(&(call.op as usize)) {
            return Chance::Yes(users.join(" "));
        }
        if !self.raw.is_empty() && !call.syscalls().is_empty() {
            return Chance::Perhaps(format!("only by syscall(), which {} may call for it", self.raw.join(" and ")));
        }
        match self.loads.first() {
            Some(loader) => Chance::Perhaps(format!("only in code that {loader} may load while it runs")),
            None => Chance::No("nothing in the program imports it".into()),
        }
    }
}

fn is_libc(name: &str) -> bool {
    name == "libc.so"
        || ["libc.so.", "libc.musl-", "ld-linux", "ld-musl", "ld64.so"].iter().any(|start| name.starts_with(start))
}

/// Names of the symbols that a file takes from elsewhere.
fn imported(file: &Path) -> Option<Vec<String>> {
    let cache = ReadCache::new(File::open(file).ok()?);
    let elf = ElfFile64::<Endianness, _>::parse(&cache).ok()?;
    let symbols = elf.dynamic_symbols().filter(ObjectSymbol::is_undefined);
    Some(symbols.filter_map(|symbol| symbol.name().ok().map(str::to_owned)).collect())
}

/// What an engine can see of a program.
#[derive(Debug)]
pub enum Reach {
    /// What it imports.
    Shim(Imports),
    /// Every system call that the table knows.
    Kernel,
}

impl Reach {
    /// By this engine, of this file.
    #[must_use]
    pub fn of(engine: Engine, program: &Path) -> Reach {
        match engine {
            Engine::Preload => Reach::Shim(Imports::of(program)),
            Engine::Seccomp => Reach::Kernel,
        }
    }

    /// Whether a call can be seen.
    #[must_use]
    pub fn chance(&self, call: &Call) -> Chance {
        match self {
            Reach::Shim(imports) => imports.chance(call),
            Reach::Kernel if call.is_system_call() => Chance::Yes("its system call".into()),
            Reach::Kernel => Chance::No("it is libc's own affair: the kernel sees no such call".into()),
        }
    }

    /// Whether a rule of a table can fire in this program.
    #[must_use]
    pub fn rule(&self, plan: &Plan, index: usize, program: &Path) -> Chance {
        let Some(rule) = plan.rules.get(index) else { return Chance::No("there is no such rule".into()) };
        if rule.has(flag::LAUNCHER) {
            return Chance::Yes("by the launcher".into());
        }
        if matches!(self, Reach::Kernel)
            && let Some(lost) = engine::unreachable(plan).into_iter().find(|lost| lost.rule == index && lost.whole)
        {
            return Chance::No(lost.why);
        }
        let chances = calls_of(plan, index).map(|call| (call, self.chance(call)));
        let (mut yes, mut perhaps, mut no) = (Vec::new(), Vec::new(), Vec::new());
        for (call, chance) in chances {
            match chance {
                Chance::Yes(_) => yes.push(call.name()),
                Chance::Perhaps(why) => perhaps.push((call.name(), why)),
                Chance::No(why) => no.push((call.name(), why)),
            }
        }
        let told = |all: &[(&str, String)]| {
            let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
            let why = all.first().map_or("no call is planned for it", |(_, why)| why);
            format!("{}: {why}", names.join(" "))
        };
        match (yes.is_empty(), perhaps.is_empty()) {
            (false, _) => of_process(plan, rule, program).unwrap_or_else(|| Chance::Yes(yes.join(" "))),
            (true, false) => Chance::Perhaps(told(&perhaps)),
            (true, true) => Chance::No(told(&no)),
        }
    }
}

/// The calls that a rule is on.
fn calls_of(plan: &Plan, index: usize) -> impl Iterator<Item = &'static Call> {
    CALLS.iter().filter(move |call| plan.header.planned[call.op as usize] & (1 << index) != 0)
}

/// What a `process` selector says of this program, if it is another's.
fn of_process(plan: &Plan, rule: &Rule, program: &Path) -> Option<Chance> {
    let patterns = Patterns { matchers: &plan.matchers, text: &plan.text };
    let path = program.as_os_str().as_bytes();
    let names = [last_component(path), path];
    let wanted = !rule.has(flag::PROCESS) || patterns.process(rule.processes, &names);
    let spared = patterns.process(rule.except.processes, &names);
    (!wanted || spared).then(|| Chance::Perhaps("only in its children: `process` is not this program".into()))
}
