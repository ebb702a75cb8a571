//! The processes of one run: started in their order once what they wait for is ready, started again as their policy
//! says, and ended, all of them, when the run is over.

use super::cues::Cues;
use super::file::{Restart, Target};
use super::launch::Launch;
use super::stage::Stage;
use super::watch::{Readiness, Watch};
use crate::collect::Collector;
use crate::ctl;
use crate::error::{Failure, Result};
use crate::exit_code::Exit;
use crate::facts::Restarted;
use crate::probe;
use crate::process::{Survivor, descendants};
use crate::sys;
use crate::verify;
use chaos_table::checks::Check;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Restarts of a process, and the pause before each, when its target does not say.
const RESTARTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(100);
/// Between TERM and KILL for what is still there at the end, and how long KILL is waited for.
const GRACE: Duration = Duration::from_secs(2);
const LAST_WAIT: Duration = Duration::from_secs(10);

/// Where the processes find the session.
#[derive(Clone, Debug)]
pub struct Ground {
    /// The work directory.
    pub work_dir: PathBuf,
    /// The shim.
    pub shim: PathBuf,
    /// The mapped file.
    pub session: PathBuf,
    /// The seed.
    pub seed: u64,
    /// When the run began.
    pub start: Instant,
}

/// The processes of one run.
#[derive(Debug)]
pub struct Crew {
    stage: Stage,
    ground: Ground,
    mask: SigSet,
    members: Vec<Member>,
    /// When everything was ready.
    ready: Option<Instant>,
    main_pid: i32,
    setup: Option<String>,
    aborted: Option<Signal>,
    restarts: Vec<Restarted>,
    started: Vec<Newcomer>,
    cues: Cues,
}

/// A process that was started.
#[derive(Debug)]
pub struct Newcomer {
    /// Its pid.
    pub pid: i32,
    /// Its name.
    pub name: String,
    /// Whether it is there to keep the machine busy, and is no part of what is tested.
    pub is_load: bool,
}

#[derive(Debug)]
struct Member {
    target: usize,
    instance: u32,
    name: String,
    starts: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    Waiting,
    Starting { pid: i32, watch: Watch },
    Up { pid: i32 },
    Paused { until: Instant },
    Ended(Exit),
}

impl State {
    fn pid(&self) -> Option<i32> {
        match self {
            State::Starting { pid, .. } | State::Up { pid } => Some(*pid),
            State::Waiting | State::Paused { .. } | State::Ended(_) => None,
        }
    }
}

impl Crew {
    /// Nothing is started yet.
    #[must_use]
    pub fn new(stage: Stage, ground: Ground, mask: SigSet) -> Crew {
        let mut members = Vec::new();
        for (at, target) in stage.targets.iter().enumerate() {
            let count = target.instances.unwrap_or(1);
            for instance in 1..=count {
                let name = if count == 1 { target.name.clone() } else { format!("{}-{instance}", target.name) };
                members.push(Member { target: at, instance, name, starts: 0, state: State::Waiting });
            }
        }
        let (restarts, started) = (Vec::new(), Vec::new());
        let cues = Cues::new(&stage.cues);
        let (ready, main_pid, setup, aborted) = (None, 0, None, None);
        Crew { stage, ground, mask, members, ready, main_pid, setup, aborted, restarts, started, cues }
    }

    /// Pid of the process that stands for the whole: the first task, else the first target; 0 while there is none.
    #[must_use]
    pub fn pid(&self) -> i32 {
        let main = self.members.iter().find(|member| !self.target(member).service).or(self.members.first());
        main.and_then(|member| member.state.pid()).unwrap_or(0)
    }

    /// The last pid that stood for the whole.
    #[must_use]
    pub fn main_pid(&self) -> Option<i32> {
        Some(self.main_pid).filter(|pid| *pid > 0)
    }

    /// Name of the process whose outputs the checks look at.
    #[must_use]
    pub fn output(&self, stream: &str) -> PathBuf {
        let main = self.members.iter().find(|member| !self.target(member).service).or(self.members.first());
        self.stage.outputs.join(format!("{}.{stream}", main.map_or("target", |member| &member.name)))
    }

    /// Why the run did not come about.
    #[must_use]
    pub fn setup(&self) -> Option<String> {
        self.setup.clone().or_else(|| self.aborted.map(|signal| format!("aborted by {signal}")))
    }

    /// Who was started again.
    #[must_use]
    pub fn restarts(&self) -> Vec<Restarted> {
        self.restarts.clone()
    }

    /// Those that were started since this was last asked.
    pub fn newcomers(&mut self) -> Vec<Newcomer> {
        std::mem::take(&mut self.started)
    }

