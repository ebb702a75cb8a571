//! The errnos of a fault table: one, or a weighted choice.

use crate::counts::whole;
use crate::errno;
use crate::error::{Problem, quoted};
use crate::value::{Field, Value, Word, values};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// An errno (positive) or a code of getaddrinfo (negative).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// Whether it is a code of getaddrinfo.
    #[must_use]
    pub fn is_eai(self) -> bool {
        self.0 < 0
    }
}

impl Value for Errno {
    const EXPECTED: &'static str = "an errno such as EIO, a list of them, or a map from errno to weight";
    fn from_text(text: &str) -> Result<Self, Problem> {
        if let Some(code) = errno::errno_by_name(text).or_else(|| errno::eai_by_name(text)) {
            return Ok(Errno(code));
        }
        if let Some(name) = text.parse().ok().and_then(errno::errno_name) {
            return Err(
                Problem::new(format!("errno {} is a number", quoted(text))).help(format!("write its name, {name}"))
            );
        }
        let known = errno::ERRNOS.iter().chain(errno::EAI_CODES.iter()).map(|(name, _)| name);
        Err(Problem::unknown("errno", text, known).or_help("`chaos-exec list calls` shows the usual ones of each call"))
    }
    fn to_text(&self) -> String {
        let name = errno::errno_name(self.0).or_else(|| errno::eai_name(self.0));
        name.map_or_else(|| self.0.to_string(), str::to_owned)
    }
}

/// A weighted choice of errnos: at most eight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errnos(pub Vec<(Errno, u32)>);

impl Errnos {
    /// One errno, always.
    #[must_use]
    pub fn one(errno: Errno) -> Errnos {
        Errnos(vec![(errno, 1)])
    }

    /// `EIO`, or `EIO:3` with a weight.
    fn item(text: &str) -> Result<(Errno, u32), Problem> {
        let (name, weight) = text.split_once(':').unwrap_or((text, "1"));
        let weight = u32::try_from(whole(weight, "weight")?).map_err(|_| Problem::new("the weight is too large"))?;
        Ok((Errno::from_text(name.trim())?, weight))
    }

    /// A list written in one text: `EIO,ENOSPC:3`.
    pub(crate) fn from_list(text: &str) -> Result<Errnos, Problem> {
        Self::checked(text.split(',').map(|item| Self::item(item.trim())).collect::<Result<_, _>>()?)
    }

    /// In the order of their names: a map in a file has none, and the same table must give the same choices.
    fn checked(mut all: Vec<(Errno, u32)>) -> Result<Errnos, Problem> {
        if all.is_empty() {
            return Err(
                Problem::new("the list of errnos is empty").help("leave `errno` out for the usual ones of the call")
            );
        }
        if all.len() > 8 {
            return Err(Problem::new(format!("{} errnos are too many", all.len())).help("at most 8"));
        }
        all.sort_by_cached_key(|(errno, _)| errno.to_text());
        if all.iter().try_fold(0u32, |sum, (_, weight)| sum.checked_add(*weight)).is_none() {
            return Err(Problem::new("the weights of the errnos are too large together"));
        }
        for (index, (errno, weight)) in all.iter().enumerate() {
            let name = errno.to_text();
            if *weight == 0 {
                return Err(Problem::new(format!("`{name}` has the weight 0, so it would never be chosen"))
                    .help("leave it out, or give it 1 or more"));
            }
            if all[..index].iter().any(|(other, _)| other == errno) {
                return Err(
                    Problem::new(format!("`{name}` is named twice")).help(format!("`{name}: 2` gives it weight"))
                );
            }
            if errno.is_eai() != all[0].0.is_eai() {
                let problem = Problem::new("EAI_ codes and errnos do not mix");
                return Err(problem.help("EAI_ codes are for getaddrinfo, errnos for all other calls"));
            }
        }
        Ok(Errnos(all))
    }
}

impl Field for Errnos {
    fn from_word(word: &Word) -> Result<Self, Problem> {
        Self::checked(word.items.iter().map(|item| Self::item(item)).collect::<Result<_, _>>()?)
    }
    fn to_items(&self) -> Vec<String> {
        let item = |(errno, weight): &(Errno, u32)| match weight {
            1 => errno.to_text(),
            weight => format!("{}:{weight}", errno.to_text()),
        };
        self.0.iter().map(item).collect()
    }
}

struct ErrnosVisitor;

impl<'de> Visitor<'de> for ErrnosVisitor {
    type Value = Errnos;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Errno::EXPECTED)
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Errnos, E> {
        Errnos::from_list(text).map_err(E::custom)
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<Errnos, E> {
        self.visit_str(&number.to_string())
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<Errnos, E> {
        self.visit_str(&number.to_string())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Errnos, A::Error> {
        let mut all = Vec::new();
        while let Some(errno) = list.next_element::<Errno>()? {
            all.push((errno, 1));
        }
        Errnos::checked(all).map_err(Error::custom)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Errnos, A::Error> {
        let mut all = Vec::new();
        while let Some(errno) = map.next_key::<Errno>()? {
            all.push((errno, map.next_value::<u32>()?));
        }
        Errnos::checked(all).map_err(Error::custom)
    }
}

impl<'de> Deserialize<'de> for Errnos {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ErrnosVisitor)
    }
}

impl Serialize for Errnos {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let [(errno, 1)] = self.0.as_slice() {
            return errno.serialize(serializer);
        }
        if self.0.iter().all(|(_, weight)| *weight == 1) {
            return serializer.collect_seq(self.0.iter().map(|(errno, _)| errno));
        }
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (errno, weight) in &self.0 {
            map.serialize_entry(errno, weight)?;
        }
        map.end()
    }
}

values! { Errno }
