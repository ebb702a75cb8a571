//! Health probes: asks a server again and again while the run goes on, and keeps when it answered and when not.

use crate::facts::Streak;
use chaos_table::checks::{Check, CheckKind};
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two probes.
const EVERY: Duration = Duration::from_millis(100);
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a service may be away when its check does not say.
pub const AWAY: Duration = Duration::from_secs(5);

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Question {
    Tcp { to: String },
    Http { to: String, host: String, path: String, status: Vec<u16> },
}

impl Question {
    /// Of a check that is a health probe.
    fn of(check: &Check) -> Option<Question> {
        match check.check? {
            CheckKind::Tcp => Some(Question::Tcp { to: check.to.as_ref()?.0.clone() }),
            CheckKind::Http => {
                let rest = check.url.as_ref()?.0.strip_prefix("http://")?;
                let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
                let to = if has_port { host.to_owned() } else { format!("{host}:80") };
                let path = if path.is_empty() { "/" } else { path };
                let status = check.status.iter().flat_map(|all| all.iter().map(|status| status.0)).collect();
                Some(Question::Http { to, host: host.to_owned(), path: path.to_owned(), status })
            }
            _ => None,
        }
    }

    fn passes(&self) -> bool {
        match self {
            Question::Tcp { to } => connect(to).is_some(),
            Question::Http { to, host, path, status } => ask(to, host, path)
                .is_some_and(|got| if status.is_empty() { (200..400).contains(&got) } else { status.contains(&got) }),
        }
    }
}

/// Whether a check is a health probe.
#[must_use]
pub fn asks(check: &Check) -> bool {
    matches!(check.check, Some(CheckKind::Http | CheckKind::Tcp))
}

/// Whether a check that is a health probe passes now.
#[must_use]
pub fn passes(check: &Check) -> bool {
    Question::of(check).is_some_and(|question| question.passes())
}

fn connect(to: &str) -> Option<TcpStream> {
    to.to_socket_addrs().ok()?.find_map(|address| TcpStream::connect_timeout(&address, PATIENCE).ok())
}

/// The status that a web server answers.
fn ask(to: &str, host: &str, path: &str) -> Option<u16> {
    let mut stream = connect(to)?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    let question =
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: chaos-exec\r\nConnection: close\r\n\r\n");
    stream.write_all(question.as_bytes()).ok()?;
    let mut line = Vec::new();
    let mut byte = [0];
    // "HTTP/1.1 200 ..."; a server that says something else is not well.
    while line.len() < 64 && !line.ends_with(b"\n") && stream.read(&mut byte).ok()? == 1 {
        line.push(byte[0]);
    }
    let line = String::from_utf8_lossy(&line).into_owned();
    line.strip_prefix("HTTP/")?.split(' ').nth(1)?.trim().parse().ok()
}

/// Probes that go on.
pub struct Probes {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Streak>>>,
}

impl Probes {
    /// Begins to probe what the checks name. `start` is when the run began.
    #[must_use]
    pub fn start(checks: &[Check], start: Instant) -> Probes {
        let stop = Arc::new(AtomicBool::new(false));
        let questions = checks.iter().enumerate().filter_map(|(at, check)| Some((at, Question::of(check)?)));
        let threads = questions.map(|(at, question)| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || probe(at, &question, start, &stop))
        });
        Probes { threads: threads.collect(), stop }
    }

    /// Ends them and says what they found.
    #[must_use]
    pub fn finish(self) -> Vec<Streak> {
        self.stop.store(true, Relaxed);
        self.threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    }
}

fn probe(check: usize, question: &Question, start: Instant, stop: &AtomicBool) -> Vec<Streak> {
    let mut streaks: Vec<Streak> = Vec::new();
    while !stop.load(Relaxed) {
        let asked = Instant::now();
        let up = question.passes();
        // When it was asked: a server that answers now was there then.
        let at_ns = u64::try_from(asked.duration_since(start).as_nanos()).unwrap_or(u64::MAX);
        match streaks.last_mut().filter(|streak| streak.up == up) {
            Some(streak) => (streak.to_ns, streak.count) = (at_ns, streak.count + 1),
            None => streaks.push(Streak { check, up, from_ns: at_ns, to_ns: at_ns, count: 1 }),
        }
        while asked.elapsed() < EVERY && !stop.load(Relaxed) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    streaks
}

/// Whether a service was well: it answered, and then was never away for longer than this.
///
/// # Errors
/// Why not.
pub fn judge(streaks: &[Streak], away: Duration, end_ns: u64) -> Result<String, String> {
    let Some(first) = streaks.iter().position(|streak| streak.up) else {
        return Err("it never answered".into());
    };
    let later = streaks.get(first..).unwrap_or_default();
    for (at, streak) in later.iter().enumerate().filter(|(_, streak)| !streak.up) {
        let back = later.get(at + 1).map_or(end_ns, |next| next.from_ns);
        let lasted = Duration::from_nanos(back.saturating_sub(streak.from_ns));
        if lasted > away {
            let shown = |time: Duration| crate::gate::duration(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
            return Err(format!("it was away for {}, longer than {}", shown(lasted), shown(away)));
        }
    }
    Ok("it answered".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use chaos_table::checks::parse_check;

    fn streak(up: bool, from_ms: u64, to_ms: u64) -> Streak {
        let ns = |ms: u64| ms * 1_000_000;
        Streak { check: 0, up, from_ns: ns(from_ms), to_ns: ns(to_ms), count: 1 }
    }

    #[test]
    fn a_service_may_be_away_for_so_long() {
        let away = Duration::from_secs(1);
        let end = 9_000_000_000;
        assert!(judge(&[streak(false, 0, 3000), streak(true, 3100, 9000)], away, end).is_ok(), "it was starting");
        let gone = [streak(true, 0, 900), streak(false, 1000, 1800), streak(true, 1900, 9000)];
        assert!(judge(&gone, away, end).is_ok());
        assert!(judge(&gone, Duration::from_millis(500), end).unwrap_err().contains("900 ms"));
        assert!(judge(&gone[..2], away, end).unwrap_err().contains("8.00 s"), "it never came back");
        assert!(judge(&gone[..2], away, 1_900_000_000).is_ok(), "it went when the run ended");
        assert!(judge(&[streak(false, 0, 9000)], away, end).unwrap_err().contains("never"));
        assert!(judge(&[], away, end).is_err());
    }

    #[test]
    fn a_url_is_taken_apart() {
        let http = |url: &str| Question::of(&parse_check(&format!("http url={url} status=204"), "").unwrap()).unwrap();
        let question = |to: &str, host: &str, path: &str| Question::Http {
            to: to.into(),
            host: host.into(),
            path: path.into(),
            status: vec![204],
        };
        assert_eq!(http("http://localhost:8080/a/b?c"), question("localhost:8080", "localhost:8080", "/a/b?c"));
        assert_eq!(http("http://example.com"), question("example.com:80", "example.com", "/"));
        assert_eq!(http("http://[::1]:80"), question("[::1]:80", "[::1]:80", "/"));
    }
}