    /// Somebody wants the run to end.
    pub fn abort(&mut self, signal: Signal) {
        if [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT].contains(&signal) {
            self.aborted.get_or_insert(signal);
        }
    }

    /// Does what is due; how the run ended, once it has.
    pub fn tick(&mut self, collector: &mut Collector) -> Option<Exit> {
        if let Err(failure) = self.advance(collector) {
            self.setup.get_or_insert(failure.message);
        }
        match (&self.setup, self.aborted) {
            (Some(_), _) => Some(Exit::OurFailure),
            (None, Some(signal)) => Some(Exit::Signal(signal as i32)),
            (None, None) => self.over(),
        }
    }

    fn advance(&mut self, collector: &mut Collector) -> Result<()> {
        let now = Instant::now();
        if self.ready.is_some() {
            self.cues.look(collector)?;
        }
        for at in 0..self.members.len() {
            self.look_at_readiness(at, now)?;
            let due = matches!(self.members[at].state, State::Paused { until } if until <= now);
            if due || self.may_start(at) {
                self.start(at)?;
            }
        }
        let services_up = |crew: &Crew| {
            crew.members.iter().all(|member| !crew.target(member).service || matches!(member.state, State::Up { .. }))
        };
        if self.ready.is_none() && services_up(self) {
            self.steady()?;
            self.ready = Some(Instant::now());
            if self.stage.arms {
                Crew::arm(collector)?;
            }
            // Those that waited for it need not wait for the next tick.
            return (0..self.members.len())
                .filter(|at| self.may_start(*at))
                .collect::<Vec<_>>()
                .into_iter()
                .try_for_each(|at| self.start(at));
        }
        Ok(())
    }

    fn target(&self, member: &Member) -> &Target {
        &self.stage.targets[member.target]
    }

    fn look_at_readiness(&mut self, at: usize, now: Instant) -> Result<()> {
        let member = &self.members[at];
        let State::Starting { pid, watch } = &member.state else { return Ok(()) };
        let (pid, first) = (*pid, member.starts == 1);
        match watch.look(now) {
            Readiness::Ready => {
                self.members[at].state = State::Up { pid };
                self.is_back(at);
                Ok(())
            }
            Readiness::Late(why) if first => Err(Failure::new(format!("{} was not ready: {why}", member.name))),
            Readiness::Late(_) | Readiness::NotYet => Ok(()),
        }
    }

    /// Whether it waits, and waits for nothing any more.
    fn may_start(&self, at: usize) -> bool {
        let member = &self.members[at];
        if !matches!(member.state, State::Waiting) {
            return false;
        }
        let target = self.target(member);
        let needed = |other: &Target| other.service && other.after.all.contains(&target.name);
        // A task that prepares a service comes before everything is ready.
        let prepares = self.stage.targets.iter().any(needed);
        if !target.service && !prepares && self.ready.is_none() {
            return false;
        }
        self.members.iter().filter(|other| target.after.all.contains(&self.target(other).name)).all(|other| match other
            .state
        {
            State::Up { .. } => self.target(other).service,
            State::Ended(exit) => exit == Exit::Target(0),
            _ => false,
        })
    }

    /// What must be true before anything fails.
    fn steady(&self) -> Result<()> {
        let none = crate::capture::Captured::default();
        let left = verify::Left::before(&self.ground.work_dir, &none);
        let (asked, looked): (Vec<&Check>, Vec<&Check>) =
            self.stage.before.iter().partition(|check| probe::asks(check));
        let looked: Vec<Check> = looked.into_iter().cloned().collect();
        let odd = verify::verify(&looked, &left).into_iter().find(|checked| !checked.passed);
        let odd = odd.map(|odd| format!("{}: {}", odd.check, odd.why));
        let silent = || asked.iter().find(|check| !answers(check)).map(|check| format!("{check}: it does not answer"));
        match odd.or_else(silent) {
            Some(odd) => Err(Failure::new(format!("the steady state does not hold: {odd}"))),
            None => Ok(()),
        }
    }

    /// From now on faults are injected, and their windows count.
    fn arm(collector: &Collector) -> Result<()> {
        ctl::arm(collector.session())
    }

