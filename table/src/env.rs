//! Every environment variable, once.
//!
//! Public names start with `CHAOS_`; those that the launcher and the shim use between themselves start with `_CHAOS_`.
//! The shim takes all of them out of the target's `environ` and puts them back for its children.

/// The fault table: one-line or short specs split by `;`, JSON (starts with `{` or `[`), or a file (`/`, `./`, `@`).
pub const TABLE: &str = "CHAOS_TABLE";
/// `true`/`1` or `false`/`0`: inject at all. True when a table is given.
pub const ENABLED: &str = "CHAOS_ENABLED";
/// The seed of every decision, a decimal u64.
pub const SEED: &str = "CHAOS_SEED";
/// Another accepted spelling of [`SEED`].
pub const RANDOM_SEED: &str = "CHAOS_RANDOM_SEED";
/// Rate for the presets named in [`TYPES`]: 0..1 or a percentage.
pub const RATE: &str = "CHAOS_RATE";
/// Presets, split by comma.
pub const TYPES: &str = "CHAOS_TYPES";
/// Inject only this long; a number alone is seconds.
pub const DURATION: &str = "CHAOS_DURATION";
/// The session file that a process without a launcher shares with its children.
pub const LOG: &str = "CHAOS_LOG";
/// Chance, drawn once a process, that it crashes (SIGKILL).
pub const CRASH_PROBABILITY: &str = "CHAOS_CRASH_PROBABILITY";
/// Delay of one call in milliseconds (default 500).
pub const DELAY_MS: &str = "CHAOS_DELAY_MS";
/// Chance of such a delay (default 0.2).
pub const DELAY_PROBABILITY: &str = "CHAOS_DELAY_PROBABILITY";
/// Length of a hang in seconds (default 30).
pub const TIMEOUT_SECONDS: &str = "CHAOS_TIMEOUT_SECONDS";
/// Chance of such a hang (default 0.1).
pub const TIMEOUT_PROBABILITY: &str = "CHAOS_TIMEOUT_PROBABILITY";
/// Chance that data read is corrupted (default 0.1).
pub const CORRUPTION_PROBABILITY: &str = "CHAOS_CORRUPTION_PROBABILITY";

/// The file to which a program appends figures that it knows itself. The target's own: nobody takes it away.
pub const METRICS: &str = "CHAOS_METRICS";

/// Every public variable that says what fails.
pub const PUBLIC: &[&str] = &[
    TABLE,
    ENABLED,
    SEED,
    RANDOM_SEED,
    RATE,
    TYPES,
    DURATION,
    LOG,
    CRASH_PROBABILITY,
    DELAY_MS,
    DELAY_PROBABILITY,
    TIMEOUT_SECONDS,
    TIMEOUT_PROBABILITY,
    CORRUPTION_PROBABILITY,
];

/// Private: path of the session file to attach to.
pub const SESSION: &str = "_CHAOS_SESSION";
/// Private: who this process is in the tree, see the shim's `tree.rs`.
pub const LINEAGE: &str = "_CHAOS_LINEAGE";
