//! Presets: ordinary faults for people who think in types of chaos, and words for how much of it.

use crate::error::TableError;
use crate::fault::Fault;
use crate::quantities::Rate;
use crate::spec::parse_spec;
use crate::words::{Intensity, Label};

/// Rate of the presets when a table gives neither `rate` nor `intensity`.
pub const DEFAULT_RATE: f64 = 0.3;

/// One fault of a preset.
#[derive(Debug)]
pub struct Part {
    /// Its rule is named PRESET/LABEL.
    pub label: &'static str,
    /// The fault in its one-line form, without a rate.
    pub spec: &'static str,
    /// Which part of the preset's rate it takes.
    pub share: f64,
}

/// A type of chaos.
#[derive(Debug)]
pub struct Preset {
    /// What `chaos` calls it.
    pub name: &'static str,
    /// What it does, and how the rate is shared out.
    pub summary: &'static str,
    /// Its faults, in order.
    pub parts: &'static [Part],
}

const fn part(label: &'static str, spec: &'static str, share: f64) -> Part {
    Part { label, spec, share }
}

/// All presets. A rate is the chance, about, that one call that could be hit is hit; what would hit nearly every
/// program at once when it were that frequent takes a smaller share, which the summary names.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "network",
        summary: "connections are refused or time out (half the rate each), names are not found or fail for a while \
                  (half each), established connections are reset (a tenth: they make many calls)",
        parts: &[
            part("refused", "refuse calls=connect", 0.5),
            part("timeout", "error calls=connect errno=ETIMEDOUT", 0.5),
            part("no-host", "dns answer=not-found", 0.5),
            part("dns-again", "dns answer=try-again", 0.5),
            part("reset", "disconnect mode=reset", 0.1),
        ],
    },
    Preset {
        name: "disk",
        summary: "what takes room finds the disk full (0.3 of the rate), what reads, writes, opens, syncs or changes fails \
                  with EIO (0.3; looking at names and metadata does not), opens are not allowed (0.5), reads, writes and \
                  copies of files are short (0.4)",
        parts: &[
            part("enospc", "error calls=disk errno=ENOSPC,EDQUOT", 0.3),
            part("eacces", "error calls=open,opendir,fopen errno=EACCES", 0.5),
            part(
                "eio",
                "error calls=disk errno=EIO \
                 not.calls=stat,fstat,statfs,fstatfs,access,readlink,realpath,readdir,readdir_r,getdents,chdir,chroot",
                0.3,
            ),
            part("short", "short calls=disk keep=50%", 0.4),
        ],
    },
    Preset {
        name: "timeout",
        summary: "network calls take about a second longer (eight tenths of the rate) or block for 30 seconds (two tenths)",
        parts: &[
            part("slow", "latency calls=network delay=1s jitter=500ms", 0.8),
            part("hang", "hang calls=network for=30s", 0.2),
        ],
    },
    Preset {
        name: "memory",
        summary: "allocations fail with ENOMEM (a thousandth of the rate: programs allocate without end, and few survive more)",
        parts: &[part("enomem", "error calls=memory errno=ENOMEM", 0.001)],
    },
    Preset {
        name: "process",
        summary: "programs to be started are not found or not allowed, processes cannot be made (a third of the rate each)",
        parts: &[
            part("not-found", "error calls=exec,spawn errno=ENOENT", 1.0 / 3.0),
            part("eacces", "error calls=exec,spawn errno=EACCES", 1.0 / 3.0),
            part("eagain", "error calls=fork,vfork,spawn,system,popen,pthread_create errno=EAGAIN", 1.0 / 3.0),
        ],
    },
    Preset {
        name: "time",
        summary: "the wall clock jumps an hour ahead for two seconds (half the rate of such periods), or a minute back \
                  for three (the other half)",
        parts: &[part("ahead", "clock jump=+1h period=2s", 0.5), part("back", "clock jump=-1m period=3s", 0.5)],
    },
];

/// Words for a rate.
pub const INTENSITIES: &[(&str, f64)] = &[("gentle", 0.1), ("realistic", 0.3), ("stress", 0.5), ("extreme", 0.7)];

impl Intensity {
    /// The rate that it stands for.
    #[must_use]
    pub const fn rate(self) -> f64 {
        match self {
            Intensity::Gentle => 0.1,
            Intensity::Realistic => 0.3,
            Intensity::Stress => 0.5,
            Intensity::Extreme => 0.7,
        }
    }
}

impl Preset {
    /// The preset called `name`.
    #[must_use]
    pub fn by_name(name: &str) -> Option<&'static Preset> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// Its faults at a rate of 0 to 1.
    ///
    /// # Errors
    /// None that a test does not rule out: each part is a spec that reads.
    pub fn faults(&self, rate: f64) -> Result<Vec<Fault>, TableError> {
        let fault = |part: &Part| {
            let mut fault = parse_spec(part.spec, &format!("preset {}", self.name))?;
            fault.name = Some(Label(format!("{}/{}", self.name, part.label)));
            // To nine decimals: a third of 30 % is 10 %, not what binary fractions make of it.
            let share = (rate * part.share * 1e9).round() / 1e9;
            fault.rate = Some(Rate(share.clamp(0.0, 1.0)));
            Ok(fault)
        };
        self.parts.iter().map(fault).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    #[test]
    fn every_preset_is_an_ordinary_table_that_reads_back() {
        for preset in PRESETS {
            for fault in preset.faults(0.3).unwrap() {
                assert_eq!(parse_spec(&fault.to_string(), "").unwrap(), fault);
            }
        }
    }

    #[test]
    fn intensities_are_the_words_of_the_schema() {
        for (name, rate) in INTENSITIES {
            assert_eq!(Intensity::from_text(name).unwrap().rate(), *rate);
        }
    }
}
