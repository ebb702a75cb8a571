//! A fault table as a user writes it.

use crate::checks::Check;
use crate::counts::{Count, Number};
use crate::error::{Problem, TableError, quoted};
pub use crate::fault::{Fault, Origin};
use crate::quantities::{Lasting, Rate, Seconds};
use crate::selectors::Target;
pub use crate::settings::{Arm, Protect};
use crate::value::{Key, Keys, Many, Value, set_once};
use crate::words::{Intensity, PresetName};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// A whole table. What is `None` or empty was not given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// The seed of every decision.
    pub seed: Option<u64>,
    /// Whether anything is injected at all (true).
    pub enabled: Option<bool>,
    /// Inject only so long after the start of the run.
    pub r#for: Option<Lasting>,
    /// When injection begins (main).
    pub arm: Option<Arm>,
    /// What is left alone (default).
    pub protect: Option<Protect>,
    /// Names for peers.
    pub roles: BTreeMap<String, Many<Target>>,
    /// Presets.
    pub chaos: Vec<PresetName>,
    /// Rate of the presets, and of faults that do not say how often they fire.
    pub rate: Option<Rate>,
    /// The same as a word; not together with `rate`.
    pub intensity: Option<Intensity>,
    /// At most so many faults in one run.
    pub max_faults: Option<u64>,
    /// The faults, in order: the first that fires wins.
    pub faults: Vec<Fault>,
    /// What must be true of a run.
    pub checks: Vec<Check>,
}

impl Keys for Table {
    const WHAT: &'static str = "a table";
    const KNOWN: &'static [&'static str] = &[
        "seed",
        "random_seed",
        "enabled",
        "for",
        "duration",
        "duration_seconds",
        "arm",
        "protect",
        "roles",
        "chaos",
        "chaos_types",
        "rate",
        "failure_rate",
        "probability",
        "intensity",
        "max_faults",
        "faults",
        "checks",
    ];
    const LATER: &'static [&'static str] = &[];
    fn elsewhere(key: &str) -> Option<String> {
        Fault::KNOWN.contains(&key).then(|| format!("`{key}` belongs to a fault: faults: [{{fault: ..., {key}: ...}}]"))
    }
}

struct TableVisitor;

impl<'de> Visitor<'de> for TableVisitor {
    type Value = Table;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a fault table: a map such as {faults: [...]}, or a list of faults")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Table, A::Error> {
        let Faults(faults) = FaultsVisitor.visit_seq(list)?;
        Ok(Table { faults, ..Table::default() })
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Table, A::Error> {
        let mut table = Table::default();
        let (mut roles, mut chaos, mut faults, mut max_faults, mut seed) = (None, None, None, None, None);
        let mut checks = None;
        while let Some(Key(key, _)) = map.next_key::<Key<Table>>()? {
            match key.as_str() {
                "seed" | "random_seed" => set_once(&mut seed, map.next_value::<Number>()?.0, "seed"),
                "enabled" => set_once(&mut table.enabled, map.next_value()?, "enabled"),
                "for" | "duration" => set_once(&mut table.r#for, map.next_value()?, "for"),
                "duration_seconds" => set_once(&mut table.r#for, map.next_value::<Seconds>()?.into(), "for"),
                "arm" => set_once(&mut table.arm, map.next_value()?, "arm"),
                "protect" => set_once(&mut table.protect, map.next_value()?, "protect"),
                "roles" => set_once(&mut roles, map.next_value::<Roles>()?.0, "roles"),
                "chaos" | "chaos_types" => set_once(&mut chaos, map.next_value::<Many<PresetName>>()?.0, "chaos"),
                "intensity" => set_once(&mut table.intensity, map.next_value()?, "intensity"),
                "max_faults" => set_once(&mut max_faults, map.next_value::<Count>()?.0, "max_faults"),
                "faults" => set_once(&mut faults, map.next_value::<Faults>()?.0, "faults"),
                "checks" => set_once(&mut checks, map.next_value()?, "checks"),
                // "rate" and its aliases: the last of the known keys.
                _ => set_once(&mut table.rate, map.next_value()?, "rate"),
            }
            .map_err(Error::custom)?;
        }
        table.roles = roles.unwrap_or_default();
        table.chaos = chaos.unwrap_or_default();
        table.faults = faults.unwrap_or_default();
        table.checks = checks.unwrap_or_default();
        (table.max_faults, table.seed) = (max_faults, seed);
        if table.rate.is_some() && table.intensity.is_some() {
            return Err(Error::custom("`rate` and `intensity` both set the rate of the presets: give one of them"));
        }
        Ok(table)
    }
}

impl<'de> Deserialize<'de> for Table {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TableVisitor)
    }
}

