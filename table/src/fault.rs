//! One fault as a user writes it: what, where, when. The same keys in files and in one-line specs.

use crate::calls::{Direction, FaultKind};
use crate::counts::{Count, ExitCode, Nth, Number, Returned};
use crate::errnos::Errnos;
use crate::error::{Place, Problem};
use crate::quantities::{
    Bandwidth, Bytes, Cut, Flip, Lasting, Limit, Millis, Offset, Pace, Part, Rate, Repeat, Seconds, Time, Zero,
};
use crate::selectors::{FdRange, Glob, SizeRange, Target};
use crate::value::{Field, Key, Keys, Many, Word, set_once};
use crate::words::{Answer, CallName, Clock, Distribution, Label, Mode, Per, Resource, Signal, Then};
use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Where a fault was written; no part of what it means, so all are equal.
#[derive(Clone, Debug, Default)]
pub struct Origin(pub Option<Place>);

impl PartialEq for Origin {
    fn eq(&self, _: &Origin) -> bool {
        true
    }
}

/// The value type of a key: that of its field, or that of an alias with another unit.
macro_rules! type_of {
    ($field:ty) => {
        $field
    };
    ($field:ty, $via:ty) => {
        $via
    };
}

/// Generates a struct of optional values, its keys, and reading and writing in both forms from one list.
macro_rules! keyed {
    (
        $(#[$about:meta])* $name:ident { $($(#[$extra_doc:meta])* $extra:ident: $extra_type:ty,)* }
        $($(#[$doc:meta])* $field:ident: $type:ty = $key:literal $(| $alias:literal $(as $via:ty)?)*;)*
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name {
            $($(#[$doc])* pub $field: Option<$type>,)*
            $($(#[$extra_doc])* pub $extra: $extra_type,)*
        }

        impl $name {
            /// Every key of one value, aliases included.
            const KEYS: &'static [&'static str] = &[$($key $(, $alias)*),*];

            /// Sets a key from a one-line spec. The key is a known one.
            fn set_plain_word(&mut self, key: &str, word: &Word) -> Result<(), Problem> {
                match key {
                    $(
                        $key => set_once(&mut self.$field, <$type>::from_word(word)?, $key),
                        $($alias => set_once(&mut self.$field, <type_of!($type $(, $via)?)>::from_word(word)?.into(), $key),)*
                    )*
                    _ => Ok(()),
                }
            }

            /// The keys that are given, with their items.
            fn plain_words(&self) -> Vec<(&'static str, Vec<String>)> {
                let mut all = Vec::new();
                $(all.extend(self.$field.iter().map(|value| ($key, value.to_items())));)*
                all
            }

            /// Takes the value of a known key from a map in a file.
            fn take<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
                match key {
                    $(
                        $key => set_once(&mut self.$field, map.next_value::<$type>()?, $key),
                        $($alias => {
                            let value = map.next_value::<type_of!($type $(, $via)?)>()?;
                            set_once(&mut self.$field, value.into(), $key)
                        })*
                    )*
                    _ => Ok(()),
                }
                .map_err(Error::custom)
            }

            fn write_plain<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
                $(if let Some(value) = &self.$field {
                    map.serialize_entry($key, value)?;
                })*
                Ok(())
            }
        }
    };
}

pub(crate) use {keyed, type_of};

/// What stands before a key of `not` in a one-line spec.
const NOT: &str = "not.";

impl Keys for Fault {
    const WHAT: &'static str = "a fault";
    const KNOWN: &'static [&'static str] = Fault::KEYS;
    const MAPS: &'static [&'static str] = &["not"];
    const LATER: &'static [&'static str] = &[];
    fn elsewhere(key: &str) -> Option<String> {
        let of_table =
            ["seed", "enabled", "arm", "protect", "roles", "chaos", "faults", "checks", "max_faults", "intensity"];
        of_table.contains(&key).then(|| format!("`{key}` belongs to the table, beside `faults`"))
    }
}

impl Keys for Not {
    const WHAT: &'static str = "`not`";
    const KNOWN: &'static [&'static str] = Not::KEYS;
    const LATER: &'static [&'static str] = &[];
    fn elsewhere(key: &str) -> Option<String> {
        Fault::KNOWN
            .contains(&key)
            .then(|| "`not` takes selectors: calls, path, to, process, fd, size, caller, direction".to_owned())
    }
}

impl Fault {
    /// Whether a word before `=` is a key of a fault, rather than the calls of a short form.
    pub(crate) fn is_key(written: &str) -> bool {
        Fault::KEYS.contains(&written) || Fault::MAPS.contains(&written) || written.starts_with(NOT)
    }

