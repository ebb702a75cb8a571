//! Settings of a whole table: when injection begins, and what is left alone.

use crate::error::Problem;
use crate::quantities::Time;
use crate::selectors::{Glob, Ports};
use crate::value::{Key, Keys, Many, Value};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// When injection begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arm {
    /// From `main`; for known runtimes from the first sign of the user's own program.
    Main,
    /// From the first instruction after exec.
    Exec,
    /// So long after the start of the run.
    After(Time),
    /// When a process of the tree opens such a path.
    Path(Many<Glob>),
    /// When a process of the tree listens on such a port.
    Listen(Ports),
    /// When `chaos-exec ctl arm` says so.
    Ctl,
}

/// What is left alone unless a rule names it by `path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protect {
    /// Whether the usual places are among it.
    pub default: bool,
    /// More globs.
    pub globs: Vec<Glob>,
}

impl Protect {
    /// Whether nothing is protected.
    #[must_use]
    pub fn is_none(&self) -> bool {
        !self.default && self.globs.is_empty()
    }
}

struct ArmVisitor;

const ARM_WORDS: [&str; 6] = ["main", "exec", "ctl", "{after: 2s}", "{path: data/**}", "{listen: 8080}"];

impl<'de> Visitor<'de> for ArmVisitor {
    type Value = Arm;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "when injection begins: {}", ARM_WORDS.join(", "))
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Arm, E> {
        match text {
            "main" => Ok(Arm::Main),
            "exec" => Ok(Arm::Exec),
            "ctl" => Ok(Arm::Ctl),
            other => Err(E::custom(Problem::unknown("arm", other, ARM_WORDS.into_iter()))),
        }
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Arm, A::Error> {
        let mut arm = None;
        while let Some(Key(key, _)) = map.next_key::<Key<ArmKeys>>()? {
            let value = match key.as_str() {
                "path" => Arm::Path(map.next_value()?),
                "listen" => Arm::Listen(map.next_value()?),
                _ => Arm::After(map.next_value()?),
            };
            if arm.replace(value).is_some() {
                return Err(Error::custom(
                    Problem::new("`arm` has two conditions").help("give one of after, path, listen"),
                ));
            }
        }
        arm.ok_or_else(|| Error::custom(Problem::new("`arm` is empty").help(ARM_WORDS.join(", "))))
    }
}

struct ArmKeys;

impl Keys for ArmKeys {
    const WHAT: &'static str = "`arm`";
    const KNOWN: &'static [&'static str] = &["after", "path", "listen"];
    const LATER: &'static [&'static str] = &[];
    fn elsewhere(key: &str) -> Option<String> {
        ["main", "exec", "ctl"].contains(&key).then(|| format!("write `arm: {key}`, alone"))
    }
}

impl<'de> Deserialize<'de> for Arm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ArmVisitor)
    }
}

impl Serialize for Arm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fn condition<S: Serializer>(
            serializer: S,
            key: &'static str,
            value: &impl Serialize,
        ) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(Some(1))?;
            map.serialize_entry(key, value)?;
            map.end()
        }
        match self {
            Arm::Main => serializer.serialize_str("main"),
            Arm::Exec => serializer.serialize_str("exec"),
            Arm::Ctl => serializer.serialize_str("ctl"),
            Arm::After(time) => condition(serializer, "after", time),
            Arm::Path(globs) => condition(serializer, "path", globs),
            Arm::Listen(ports) => condition(serializer, "listen", ports),
        }
    }
}

/// An entry of `protect`.
struct Protected(Option<Glob>);

impl Value for Protected {
    const EXPECTED: &'static str = "what to protect: default, none, or a list of globs";
    fn from_text(text: &str) -> Result<Self, Problem> {
        if text == "default" {
            return Ok(Protected(None));
        }
        if text == "none" {
            return Err(Problem::new("`none` stands in a list").help("write `protect: none`, alone"));
        }
        if !text.contains(['/', '*', '.', '?', '[', '{']) {
            return Err(Problem::unknown("protection", text, ["default", "none"].into_iter()));
        }
        Glob::from_text(text).map(|glob| Protected(Some(glob)))
    }
    fn to_text(&self) -> String {
        self.0.as_ref().map_or_else(|| "default".to_owned(), Value::to_text)
    }
}
crate::value::values! { Protected }

struct ProtectVisitor;

impl<'de> Visitor<'de> for ProtectVisitor {
    type Value = Protect;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Protected::EXPECTED)
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Protect, E> {
        if text == "none" {
            return Ok(Protect { default: false, globs: Vec::new() });
        }
        let Protected(glob) = Protected::from_text(text).map_err(E::custom)?;
        Ok(Protect { default: glob.is_none(), globs: glob.into_iter().collect() })
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Protect, A::Error> {
        let mut protect = Protect { default: false, globs: Vec::new() };
        while let Some(Protected(glob)) = list.next_element()? {
            protect.default |= glob.is_none();
            protect.globs.extend(glob);
        }
        if protect.is_none() {
            return Err(Error::custom(Problem::new("the list is empty").help("write `protect: none`")));
        }
        Ok(protect)
    }
}

impl<'de> Deserialize<'de> for Protect {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ProtectVisitor)
    }
}

impl Serialize for Protect {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_none() {
            return serializer.serialize_str("none");
        }
        let default = self.default.then_some("default");
        serializer.collect_seq(default.into_iter().chain(self.globs.iter().map(|glob| glob.0.as_str())))
    }
}
