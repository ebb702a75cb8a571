//! The matchers of a plan and the text behind them.

use crate::error::{Problem, nearest, quoted};
use crate::rule::{MAX_HOSTS, MAX_ROLES, Matcher, Span, matcher};
use crate::selectors::{Glob, Peer, Ports, Target};
use crate::value::Many;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// At most so many matchers.
const MAX_MATCHERS: usize = 4096;
/// At most so many bytes of text.
const MAX_TEXT: usize = 256 << 10;

pub(super) struct Patterns<'a> {
    pub matchers: Vec<Matcher>,
    pub warnings: Vec<String>,
    text: Vec<u8>,
    /// The bit of a host pattern is its index here.
    hosts: Vec<String>,
    roles: &'a BTreeMap<String, Many<Target>>,
    /// As the kernel names it.
    work_dir: PathBuf,
}

impl<'a> Patterns<'a> {
    pub fn new(work_dir: &Path, roles: &'a BTreeMap<String, Many<Target>>) -> Patterns<'a> {
        // A directory that is gone keeps the name that it had.
        let work_dir = std::fs::canonicalize(work_dir).unwrap_or_else(|_| work_dir.to_owned());
        Patterns { matchers: Vec::new(), warnings: Vec::new(), text: Vec::new(), hosts: Vec::new(), roles, work_dir }
    }

    pub fn into_parts(self) -> (Vec<Matcher>, Vec<u8>) {
        (self.matchers, self.text)
    }

    pub fn text(&mut self, bytes: &[u8]) -> Result<Span, Problem> {
        if self.text.len() + bytes.len() > MAX_TEXT {
            return Err(
                Problem::new("the patterns and names of the table are too long together").help("at most 256 KiB")
            );
        }
        let first = self.text.len() as u32;
        self.text.extend_from_slice(bytes);
        Ok(Span { first, count: bytes.len() as u32 })
    }

    /// The matchers from `first` on.
    pub fn since(&self, first: usize) -> Span {
        Span { first: first as u32, count: (self.matchers.len() - first) as u32 }
    }

    /// The working directory; empty when it is `/`, below which everything lies.
    pub fn work_dir(&mut self) -> Result<Span, Problem> {
        let bytes = self.work_dir.as_os_str().as_bytes().to_owned();
        if bytes == b"/" { Ok(Span::default()) } else { self.text(&bytes) }
    }

    /// The globs from `first` on do not reach below the working directory, but for those that name shared objects.
    pub fn spare_work_dir(&mut self, first: usize) {
        for matcher in self.matchers.iter_mut().skip(first) {
            let shared_object = crate::rule::bytes_of(&self.text, matcher.text).starts_with(b"/**/*.so");
            matcher.spares_work_dir = u8::from(!shared_object);
        }
    }

    pub fn add(&mut self, kind: u8, text: &[u8]) -> Result<(), Problem> {
        let text = self.text(text)?;
        self.push(Matcher { kind, text, ..Matcher::default() })
    }

    fn push(&mut self, matcher: Matcher) -> Result<(), Problem> {
        if self.matchers.len() >= MAX_MATCHERS {
            return Err(Problem::new("the table has too many patterns")
                .help(format!("at most {MAX_MATCHERS}; a glob can say more with {{a,b}}")));
        }
        self.matchers.push(matcher);
        Ok(())
    }

    pub fn paths(&mut self, globs: &[Glob]) -> Result<Span, Problem> {
        let first = self.matchers.len();
        globs.iter().try_for_each(|glob| self.path(glob))?;
        Ok(self.since(first))
    }

    /// A path glob: without a slash on the last component, relative ones from the working directory. Where a directory
    /// before the first wildcard is a symbolic link, what it points to counts as well, for the kernel knows only that.
    pub fn path(&mut self, glob: &Glob) -> Result<(), Problem> {
        let text = glob.0.as_str();
        if !text.contains('/') {
            return self.add(matcher::NAME, text.as_bytes());
        }
        let (literal, rest) = split_literal(text);
        if rest.split('/').any(|part| part == "..") {
            return Err(Problem::new(format!("{} has `..` behind a wildcard", quoted(text)))
                .help("write the path without `..`"));
        }
        let start = if literal.starts_with('/') { Path::new("/") } else { self.work_dir.as_path() };
        let plain = lexical(start, &literal);
        self.add(matcher::PATH, &joined(&plain, rest))?;
        let real = canonical(&plain);
        if real != plain {
            self.add(matcher::PATH, &joined(&real, rest))?;
        }
        Ok(())
    }

    pub fn processes(&mut self, globs: &[Glob]) -> Result<Span, Problem> {
        let first = self.matchers.len();
        globs.iter().try_for_each(|glob| self.add(matcher::NAME, glob.0.as_bytes()))?;
        Ok(self.since(first))
    }

    pub fn peers(&mut self, targets: &[Target]) -> Result<Span, Problem> {
        let first = self.matchers.len();
        targets.iter().try_for_each(|target| self.peer(target, &mut Vec::new()))?;
        Ok(self.since(first))
    }

    /// The members of all roles, each with the number of its role.
    pub fn all_roles(&mut self) -> Result<Span, Problem> {
        let first = self.matchers.len();
        for (number, name) in (0..).zip(self.roles.keys().take(MAX_ROLES)) {
            let from = self.matchers.len();
            self.role(name, &mut Vec::new())?;
            self.matchers.iter_mut().skip(from).for_each(|matcher| matcher.role = number);
        }
        Ok(self.since(first))
    }

    /// `open`: the roles that are being expanded.
    fn peer(&mut self, target: &Target, open: &mut Vec<String>) -> Result<(), Problem> {
        match target.peer()? {
            Peer::Net { family, prefix, address, ports } => self.push(Matcher {
                kind: matcher::CIDR,
                family,
                prefix,
                port_first: ports.first,
                port_last: ports.last,
                address,
                ..Matcher::default()
            }),
            Peer::Unix(path) => self.unix(&path),
            Peer::Host(host, ports) => {
                if self.roles.contains_key(&host) {
                    let problem =
                        Problem::new(format!("{} gives the role {} a port", quoted(&target.0), quoted(&host)));
                    return Err(problem.help("put the port into the role's own list"));
                }
                self.host(&host, ports)
            }
            Peer::Bare(word) if self.roles.contains_key(&word) => self.role(&word, open),
            Peer::Bare(word) => match nearest(&word, self.roles.keys().map(String::as_str)) {
                Some(near) => {
                    let problem = Problem::new(format!("unknown role {}", quoted(&word)));
                    Err(problem.help(format!("did you mean `{near}`? A host of this name is written host:{word}")))
                }
                None => self.host(&word.to_lowercase(), Ports::ANY),
            },
            Peer::Role(name) => self.role(&name, open),
        }
    }

    fn role(&mut self, name: &str, open: &mut Vec<String>) -> Result<(), Problem> {
        let Some(Many(targets)) = self.roles.get(name) else {
            return Err(Problem::unknown("role", name, self.roles.keys().map(String::as_str)));
        };
        if open.iter().any(|other| other == name) {
            return Err(Problem::new(format!("the role {} leads back to itself: {}", quoted(name), open.join(", "))));
        }
        open.push(name.to_owned());
        for target in targets {
            self.peer(target, open)?;
        }
        open.pop();
        Ok(())
    }

    fn host(&mut self, host: &str, ports: Ports) -> Result<(), Problem> {
        let bit = match self.hosts.iter().position(|known| known == host) {
            Some(bit) => bit,
            None if self.hosts.len() < MAX_HOSTS => {
                self.hosts.push(host.to_owned());
                self.hosts.len() - 1
            }
            None => {
                let problem = Problem::new(format!("more than {MAX_HOSTS} different host patterns"));
                return Err(problem.help("a glob can say more with * and {a,b}"));
            }
        };
        let text = self.text(host.as_bytes())?;
        self.push(Matcher {
            kind: matcher::HOST,
            host_bit: bit as u8,
            port_first: ports.first,
            port_last: ports.last,
            text,
            ..Matcher::default()
        })
    }

    /// The path of a unix socket; without a slash its last component, and abstract names start with `@`.
    fn unix(&mut self, path: &str) -> Result<(), Problem> {
        self.add(matcher::UNIX, path.as_bytes())?;
        if path.contains('/') || path.starts_with('@') {
            Ok(())
        } else {
            self.add(matcher::UNIX, format!("/**/{path}").as_bytes())
        }
    }

    /// Whether there is a host pattern at all.
    pub fn has_hosts(&self) -> bool {
        !self.hosts.is_empty()
    }

    /// Whether there is a host pattern among these.
    pub fn has_host(&self, span: Span) -> bool {
        let first = span.first as usize;
        self.matchers.iter().skip(first).take(span.count as usize).any(|m| m.kind == matcher::HOST)
    }
}

/// A glob's directories before its first wildcard, unescaped, and the rest with the wildcard; the rest is empty when
/// there is no wildcard.
fn split_literal(glob: &str) -> (String, &str) {
    let mut literal = String::new();
    let mut component = String::new();
    let mut rest = 0;
    let mut chars = glob.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '*' | '?' | '[' | '{' => return (literal, &glob[rest..]),
            '\\' => component.extend(chars.next().map(|(_, escaped)| escaped)),
            '/' => {
                literal.push_str(&component);
                literal.push('/');
                component.clear();
                rest = at + 1;
            }
            c => component.push(c),
        }
    }
    (literal + &component, "")
}