    /// Sets a key from a one-line spec, where `not.path` is the `path` of `not`.
    pub(crate) fn set_word(&mut self, written: &str, word: &Word) -> Result<(), Problem> {
        match written.strip_prefix(NOT) {
            Some(inner) => {
                let key = Not::key(inner)?;
                self.not.get_or_insert_default().set_plain_word(&key, word)
            }
            None => match Fault::key(written)?.as_str() {
                "not" => {
                    Err(Problem::new("`not` takes a selector here").help("such as not.path=*.log or not.calls=fsync"))
                }
                key => self.set_plain_word(key, word),
            },
        }
    }

    /// The keys that are given, with their items.
    pub(crate) fn words(&self) -> Vec<(String, Vec<String>)> {
        let own = self.plain_words().into_iter().map(|(key, items)| (key.to_owned(), items));
        let not = self.not.iter().flat_map(Not::plain_words).map(|(key, items)| (format!("{NOT}{key}"), items));
        own.chain(not).collect()
    }
}

impl<'de> Visitor<'de> for FaultVisitor {
    type Value = Fault;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a fault: a map such as {fault: error, calls: read}, or a one-line text such as \"read=EIO@10%\"")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Fault, E> {
        crate::spec::parse_in_file(text).map_err(E::custom)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fault, A::Error> {
        let mut fault = Fault::default();
        while let Some(Key(key, _)) = map.next_key::<Key<Fault>>()? {
            if key == "not" {
                set_once(&mut fault.not, map.next_value()?, "not").map_err(Error::custom)?;
            } else {
                fault.take(&key, &mut map)?;
            }
        }
        crate::check::resolve(&fault).map_err(Error::custom)?;
        Ok(fault)
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.write_plain(&mut map)?;
        if let Some(not) = &self.not {
            map.serialize_entry("not", not)?;
        }
        map.end()
    }
}

struct NotVisitor;

impl<'de> Visitor<'de> for NotVisitor {
    type Value = Not;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what is left alone: a map of selectors such as {path: \"*.log\"}")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Not, A::Error> {
        let mut not = Not::default();
        while let Some(Key(key, _)) = map.next_key::<Key<Not>>()? {
            not.take(&key, &mut map)?;
        }
        if not == Not::default() {
            return Err(Error::custom("`not` is empty, so it leaves nothing alone: such as {path: \"*.log\"}"));
        }
        Ok(not)
    }
}

impl<'de> Deserialize<'de> for Not {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NotVisitor)
    }
}

impl Serialize for Not {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.write_plain(&mut map)?;
        map.end()
    }
}

struct FaultVisitor;

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FaultVisitor)
    }
}

keyed! {
    /// What a rule leaves alone: a call that any of these matches.
    Not {}
    /// These calls.
    calls: Many<CallName> = "calls" | "call";
    /// Files with such a path.
    path: Many<Glob> = "path" | "paths";
    /// These peers.
    to: Many<Target> = "to" | "peer" | "host" | "hosts";
    /// Programs of this name.
    process: Many<Glob> = "process" | "processes" | "program";
    /// These descriptors.
    fd: FdRange = "fd" | "fds";
    /// Calls that ask for so many bytes.
    size: SizeRange = "size";
    /// Calls made by these modules.
    caller: Many<Glob> = "caller" | "callers";
    /// Data that goes this way.
    direction: Direction = "direction";
}

