//! Episodes: what a program had to get over. Injections on one resource are one episode for as long as it stays
//! unrecovered. Pure: it reads events and knows no process.

use crate::log_events::{Attempt, Injection, Recovery};
use crate::traits::{Calls, Traits};
use chaos_table::calls::{Op, Subject};
use serde::Serialize;
use std::collections::HashMap;

/// Processes that are remembered for an episode; what is hit in more of them is hit in the first ones too.
const MAX_PIDS: usize = 32;

/// What a later success of the call can tell about a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Proof {
    /// The call failed: its success is the recovery.
    Success,
    /// The data or the answer was wrong, and the call succeeded all the same: only checks can tell.
    Checks,
    /// The process was ended: it has to come back.
    Return,
}

/// What ended an episode well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// The same operation on the same resource succeeded.
    Retry,
    /// The same operation on another member of the role succeeded.
    Rerouted,
    /// Another process, or the service again, after the first had been ended.
    Restarted,
}

impl How {
    /// As reports say it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            How::Retry => "retry",
            How::Rerouted => "rerouted",
            How::Restarted => "restarted",
        }
    }
}

/// One thing that a program had to get over.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Episode {
    /// From 1, in the order in which they began.
    pub number: u64,
    /// Rule of the first injection.
    pub rule: String,
    /// Kind of the first fault.
    pub fault: String,
    /// The operation.
    pub call: String,
    /// Path, peer or name.
    pub resource: Option<String>,
    /// The errno or effect of the first fault.
    pub error: String,
    /// Program that was hit first.
    pub process: Option<String>,
    /// Process that was hit first.
    pub pid: u32,
    /// Its place in the tree.
    pub lineage: Option<String>,
    /// ns since the start of the run to the first fault that was delivered.
    pub opened_ns: u64,
    /// The same for the last one.
    pub last_ns: u64,
    /// Faults that were delivered in it.
    pub injections: u64,
    /// What could prove that it is over.
    pub proof: Proof,
    /// The recovering call: when it was complete, in ns since the start of the run, and what it was.
    pub recovered: Option<(u64, How)>,
    /// The fault blocks its caller, who has not come back.
    pub blocked: bool,
    /// Nobody could see whether it recovered.
    pub unwatched: bool,
    /// How the program behaved; of what no later success can prove, nothing.
    pub traits: Option<Traits>,
    /// The calls on the resource.
    #[serde(skip)]
    pub calls: Calls,
    /// Processes that were hit.
    #[serde(skip)]
    pub pids: Vec<u32>,
    /// The first process image.
    #[serde(skip)]
    image: u32,
    /// Record of the first injection.
    #[serde(skip)]
    index: u64,
}

impl Episode {
    /// Time to recovery in ns; `None` when it never recovered.
    #[must_use]
    pub fn ttr_ns(&self) -> Option<u64> {
        self.recovered.map(|(at, _)| at.saturating_sub(self.opened_ns))
    }
}

/// What holds injections together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    call: String,
    /// The resource, or for what has none the process image.
    place: Result<String, u32>,
    proof: u8,
}

/// Builds episodes from the events of one run, in their order.
#[derive(Debug, Default)]
pub struct Episodes {
    all: Vec<Episode>,
    open: HashMap<Key, usize>,
    /// Index of the first injection's record -> its episode.
    by_index: HashMap<u64, usize>,
    /// Recoveries of which no episode is known.
    pub strays: u64,
}

impl Episodes {
    /// Takes an injection.
    pub fn injected(&mut self, injection: &Injection) {
        let Some(proof) = proof_of(injection) else { return };
        let key = key_of(&injection.call, injection.resource.as_deref(), injection.image, proof);
        if let Some(episode) = self.open.get(&key).and_then(|at| self.all.get_mut(*at)) {
            episode.injections += 1;
            episode.calls.injected(injection.at_ns, injection.ended_ns.unwrap_or(injection.at_ns));
            episode.last_ns = episode.last_ns.max(injection.at_ns);
            episode.blocked |= injection.blocked;
            if episode.pids.len() < MAX_PIDS && !episode.pids.contains(&injection.pid) {
                episode.pids.push(injection.pid);
            }
            return;
        }
        self.by_index.insert(injection.index, self.all.len());
        self.open.insert(key, self.all.len());
        let mut calls = Calls::default();
        calls.injected(injection.at_ns, injection.ended_ns.unwrap_or(injection.at_ns));
        let error = injection.errno.as_ref().or(injection.effect.as_ref()).unwrap_or(&injection.fault);
        self.all.push(Episode {
            number: self.all.len() as u64 + 1,
            rule: injection.rule.clone(),
            fault: injection.fault.clone(),
            call: injection.call.clone(),
            resource: injection.resource.clone(),
            error: error.clone(),
            process: injection.process.clone(),
            pid: injection.pid,
            lineage: injection.lineage.clone(),
            opened_ns: injection.at_ns,
            last_ns: injection.at_ns,
            injections: 1,
            proof,
            recovered: None,
            blocked: injection.blocked,
            unwatched: false,
            traits: None,
            calls,
            pids: vec![injection.pid],
            image: injection.image,
            index: injection.index,
        });
    }

