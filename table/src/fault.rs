//! One fault as a user writes it: what, where, when. The same keys in files and in one-line specs.

use crate::calls::FaultKind;
use crate::counts::{Count, ExitCode, Nth, Number, Returned};
use crate::errnos::Errnos;
use crate::error::{Place, Problem};
use crate::quantities::{Cut, Flip, Lasting, Limit, Millis, Part, Rate, Repeat, Seconds, Time, Zero};
use crate::selectors::{FdRange, Glob, Target};
use crate::value::{Field, Key, Keys, Many, Word, set_once};
use crate::words::{Answer, CallName, Distribution, Label, Mode, Per, Resource, Signal, Then};
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

/// Generates the struct, its keys, and reading and writing in both forms from one list.
macro_rules! fault {
    ($($(#[$doc:meta])* $field:ident: $type:ty = $key:literal $(| $alias:literal $(as $via:ty)?)*;)*) => {
        /// A fault: what happens, to which calls, when. What is `None` was not given.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Fault {
            $($(#[$doc])* pub $field: Option<$type>,)*
            /// Where it was written.
            pub origin: Origin,
        }

        impl Keys for Fault {
            const WHAT: &'static str = "a fault";
            const KNOWN: &'static [&'static str] = &[$($key $(, $alias)*),*];
            const LATER: &'static [&'static str] = &["size", "caller", "direction", "not"];
            fn elsewhere(key: &str) -> Option<String> {
                let of_table = ["seed", "enabled", "arm", "protect", "roles", "chaos", "faults", "max_faults", "intensity"];
                of_table.contains(&key).then(|| format!("`{key}` belongs to the table, beside `faults`"))
            }
        }

        impl Fault {
            /// Sets a key from a one-line spec. The key is a known one.
            pub(crate) fn set_word(&mut self, key: &str, word: &Word) -> Result<(), Problem> {
                match key {
                    $(
                        $key => set_once(&mut self.$field, <$type>::from_word(word)?, $key),
                        $($alias => set_once(&mut self.$field, <type_of!($type $(, $via)?)>::from_word(word)?.into(), $key),)*
                    )*
                    _ => Ok(()),
                }
            }

            /// The keys that are given, with their items.
            pub(crate) fn words(&self) -> Vec<(&'static str, Vec<String>)> {
                let mut all = Vec::new();
                $(all.extend(self.$field.iter().map(|value| ($key, value.to_items())));)*
                all
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
                    match key.as_str() {
                        $(
                            $key => set_once(&mut fault.$field, map.next_value::<$type>()?, $key),
                            $($alias => {
                                let value = map.next_value::<type_of!($type $(, $via)?)>()?;
                                set_once(&mut fault.$field, value.into(), $key)
                            })*
                        )*
                        _ => Ok(()),
                    }
                    .map_err(Error::custom)?;
                }
                crate::check::resolve(&fault).map_err(Error::custom)?;
                Ok(fault)
            }
        }

        impl Serialize for Fault {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(None)?;
                $(if let Some(value) = &self.$field {
                    map.serialize_entry($key, value)?;
                })*
                map.end()
            }
        }
    };
}

struct FaultVisitor;

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FaultVisitor)
    }
}

fault! {
    /// What happens. Never `None` in a fault that was read.
    fault: FaultKind = "fault" | "type" | "kind";
    /// Name of the rule; generated when absent.
    name: Label = "name";
    /// Which calls; some faults have a default.
    calls: Many<CallName> = "calls" | "call";
    /// Only files with such a path.
    path: Many<Glob> = "path" | "paths";
    /// Only these peers.
    to: Many<Target> = "to" | "peer" | "host" | "hosts";
    /// Only programs of this name (or executable path, with a slash).
    process: Many<Glob> = "process" | "processes" | "program";
    /// Only these descriptors.
    fd: FdRange = "fd" | "fds";
    /// `error`: with which errno; the usual ones of the call when absent. `torn`: EIO when absent. `return` of -1.
    errno: Errnos = "errno" | "errnos";
    /// `latency`: how long (500 ms).
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
    /// `exhaust`: what runs out.
    what: Resource = "what" | "resource";
    /// `exhaust`: where it ends.
    limit: Limit = "limit";
    /// `signal`: which (KILL).
    signal: Signal = "signal";
    /// `exit`: with which code (1).
    code: ExitCode = "code" | "exit_code";
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
    /// The window lasts so long; for `hang`, and `dns` with `answer: hang`, the longest block instead.
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
}