impl Serialize for Table {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        macro_rules! given {
            ($($key:literal $value:expr;)*) => {$(
                if let Some(value) = $value {
                    map.serialize_entry($key, value)?;
                }
            )*};
        }
        given! {
            "seed" &self.seed;
            "enabled" &self.enabled;
            "for" &self.r#for;
            "arm" &self.arm;
            "protect" &self.protect;
            "roles" Some(&self.roles).filter(|roles| !roles.is_empty());
            "chaos" Some(&self.chaos).filter(|chaos| !chaos.is_empty());
            "rate" &self.rate;
            "intensity" &self.intensity;
            "max_faults" &self.max_faults;
            "faults" Some(&self.faults).filter(|faults| !faults.is_empty());
            "checks" Some(&self.checks).filter(|checks| !checks.is_empty());
        }
        map.end()
    }
}

/// The list of faults.
struct Faults(Vec<Fault>);

struct FaultsVisitor;

impl<'de> Visitor<'de> for FaultsVisitor {
    type Value = Faults;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of faults, such as [{fault: error, calls: read}]")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Faults, A::Error> {
        let mut faults = Vec::new();
        while let Some(fault) = list.next_element()? {
            faults.push(fault);
        }
        Ok(Faults(faults))
    }
}

impl<'de> Deserialize<'de> for Faults {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FaultsVisitor)
    }
}

/// The map of roles, in which no name may stand twice.
struct Roles(BTreeMap<String, Many<Target>>);

struct RolesVisitor;

impl<'de> Visitor<'de> for RolesVisitor {
    type Value = Roles;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map from the name of a role to its peers")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Roles, A::Error> {
        let mut roles = BTreeMap::new();
        while let Some(RoleName(name)) = map.next_key()? {
            let peers: Many<Target> = map.next_value()?;
            if roles.insert(name.clone(), peers).is_some() {
                return Err(Error::custom(format!("the role {} is defined twice", quoted(&name))));
            }
        }
        Ok(Roles(roles))
    }
}

impl<'de> Deserialize<'de> for Roles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RolesVisitor)
    }
}

/// The name of a role: letters, digits, `_` and `-`, so that it cannot be taken for a host pattern.
#[derive(PartialEq)]
struct RoleName(String);

impl Value for RoleName {
    const EXPECTED: &'static str = "the name of a role";
    fn from_text(text: &str) -> Result<Self, Problem> {
        let fits = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        if text.is_empty() || text.len() > 64 || !text.chars().all(fits) {
            let problem = Problem::new(format!("{} is no name for a role", quoted(text)));
            return Err(problem.help("letters, digits, `_` and `-`"));
        }
        Ok(RoleName(text.to_owned()))
    }
    fn to_text(&self) -> String {
        self.0.clone()
    }
}
crate::value::values! { RoleName }

impl Table {
    /// Lays a later table over this one: its scalars win, its faults, roles and presets are added.
    pub fn merge(&mut self, later: Table) {
        fn over<T>(slot: &mut Option<T>, later: Option<T>) {
            if later.is_some() {
                *slot = later;
            }
        }
        // Both say how strong the presets are: the later word counts.
        if later.rate.is_some() || later.intensity.is_some() {
            (self.rate, self.intensity) = (later.rate, later.intensity);
        }
        over(&mut self.seed, later.seed);
        over(&mut self.enabled, later.enabled);
        over(&mut self.r#for, later.r#for);
        over(&mut self.arm, later.arm);
        over(&mut self.protect, later.protect);
        over(&mut self.max_faults, later.max_faults);
        for (name, peers) in later.roles {
            self.roles.entry(name).or_insert_with(|| Many(Vec::new())).0.extend(peers.0);
        }
        for preset in later.chaos {
            if !self.chaos.contains(&preset) {
                self.chaos.push(preset);
            }
        }
        self.faults.extend(later.faults);
        self.checks.extend(later.checks);
    }

    /// Whether it names no fault and no preset.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty() && self.chaos.is_empty()
    }

    /// Reads JSON: a table, or a list of faults.
    ///
    /// # Errors
    /// The first thing that is wrong, with line and column.
    pub fn from_json(text: &str, source: &str) -> Result<Table, TableError> {
        let mut table: Table = serde_json::from_str(text).map_err(|error| TableError::from_json(&error, source))?;
        table.set_source(source);
        Ok(table)
    }

    /// Canonical JSON, which [`Table::from_json`] reads back to an equal table.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Every key is a string and nothing fails by itself, so serde_json has no reason to.
        serde_json::to_string_pretty(self).unwrap_or_else(|error| format!("{{\"error\": \"{error}\"}}"))
    }

    /// Says of each fault where it comes from.
    pub(crate) fn set_source(&mut self, source: &str) {
        for (index, fault) in self.faults.iter_mut().enumerate() {
            let source = format!("{source}: fault {}", index + 1);
            fault.origin = Origin(Some(crate::error::Place { source, line: None, column: None }));
        }
    }
}