    /// Takes a recovery: it closes the episode whose first injection it names, or that of its call and resource.
    pub fn recovered(&mut self, recovery: &Recovery) {
        let at = self.by_index.get(&recovery.of).copied().or_else(|| {
            let resource = recovery.resource.as_deref();
            let keys =
                [Proof::Success, Proof::Return].map(|proof| key_of(&recovery.call, resource, recovery.image, proof));
            keys.iter().find_map(|key| self.open.get(key)).copied()
        });
        let open = |episode: &&mut Episode| {
            episode.proof != Proof::Checks && episode.recovered.is_none() && episode.index <= recovery.of
        };
        let Some(episode) = at.and_then(|at| self.all.get_mut(at)).filter(open) else {
            self.strays += 1;
            return;
        };
        let elsewhere = recovery.resource.is_some() && recovery.resource != episode.resource;
        let how = match episode.proof {
            // A signal that the process lived through: the call itself came good.
            Proof::Return if recovery.image != episode.image => How::Restarted,
            _ if elsewhere => How::Rerouted,
            _ => How::Retry,
        };
        episode.recovered = Some((recovery.at_ns, how));
        episode.calls.recovered(recovery.at_ns, recovery.tries);
        self.open.remove(&key_of(&episode.call, episode.resource.as_deref(), episode.image, episode.proof));
    }

    /// Takes a call that no fault was injected into.
    pub fn attempted(&mut self, attempt: &Attempt) {
        let Some(episode) = self.by_index.get(&attempt.of).and_then(|at| self.all.get_mut(*at)) else { return };
        match episode.recovered {
            None => episode.calls.failed(attempt.at_ns, attempt.number),
            Some(_) => episode.calls.after(attempt.at_ns),
        }
    }

    /// Nobody will see a recovery from the injection with this record.
    pub fn unwatched(&mut self, of: u64) {
        if let Some(episode) = self.by_index.get(&of).and_then(|at| self.all.get_mut(*at)) {
            episode.unwatched = true;
        }
    }

    /// All of them, in the order in which they began.
    #[must_use]
    pub fn finish(self) -> Vec<Episode> {
        self.all
    }
}

fn key_of(call: &str, resource: Option<&str>, image: u32, proof: Proof) -> Key {
    // What a process asks of the system for itself is a resource of that process, whatever the log names.
    let own =
        |op: Op| matches!(op.row().subject, Subject::Memory | Subject::Program | Subject::Nothing | Subject::Point);
    let of_process = Op::by_name(call).is_some_and(own);
    let place = resource.filter(|_| !of_process).map(str::to_owned).ok_or(image);
    Key { call: call.to_owned(), place, proof: proof as u8 }
}

