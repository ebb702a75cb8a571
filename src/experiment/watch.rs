//! Waits until a service can be used, beside the launcher's own work.

use crate::capture::Captured;
use crate::probe;
use crate::verify::{Left, verify};
use chaos_table::checks::Check;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long it may take when the check does not say.
const WITHIN: Duration = Duration::from_secs(30);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

const NOT_YET: u8 = 0;
const READY: u8 = 1;
const GIVEN_UP: u8 = 2;

/// A service that is starting.
#[derive(Debug)]
pub struct Watch {
    state: Arc<AtomicU8>,
    since: Instant,
    within: Duration,
    check: String,
}

/// What is known of it.
pub enum Readiness {
    /// It can be used.
    Ready,
    /// It cannot be, and its time has passed; why.
    Late(String),
    /// It may be soon.
    NotYet,
}

impl Watch {
    /// Begins to look whether the check holds.
    #[must_use]
    pub fn begin(check: &Check, work_dir: &Path, outputs: [PathBuf; 2]) -> Watch {
        let within = check.within.map_or(WITHIN, |within| Duration::from_nanos(within.0.0));
        let state = Arc::new(AtomicU8::new(NOT_YET));
        let (told, words, work_dir) = (Arc::clone(&state), check.to_string(), work_dir.to_owned());
        let check = Check { within: None, ..check.clone() };
        std::thread::spawn(move || {
            while told.load(Relaxed) == NOT_YET {
                if holds(&check, &work_dir, &outputs) {
                    let _ = told.compare_exchange(NOT_YET, READY, Relaxed, Relaxed);
                } else {
                    std::thread::sleep(PAUSE);
                }
            }
        });
        Watch { state, since: Instant::now(), within, check: words }
    }

    /// What is known by now.
    #[must_use]
    pub fn look(&self, now: Instant) -> Readiness {
        match self.state.load(Relaxed) {
            READY => Readiness::Ready,
            _ if now.duration_since(self.since) > self.within => Readiness::Late(format!(
                "`{}` did not hold within {}",
                self.check,
                humantime::format_duration(self.within)
            )),
            _ => Readiness::NotYet,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.state.compare_exchange(NOT_YET, GIVEN_UP, Relaxed, Relaxed);
    }
}

fn holds(check: &Check, work_dir: &Path, outputs: &[PathBuf; 2]) -> bool {
    if probe::asks(check) {
        return probe::passes(check);
    }
    let [out, err] = outputs.each_ref().map(|path| Captured::of_file(path));
    let left = Left { stderr: Some(&err), ..Left::before(work_dir, &out) };
    verify(std::slice::from_ref(check), &left).iter().all(|checked| checked.passed)
}
