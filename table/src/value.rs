//! How one value of a fault table is read and written: from the text of a one-line spec, and from YAML, TOML or JSON.
//!
//! Every value checks itself while it is read, so that the format's parser can say where the mistake is.

use crate::error::{Problem, TableError, quoted};
use serde::de::{Error, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

/// A value that is one word: a rate, a duration, a name.
pub(crate) trait Value: Sized {
    /// What is expected, for messages: "a rate such as ...".
    const EXPECTED: &'static str;
    /// Whether commas split the text of a list of these in a file, as they do in a one-line spec.
    const COMMAS: bool = false;
    /// Whether a file may give it as a number; if not, YAML's plain `1e3` stays the text that it is.
    const NUMERIC: bool = false;
    /// Reads the text.
    fn from_text(text: &str) -> Result<Self, Problem>;
    /// Writes the text that reads back to an equal value.
    fn to_text(&self) -> String;
    /// The number to write to JSON in place of the text.
    fn integer(&self) -> Option<u64> {
        None
    }
}

/// The right side of a `key=value` word of a one-line spec.
#[derive(Clone, Debug, Default)]
pub(crate) struct Word {
    /// Without quotes and escapes.
    pub whole: String,
    /// The same, split at unquoted commas.
    pub items: Vec<String>,
}

/// A value that a key of a fault can have: one [`Value`] or several.
pub(crate) trait Field: Sized {
    /// Reads it from a one-line spec.
    fn from_word(word: &Word) -> Result<Self, Problem>;
    /// The items to write to a one-line spec.
    fn to_items(&self) -> Vec<String>;
}

/// Reads a [`Value`] from a file: text, or a number as if it were its text.
pub(crate) struct OneVisitor<T>(pub PhantomData<T>);

impl<T: Value> Visitor<'_> for OneVisitor<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::from_text(text).map_err(E::custom)
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

/// Gives [`Value`]s their serde, [`Field`], `FromStr` and `Display` impls.
macro_rules! values {
    ($($type:ty)*) => {$(
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let visitor = $crate::value::OneVisitor(std::marker::PhantomData);
                if <$type as $crate::value::Value>::NUMERIC {
                    deserializer.deserialize_any(visitor)
                } else {
                    deserializer.deserialize_str(visitor)
                }
            }
        }
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match $crate::value::Value::integer(self) {
                    Some(number) => serializer.serialize_u64(number),
                    None => serializer.serialize_str(&$crate::value::Value::to_text(self)),
                }
            }
        }
        impl std::str::FromStr for $type {
            type Err = $crate::error::TableError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::value::Value::from_text(text).map_err(|problem| problem.at(None))
            }
        }
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&$crate::value::Value::to_text(self))
            }
        }
        impl $crate::value::Field for $type {
            fn from_word(word: &$crate::value::Word) -> Result<Self, $crate::error::Problem> {
                $crate::value::Value::from_text(&word.whole)
            }
            fn to_items(&self) -> Vec<String> {
                vec![$crate::value::Value::to_text(self)]
            }
        }
    )*};
}
pub(crate) use values;

/// One or more values; a file may leave out the brackets around one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Many<T>(pub Vec<T>);

impl<T> Many<T> {
    /// The values.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }
}

impl<T: Value> FromStr for Many<T> {
    type Err = TableError;
    /// Reads a list that is split by commas.
    fn from_str(text: &str) -> Result<Self, TableError> {
        let all: Result<_, Problem> = text.split(',').map(|item| T::from_text(item.trim())).collect();
        all.map(Many).map_err(|problem| problem.at(None))
    }
}

impl<T: Value> Field for Many<T> {
    fn from_word(word: &Word) -> Result<Self, Problem> {
        word.items.iter().map(|item| T::from_text(item)).collect::<Result<_, _>>().map(Many)
    }
    fn to_items(&self) -> Vec<String> {
        self.0.iter().map(Value::to_text).collect()
    }
}

struct ManyVisitor<T>(PhantomData<T>);

impl<'de, T: Value + Deserialize<'de>> Visitor<'de> for ManyVisitor<T> {
    type Value = Many<T>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, or a list of them", T::EXPECTED)
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        if !T::COMMAS {
            return T::from_text(text).map(|one| Many(vec![one])).map_err(E::custom);
        }
        text.split(',').map(|item| T::from_text(item.trim())).collect::<Result<_, _>>().map(Many).map_err(E::custom)
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        if T::NUMERIC {
            self.visit_str(&number.to_string())
        } else {
            Err(E::invalid_type(Unexpected::Signed(number), &self))
        }
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        if T::NUMERIC {
            self.visit_str(&number.to_string())
        } else {
            Err(E::invalid_type(Unexpected::Unsigned(number), &self))
        }
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(one) = list.next_element()? {
            all.push(one);
        }
        if all.is_empty() {
            let problem = Problem::new("the list is empty, so nothing could ever match");
            return Err(Error::custom(problem.help(format!("name {}, or leave the key out", T::EXPECTED))));
        }
        Ok(Many(all))
    }
}

impl<'de, T: Value + Deserialize<'de>> Deserialize<'de> for Many<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ManyVisitor(PhantomData))
    }
}

impl<T: Value + Serialize> Serialize for Many<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A single text that commas would split, or that has none of the meaning of a list, stays bare.
        match self.0.as_slice() {
            [one] if !(T::COMMAS && one.to_text().contains(',')) => one.serialize(serializer),
            all => serializer.collect_seq(all),
        }
    }
}

/// The keys that a map may have.
pub(crate) trait Keys {
    /// What the map is: "a fault".
    const WHAT: &'static str;
    /// Every key that is understood, aliases included.
    const KNOWN: &'static [&'static str];
    /// Keys whose value is a map, so that a one-line spec cannot give them.
    const MAPS: &'static [&'static str] = &[];
    /// Keys that later versions will understand.
    const LATER: &'static [&'static str];
    /// Help for a key that is right somewhere else.
    fn elsewhere(_key: &str) -> Option<String> {
        None
    }
    /// The known key for what a user wrote: dashes count as underscores.
    fn key(written: &str) -> Result<String, Problem> {
        let key = written.replace('-', "_");
        if Self::KNOWN.contains(&key.as_str()) || Self::MAPS.contains(&key.as_str()) {
            return Ok(key);
        }
        if Self::LATER.contains(&key.as_str()) {
            return Err(Problem::new(format!("`{key}` is not supported in this version")));
        }
        if let Some(help) = Self::elsewhere(&key) {
            return Err(Problem::new(format!("`{key}` is no key of {}", Self::WHAT)).help(help));
        }
        let problem = Problem::unknown("key", written, Self::KNOWN.iter().copied());
        let message = format!("unknown key {} in {}", quoted(written), Self::WHAT);
        Err(Problem { message, ..problem })
    }
}

/// A key of a map in a file, already checked.
pub(crate) struct Key<K>(pub String, pub PhantomData<K>);

impl<'de, K: Keys> Deserialize<'de> for Key<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = deserializer.deserialize_str(TextVisitor)?;
        K::key(&written).map(|key| Key(key, PhantomData)).map_err(Error::custom)
    }
}

/// Reads the text of a key.
struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = String;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}

/// Stores a value that may be given once.
pub(crate) fn set_once<T>(slot: &mut Option<T>, value: T, key: &str) -> Result<(), Problem> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Problem::new(format!("`{key}` is given twice")).help("leave one of them out")),
    }
}
