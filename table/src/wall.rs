//! How far a clock is off: a pure function of the rule, the seed and the true time, so that every call of every process
//! of a tree shows the same time, also after fork and exec.

use crate::decide::{combine, mix};
use crate::rule::{ALWAYS, Rule};

/// Parts of a pace.
const WHOLE: i64 = 1_000_000;
/// Salt of the draws for periods.
const JUMP: u64 = 0x6a75_6d70;

/// What a shift depends on beside the rule.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// The seed of the run.
    pub seed: u64,
    /// Index of the rule.
    pub index: usize,
    /// Nothing is shifted before, ns since the start of the run.
    pub from_ns: u64,
    /// Nor from here on; `u64::MAX` is open.
    pub until_ns: u64,
    /// A steady clock keeps what it has gained when the window is over, since it never goes back.
    pub steady: bool,
}

/// How far one rule puts a clock ahead.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shift {
    /// ns ahead, negative when behind.
    pub ns: i64,
    /// By how many millionths it goes too fast at this moment, negative when too slow.
    pub ppm: i64,
}

/// The shift of a rule when the clock truly shows `now` ns since the start of the run; `None` while it has none.
#[inline(always)]
#[must_use]
pub fn shift(rule: &Rule, scope: &Scope, now: u64) -> Option<Shift> {
    if now < scope.from_ns {
        return None;
    }
    let over = now >= scope.until_ns;
    if over && !scope.steady {
        return None;
    }
    let passed = now.min(scope.until_ns) - scope.from_ns;
    let mut shift = Shift { ns: rule.offset_ns, ppm: 0 };
    if rule.jump_ns != 0 && (rule.period_ns == 0 || jumps(rule, scope, passed / rule.period_ns)) {
        shift.ns = shift.ns.saturating_add(rule.jump_ns);
    }
    if rule.pace_ppm != 0 {
        shift.ppm = i64::try_from(rule.pace_ppm).unwrap_or(i64::MAX).saturating_sub(WHOLE);
        shift.ns = shift.ns.saturating_add(gained(i64::try_from(passed).unwrap_or(i64::MAX), shift.ppm));
        if over {
            shift.ppm = 0;
        }
    }
    (shift != Shift::default()).then_some(shift)
}

/// Whether the clock is off in this period: as the rate draws, or in every second one.
fn jumps(rule: &Rule, scope: &Scope, period: u64) -> bool {
    if rule.rate == ALWAYS {
        return period.is_multiple_of(2);
    }
    mix(combine(combine(scope.seed, JUMP ^ scope.index as u64), period)) < rule.rate
}

/// What a clock gains in so many ns; exact, and the same for a coarse clock as for a fine one.
fn gained(passed: i64, ppm: i64) -> i64 {
    let (whole, rest) = (passed / WHOLE, passed % WHOLE);
    whole.saturating_mul(ppm).saturating_add(rest.saturating_mul(ppm) / WHOLE)
}

/// How long it truly takes until a clock of this pace has gone `ahead` ns.
#[must_use]
pub fn true_wait(ahead: i64, ppm: i64) -> i64 {
    if ppm == 0 || ahead <= 0 {
        return ahead;
    }
    // Two slow rules together must not stop the clock or turn it back.
    let pace = WHOLE.saturating_add(ppm).max(WHOLE / 100);
    // Rounded up: a wait never ends before its deadline.
    i64::try_from((i128::from(ahead) * i128::from(WHOLE)).div_euclid(i128::from(pace)) + 1).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::rate_threshold;
    use bytemuck::Zeroable;

    const S: u64 = 1_000_000_000;

    fn rule(change: impl FnOnce(&mut Rule)) -> Rule {
        let mut rule = Rule::zeroed();
        rule.rate = ALWAYS;
        change(&mut rule);
        rule
    }

    fn scope(from_ns: u64, until_ns: u64, steady: bool) -> Scope {
        Scope { seed: 42, index: 0, from_ns, until_ns, steady }
    }

    fn ahead(rule: &Rule, scope: &Scope, now: u64) -> i64 {
        shift(rule, scope, now).map_or(0, |shift| shift.ns)
    }

    #[test]
    fn an_offset_holds_within_its_window() {
        let late = rule(|rule| rule.offset_ns = -5);
        let scope = scope(S, 2 * S, false);
        assert_eq!([0, S - 1, S, 2 * S - 1, 2 * S].map(|now| ahead(&late, &scope, now)), [0, 0, -5, -5, 0]);
    }

    #[test]
    fn a_pace_counts_from_the_start_of_its_window_and_never_steps() {
        for (ppm, slow) in [(2_000_000, false), (500_000, true)] {
            let rule = rule(|rule| rule.pace_ppm = ppm);
            let scope = scope(S, u64::MAX, false);
            assert_eq!(ahead(&rule, &scope, S), 0);
            assert_eq!(ahead(&rule, &scope, 3 * S), if slow { -(S as i64) } else { 2 * S as i64 });
            let shown = |now: u64| now as i64 + ahead(&rule, &scope, now);
            assert!((0..5000).all(|step| shown(S + step * 777 + 777) >= shown(S + step * 777)));
        }
    }

    #[test]
    fn a_steady_clock_keeps_what_it_gained() {
        let rule = rule(|rule| (rule.pace_ppm, rule.jump_ns) = (3_000_000, 7));
        let scope = scope(S, 2 * S, true);
        assert_eq!(shift(&rule, &scope, 9 * S), Some(Shift { ns: 2 * S as i64 + 7, ppm: 0 }));
    }

    #[test]
    fn jumps_come_and_go_as_often_as_the_rate_says() {
        let mut jumpy = rule(|rule| (rule.jump_ns, rule.period_ns) = (9, S));
        let scope = scope(0, u64::MAX, false);
        let off = |rule: &Rule| (0..1000).filter(|second| ahead(rule, &scope, second * S) == 9).count();
        assert_eq!((ahead(&jumpy, &scope, 0), ahead(&jumpy, &scope, S)), (9, 0));
        assert_eq!(off(&jumpy), 500);
        jumpy.rate = rate_threshold(0.2);
        assert!((150..250).contains(&off(&jumpy)), "{}", off(&jumpy));
        let other = Scope { seed: 43, ..scope };
        assert!((0..100).any(|second| ahead(&jumpy, &scope, second * S) != ahead(&jumpy, &other, second * S)));
    }

    #[test]
    fn nothing_overflows() {
        let wild = rule(|rule| {
            (rule.offset_ns, rule.jump_ns) = (i64::MAX, i64::MAX);
            (rule.pace_ppm, rule.period_ns) = (u64::MAX, 1);
        });
        for now in [0, 1, S, u64::MAX] {
            let _ = shift(&wild, &scope(0, u64::MAX, true), now);
        }
        assert!(true_wait(i64::MAX, i64::MIN) > 0 && true_wait(i64::MAX, i64::MAX) > 0);
    }

    #[test]
    fn a_wait_ends_when_the_clock_shows_its_deadline_and_never_before() {
        assert_eq!(true_wait(1000, 0), 1000);
        assert_eq!(true_wait(-3, 1_000_000), -3);
        assert_eq!(true_wait(1000, 1_000_000), 501);
        assert_eq!(true_wait(1000, -500_000), 2001);
    }
}
