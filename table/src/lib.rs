//! The fault table of chaos-exec: the vocabulary that a user writes, the compiled form that lies in a session, and
//! the pure function that decides whether a call is hit.
//!
//! Shared by the shim and the launcher; it knows neither.

#![forbid(unsafe_code)]

pub mod book;
pub mod calls;
pub mod change;
mod check;
pub mod checks;
pub mod compile;
pub mod counts;
pub mod decide;
pub mod elf;
pub mod env;
pub mod environment;
pub mod errno;
pub mod errnos;
pub mod error;
pub mod extents;
pub mod fault;
pub mod files;
pub mod fits;
pub mod image;
mod kinds;
pub mod latency;
pub mod lineage;
pub mod live;
pub mod matching;
pub mod presets;
pub mod programs;
pub mod quantities;
pub mod quota;
pub mod record;
pub mod rule;
pub mod runtimes;
pub mod schema;
pub mod selectors;
pub mod session;
pub mod settings;
pub mod spec;
pub mod stream;
pub mod told;
mod value;
pub mod wall;
pub mod words;

pub use error::{Place, TableError, nearest};
pub use value::Many;