keyed! {
    /// A fault: what happens, to which calls, when. What is `None` was not given.
    Fault {
        /// What it leaves alone.
        not: Option<Not>,
        /// Where it was written.
        origin: Origin,
    }
    /// What happens. Never `None` in a fault that was read.
    fault: FaultKind = "fault" | "type" | "kind";
    /// Name of the rule; generated when absent.
    name: Label = "name";
    /// Which calls; some faults have a default.
    calls: Many<CallName> = "calls" | "call";
    /// Only files with such a path.
    path: Many<Glob> = "path" | "paths";
    /// Only failure points of the program's own with such a name.
    point: Many<Glob> = "point" | "points";
    /// Only these peers.
    to: Many<Target> = "to" | "peer" | "host" | "hosts";
    /// Only programs of this name (or executable path, with a slash).
    process: Many<Glob> = "process" | "processes" | "program";
    /// Only these descriptors.
    fd: FdRange = "fd" | "fds";
    /// Only calls that ask for so many bytes.
    size: SizeRange = "size";
    /// Only calls that these modules make: the program or its libraries.
    caller: Many<Glob> = "caller" | "callers";
    /// Only data that comes in, or goes out.
    direction: Direction = "direction";
    /// `error`: with which errno; the usual ones of the call when absent. `unreachable`: with which (ETIMEDOUT). `torn`: EIO
    /// when absent. `return` of -1.
    errno: Errnos = "errno" | "errnos";
    /// `latency`: how long (500 ms). `unreachable`: how long ETIMEDOUT takes (1 s).
    delay: Time = "delay" | "delay_ms" as Millis | "duration_ms" as Millis | "latency_ms" as Millis;
    /// `latency`: half width (uniform), standard deviation (normal), or mean of what comes on top (pareto).
    jitter: Time = "jitter" | "jitter_ms" as Millis;
    /// `latency`: shape; uniform when there is a jitter.
    distribution: Distribution = "distribution";
    /// `short`, `torn`: the part of the request that stays (50 %).
    keep: Part = "keep";
    /// `corrupt`: what is flipped (1bit/64KB).
    flip: Flip = "flip";
    /// `corrupt`: what is zeroed.
    zero: Zero = "zero";
    /// `corrupt`: the part of the data that comes twice.
    duplicate: Repeat = "duplicate";
    /// `corrupt`: the part of the data that is cut off.
    truncate: Cut = "truncate";
    /// `torn`: what follows (fail).
    then: Then = "then";
    /// `return`: what is returned.
    value: Returned = "value" | "retval";
    /// `dns`: what is answered (not-found).
    answer: Answer = "answer";
    /// `disconnect`: how the connection ends (reset).
    mode: Mode = "mode";
    /// `disconnect`: so many bytes move over a connection first.
    after_bytes: Bytes = "after_bytes";
    /// `throttle`: how fast data moves.
    bandwidth: Bandwidth = "bandwidth";
    /// `exhaust`: what runs out.
    what: Resource = "what" | "resource";
    /// `exhaust`: where it ends.
    limit: Limit = "limit";
    /// `signal`: which (KILL).
    signal: Signal = "signal";
    /// `exit`: with which code (1).
    code: ExitCode = "code" | "exit_code";
    /// `clock`: how far it is off, ahead or behind.
    offset: Offset = "offset";
    /// `clock`: how far it jumps, at `from` or in each `period`.
    jump: Offset = "jump";
    /// `clock`: how fast it goes.
    pace: Pace = "pace";
    /// `clock`: which clocks are off (realtime).
    clocks: Many<Clock> = "clocks";
    /// `clock`: how long a jump lasts. `signal` and `freeze` without `calls`: how long until the next.
    period: Lasting = "period";
    /// Chance that a match fires.
    rate: Rate = "rate" | "probability" | "failure_rate" | "error_rate" | "prob";
    /// Every so many matches fire.
    every: Count = "every";
    /// Which matches fire.
    nth: Nth = "nth";
    /// Skip so many matches.
    after: Number = "after" | "skip";
    /// Inject so often, then heal.
    times: Count = "times" | "max_times";
    /// The window begins so long after the start of the run.
    from: Time = "from";
    /// The window lasts so long; for `hang`, and `dns` with `answer: hang`, the longest block instead; for `freeze`
    /// how long the process stands still.
    r#for: Lasting = "for" | "duration" | "duration_seconds" as Seconds;
    /// What counters are kept for (process).
    per: Per = "per";
    /// The table's own label for what is hit.
    component: Label = "component";
    /// The table's own label for what happens.
    message: Label = "message";
}

impl Fault {
    /// A fault of this kind with nothing else given.
    #[must_use]
    pub fn new(kind: FaultKind) -> Fault {
        Fault { fault: Some(kind), ..Fault::default() }
    }

    /// Whether it says itself how often it fires, so that a table's `rate` does not apply.
    #[must_use]
    pub fn says_when(&self) -> bool {
        self.rate.is_some()
            || self.every.is_some()
            || self.nth.is_some()
            || self.after.is_some()
            || self.times.is_some()
    }

    /// Whether no call triggers it: the launcher does it by itself.
    #[must_use]
    pub fn is_by_launcher(&self) -> bool {
        matches!(self.fault, Some(FaultKind::Signal | FaultKind::Freeze))
            && self.calls.is_none()
            && self.point.is_none()
    }

    /// Whether a chance makes sense for it: a clock that is off stays so, unless it jumps now and then.
    #[must_use]
    pub fn takes_rate(&self) -> bool {
        !self.is_by_launcher() && (self.fault != Some(FaultKind::Clock) || self.period.is_some())
    }
}
