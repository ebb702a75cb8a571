//! Which rules match a path or a peer, and what `protect` keeps away: the same for both engines.

use crate::decide::{Patterns, Peer, is_below};
use crate::rule::{MAX_RULES, Rule, Span, bytes_of, flag};

/// The rules and what they refer to, as one process sees them.
#[derive(Clone, Copy, Debug)]
pub struct Matching<'a> {
    /// All rules.
    pub rules: &'a [Rule],
    /// Patterns and their text.
    pub patterns: Patterns<'a>,
    /// The globs of `protect`.
    pub protect: Span,
    /// The text of the user's working directory.
    pub work_dir: Span,
    /// The process's executable.
    pub executable: &'a [u8],
}

impl Matching<'_> {
    /// Of the rules in `wanted`: those whose path selector matches, and those that only `protect` keeps away.
    #[must_use]
    pub fn path(&self, path: &[u8], wanted: u64) -> (u64, u64) {
        let absolute = path.first() == Some(&b'/');
        // Dozens of globs: asked only where a rule wants to know.
        let mut guarded = None;
        let (mut matching, mut protected) = (0, 0);
        for (index, rule) in self.rules.iter().enumerate().take(MAX_RULES) {
            let bit = 1 << index;
            if wanted & bit == 0
                || rule.has(flag::PEER)
                || (rule.has(flag::PATH) && !(absolute && self.patterns.path(rule.paths, path)))
                || (absolute && self.patterns.path(rule.except.paths, path))
            {
                continue;
            }
            if rule.has(flag::PROTECTED) && absolute && *guarded.get_or_insert_with(|| self.is_protected(path)) {
                protected |= bit;
            } else {
                matching |= bit;
            }
        }
        (matching, protected)
    }

    /// Of the rules in `wanted`: those whose `not` names this path.
    #[must_use]
    pub fn spared_path(&self, path: &[u8], wanted: u64) -> u64 {
        self.spared_by(wanted, |rule| path.first() == Some(&b'/') && self.patterns.path(rule.except.paths, path))
    }

    /// Of the rules in `wanted` that have a `not`: those for which `is_spared` holds.
    #[must_use]
    pub fn spared_by(&self, wanted: u64, is_spared: impl Fn(&Rule) -> bool) -> u64 {
        self.rules.iter().enumerate().take(MAX_RULES).fold(0, |bits, (index, rule)| {
            let spared = wanted & (1 << index) != 0 && rule.has(flag::EXCEPT) && is_spared(rule);
            bits | (u64::from(spared) << index)
        })
    }

    /// Of the rules in `wanted`: those whose peer selector matches. `hosts` are the bits of the names remembered for the
    /// peer's address.
    #[must_use]
    pub fn peer(&self, peer: Peer<'_>, hosts: u64, wanted: u64) -> u64 {
        let mut matching = 0;
        for (index, rule) in self.rules.iter().enumerate().take(MAX_RULES) {
            let bit = 1 << index;
            if wanted & bit != 0
                && !rule.has(flag::PATH)
                && (!rule.has(flag::PEER) || self.patterns.peer(rule.peers, peer, hosts))
                && !self.patterns.peer(rule.except.peers, peer, hosts)
            {
                matching |= bit;
            }
        }
        matching
    }

    /// Whether `protect` leaves a path alone: by its globs, or because the executable is or owns it. The system's and
    /// the runtimes' globs spare the user's working directory.
    #[must_use]
    pub fn is_protected(&self, path: &[u8]) -> bool {
        let protect = self.protect;
        if protect.count == 0 {
            return false;
        }
        let patterns = self.patterns;
        if path == self.executable {
            return true;
        }
        let below_work = is_below(path, bytes_of(patterns.text, self.work_dir));
        let first = protect.first as usize;
        let globs = patterns.matchers.get(first..first.saturating_add(protect.count as usize)).unwrap_or(&[]);
        let by_glob = globs
            .iter()
            .any(|matcher| (!below_work || matcher.spares_work_dir == 0) && patterns.path_matcher(matcher, path));
        by_glob || (!below_work && in_installation(self.executable, path))
    }
}

/// Whether a path is library code beside an executable: for /opt/x/bin/tool, /opt/x/lib, lib64 or share and what lies there.
fn in_installation(executable: &[u8], path: &[u8]) -> bool {
    let mut parts = executable.rsplitn(3, |byte| *byte == b'/');
    let (Some(_), Some(b"bin" | b"sbin"), Some(prefix)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    if prefix.is_empty() {
        return false;
    }
    path.strip_prefix(prefix).is_some_and(|rest| {
        [&b"/lib"[..], b"/lib64", b"/share", b"/include"]
            .iter()
            .any(|dir| rest.strip_prefix(*dir).is_some_and(|below| matches!(below.first(), None | Some(b'/'))))
    })
}

/// Rules whose `process` selector does not exclude a program of this name and executable.
#[must_use]
pub fn rules_for(rules: &[Rule], patterns: Patterns<'_>, program: &[u8], executable: &[u8]) -> u64 {
    let names = [program, crate::decide::last_component(executable), executable];
    let wanted = rules.iter().enumerate().filter(|(_, rule)| {
        (!rule.has(flag::PROCESS) || patterns.process(rule.processes, &names))
            && !patterns.process(rule.except.processes, &names)
    });
    wanted.fold(0, |bits, (index, _)| bits | 1 << index)
}