/// What an injection has to be got over by; `None` when there is nothing to get over.
fn proof_of(injection: &Injection) -> Option<Proof> {
    if !injection.delivered {
        return None;
    }
    match injection.fault.as_str() {
        // The call went on: being slow is no failure.
        "throttle" | "freeze" => None,
        "latency" if injection.result.is_none_or(|result| result >= 0) => None,
        "hang" if !injection.blocked && injection.result.is_some_and(|result| result >= 0) => None,
        "short" | "corrupt" | "drop" | "torn" | "clock" | "return" => Some(Proof::Checks),
        "signal" | "exit" => Some(Proof::Return),
        _ => Some(Proof::Success),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(index: u64, fault: &str, call: &str, resource: &str) -> Injection {
        Injection {
            index,
            at_ns: index * 100,
            pid: 7,
            image: 1,
            rule: "r".into(),
            fault: fault.into(),
            call: call.into(),
            resource: Some(resource.to_owned()).filter(|resource| !resource.is_empty()),
            result: Some(-1),
            delivered: true,
            ..Injection::default()
        }
    }

    fn good(of: u64, at_ns: u64, call: &str, resource: &str, image: u32) -> Recovery {
        let resource = Some(resource.to_owned()).filter(|resource| !resource.is_empty());
        Recovery { of, at_ns, call: call.into(), resource, image, ..Recovery::default() }
    }

    fn build(hits: &[Injection], goods: &[Recovery]) -> (Vec<Episode>, u64) {
        let mut episodes = Episodes::default();
        hits.iter().for_each(|hit| episodes.injected(hit));
        goods.iter().for_each(|good| episodes.recovered(good));
        let strays = episodes.strays;
        (episodes.finish(), strays)
    }

    #[test]
    fn injections_on_one_resource_merge_until_it_recovers() {
        let mut episodes = Episodes::default();
        for index in [1, 2, 3] {
            episodes.injected(&hit(index, "error", "connect", "a:1"));
        }
        episodes.injected(&hit(4, "error", "connect", "b:1"));
        episodes.recovered(&good(1, 900, "connect", "a:1", 1));
        episodes.injected(&hit(10, "error", "connect", "a:1"));
        let all = episodes.finish();
        let seen: Vec<_> = all.iter().map(|one| (one.injections, one.ttr_ns())).collect();
        assert_eq!(seen, [(3, Some(800)), (1, None), (1, None)]);
        assert_eq!(all[0].last_ns, 300);
    }

    #[test]
    fn a_recovery_is_a_retry_a_reroute_or_a_restart() {
        let hits = [hit(1, "error", "connect", "a:1"), hit(2, "error", "open", "/x"), hit(3, "signal", "write", "/w")];
        let goods = [good(1, 500, "connect", "b:1", 1), good(2, 500, "open", "/x", 1), good(3, 500, "write", "/w", 2)];
        let (all, strays) = build(&hits, &goods);
        let how: Vec<_> = all.iter().map(|one| one.recovered.map(|(_, how)| how)).collect();
        assert_eq!(how, [Some(How::Rerouted), Some(How::Retry), Some(How::Restarted)]);
        assert_eq!(strays, 0);
    }

    #[test]
    fn what_a_process_asks_for_itself_is_no_resource_of_others() {
        let other = Injection { image: 2, pid: 8, ..hit(2, "error", "malloc", "") };
        let (all, _) = build(&[hit(1, "error", "malloc", ""), other, hit(3, "error", "exec", "ls")], &[]);
        assert_eq!(all.len(), 3);
        let elsewhere = Injection { image: 2, pid: 8, ..hit(2, "error", "open", "/x") };
        let (all, _) = build(&[hit(1, "error", "open", "/x"), elsewhere], &[]);
        assert_eq!((all.len(), all[0].pids.as_slice()), (1, &[7, 8][..]));
    }

    #[test]
    fn slowness_and_what_never_reached_the_caller_are_nothing_to_get_over() {
        let fired = Injection { delivered: false, result: None, ..hit(1, "error", "read", "/x") };
        let over = Injection { result: Some(4), ..hit(2, "hang", "read", "/x") };
        let blocked = Injection { result: None, blocked: true, ..hit(3, "hang", "read", "/x") };
        let late = Injection { result: Some(0), ..hit(4, "latency", "read", "/x") };
        let (all, _) = build(&[fired, late, over], &[]);
        assert!(all.is_empty());
        // What the caller's own patience ended is a failure.
        let timed_out = hit(5, "latency", "read", "/y");
        assert_eq!(build(&[blocked, timed_out], &[]).0.len(), 2);
    }

    #[test]
    fn a_success_proves_nothing_about_wrong_data() {
        let (all, strays) = build(&[hit(1, "corrupt", "read", "/x")], &[good(1, 9, "read", "/x", 1)]);
        assert_eq!((all[0].recovered, strays), (None, 1));
        // Nor does it merge with an error on the same resource.
        let (all, _) = build(&[hit(1, "corrupt", "read", "/x"), hit(2, "error", "read", "/x")], &[]);
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn a_recovery_that_names_no_episode_is_found_by_its_resource_or_left_out() {
        let hits = [hit(1, "error", "connect", "a:1")];
        assert!(build(&hits, &[good(77, 500, "connect", "a:1", 9)]).0[0].recovered.is_some());
        let (all, strays) =
            build(&hits, &[good(77, 500, "connect", "c:1", 9), good(1, 1, "", "", 0), good(1, 2, "", "", 0)]);
        assert_eq!((all[0].ttr_ns(), strays), (Some(0), 2));
    }
}
