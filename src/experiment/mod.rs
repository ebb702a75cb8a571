//! `chaos-exec experiment`: a file that says what is run, what fails, when, and what must be true; and the runner that
//! repeats it.
//!
//! The outer process ([`runner`]) prepares a fresh place for each run and starts a launcher there, which is told by
//! `--stage` what to do. That launcher starts the targets in their order ([`crew`]) under one session, so one run is
//! one log, one verdict and one thing to end.

pub mod args;
mod cgroup;
pub mod command;
mod common_shape;
pub mod compare;
mod counting;
mod crew;
mod cues;
mod deck;
mod export;
mod file;
mod fill;
mod ground;
pub mod inject;
mod launch;
mod limit;
mod matrix;
pub mod merge;
mod order;
mod orphans;
mod phases;
mod place;
mod plan;
mod results;
mod runner;
mod score;
mod shard;
mod stage;
mod statistics;
mod telling;
mod watch;

pub use counting::{counted, counters, only_counts};
pub use crew::{Crew, Ground, Newcomer};
pub use deck::Deck;
pub use file::Text;
pub use results::{cut_short, find as find_experiment};
pub use runner::run as run_all;
pub use stage::Stage;