    fn since_start(&self) -> u64 {
        u64::try_from(self.ground.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// How it ended: all tasks have, or the time of the services is up.
    fn over(&self) -> Option<Exit> {
        let ready = self.ready?;
        let tasks: Vec<&Member> = self.members.iter().filter(|member| !self.target(member).service).collect();
        if tasks.is_empty() {
            let lasting = Duration::from_nanos(self.stage.lasting_ns.unwrap_or(0));
            return (ready.elapsed() >= lasting).then_some(Exit::Target(0));
        }
        let ended = |member: &&Member| match member.state {
            State::Ended(exit) => Some(exit),
            _ => None,
        };
        let failed = tasks.iter().filter_map(ended).find(|exit| *exit != Exit::Target(0));
        let going = |member: &&&Member| !matches!(member.state, State::Ended(_));
        // What waits for one that failed will never start.
        let hopeless = |member: &&&Member| matches!(member.state, State::Waiting) && failed.is_some();
        match tasks.iter().filter(going).all(|member| hopeless(&member)) {
            true => Some(failed.unwrap_or(Exit::Target(0))),
            false => None,
        }
    }

    /// A process has ended.
    pub fn reaped(&mut self, pid: i32, exit: Exit) {
        let died_ns = self.since_start();
        let Some(at) = self.members.iter().position(|member| member.state.pid() == Some(pid)) else { return };
        let member = &self.members[at];
        let target = &self.stage.targets[member.target];
        let wanted = match target.restart {
            Restart::Never => false,
            Restart::OnFailure => exit != Exit::Target(0),
            Restart::Always => true,
        };
        let early = matches!(member.state, State::Starting { .. }) && member.starts == 1;
        if wanted && !early && member.starts <= target.restarts.unwrap_or(RESTARTS) {
            let pause = target.restart_delay.map_or(PAUSE, |pause| Duration::from_nanos(pause.0.0));
            let target = member.name.clone();
            self.restarts.push(Restarted { target, pid: u32::try_from(pid).unwrap_or(0), died_ns, back_ns: None });
            self.members[at].state = State::Paused { until: Instant::now() + pause };
            return;
        }
        if early && target.service {
            let said = last_line(&self.stage.outputs.join(format!("{}.stderr", member.name)));
            let said = if said.is_empty() { said } else { format!(": {said}") };
            self.setup.get_or_insert(format!("{} ended before it was ready ({}){said}", member.name, exit.in_words()));
        }
        self.members[at].state = State::Ended(exit);
    }

    /// One that was started again is of use again.
    fn is_back(&mut self, at: usize) {
        let back_ns = Some(self.since_start());
        let name = &self.members[at].name;
        self.restarts
            .iter_mut()
            .filter(|back| back.target == *name && back.back_ns.is_none())
            .for_each(|back| back.back_ns = back_ns);
    }

    fn start(&mut self, at: usize) -> Result<()> {
        let member = &self.members[at];
        let target = self.target(member);
        let within = |failure: Failure| Failure { message: format!("{}: {}", member.name, failure.message), ..failure };
        let launch = Launch {
            stage: &self.stage,
            ground: &self.ground,
            mask: &self.mask,
            target,
            name: &member.name,
            instance: member.instance,
            place: (at, member.starts),
        };
        let pid = launch.go().map_err(within)?;
        let is_load = target.is_load();
        let name = member.name.clone();
        let ready = target.ready.as_ref().filter(|_| target.service);
        let state = match ready {
            Some(check) => {
                let outputs = ["stdout", "stderr"].map(|stream| self.stage.outputs.join(format!("{name}.{stream}")));
                State::Starting { pid, watch: Watch::begin(check, &self.ground.work_dir, outputs) }
            }
            None => State::Up { pid },
        };
        let is_up = matches!(state, State::Up { .. });
        let member = &mut self.members[at];
        member.starts += 1;
        member.state = state;
        self.started.push(Newcomer { pid, name, is_load });
        self.main_pid = Some(self.pid()).filter(|pid| *pid > 0).unwrap_or(self.main_pid);
        if is_up {
            self.is_back(at);
        }
        Ok(())
    }

    /// Ends whatever is left of the run, and waits until it is gone. Gives what is not.
    #[must_use]
    pub fn end() -> Vec<Survivor> {
        let start = Instant::now();
        let mut told = false;
        loop {
            while let Ok(Some(_)) = sys::wait_any(false) {}
            let left = descendants();
            if left.is_empty() || start.elapsed() > GRACE + LAST_WAIT {
                return left;
            }
            let signal = if start.elapsed() < GRACE { Signal::SIGTERM } else { Signal::SIGKILL };
            for process in left.iter().filter(|_| !told || signal == Signal::SIGKILL) {
                let _ = kill(Pid::from_raw(process.pid), signal);
                // One that is stopped would not see it.
                let _ = kill(Pid::from_raw(process.pid), Signal::SIGCONT);
            }
            told = true;
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Whether a server answers in the time that its check gives it.
fn answers(check: &Check) -> bool {
    let within = check.within.map_or(Duration::ZERO, |within| Duration::from_nanos(within.0.0));
    let start = Instant::now();
    loop {
        if probe::passes(check) {
            return true;
        }
        if start.elapsed() >= within {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
}

/// The last line of a file that is not empty.
pub fn last_line(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(4096)..]).into_owned();
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned()
}