/// A path without `.`, `..` and doubled slashes, by its letters alone.
fn lexical(start: &Path, path: &str) -> PathBuf {
    let mut all = start.to_owned();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                all.pop();
            }
            part => all.push(part),
        }
    }
    all
}

/// A path with the symbolic links of its longest existing part resolved. The last component of a path without wildcard
/// is resolved too: an open follows it.
fn canonical(path: &Path) -> PathBuf {
    for existing in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (std::fs::canonicalize(existing), path.strip_prefix(existing)) {
            return if rest.as_os_str().is_empty() { real } else { real.join(rest) };
        }
    }
    path.to_owned()
}

/// A literal directory, its letters escaped, and what follows it.
fn joined(dir: &Path, rest: &str) -> Vec<u8> {
    let mut glob = escaped(dir.as_os_str());
    if !rest.is_empty() {
        if glob.last() != Some(&b'/') {
            glob.push(b'/');
        }
        // Doubled slashes and "./" stand in no path of the kernel's.
        let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        glob.extend_from_slice(parts.join("/").as_bytes());
    }
    glob
}

/// A text as a glob that matches it alone.
fn escaped(text: &OsStr) -> Vec<u8> {
    let mut glob = Vec::new();
    for byte in text.as_bytes() {
        if b"*?[]{}\\!,".contains(byte) {
            glob.push(b'\\');
        }
        glob.push(*byte);
    }
    glob
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_literal_part_ends_at_the_last_slash_before_a_wildcard() {
        assert_eq!(split_literal("/var/lib/*.db"), ("/var/lib/".into(), "*.db"));
        assert_eq!(split_literal("data/a?/b"), ("data/".into(), "a?/b"));
        assert_eq!(split_literal("/a/b"), ("/a/b".into(), ""));
        assert_eq!(split_literal(r"/a\*b/c*"), ("/a*b/".into(), "c*"));
        assert_eq!(split_literal("**/x"), (String::new(), "**/x"));
    }

    proptest! {
        #[test]
        fn an_escaped_text_matches_itself(text in "[/a-z*?!,{}\\[\\]\\\\ ]{1,20}") {
            prop_assert!(fast_glob::glob_match(escaped(OsStr::new(&text)), &text));
        }
    }
}
