//! Whether two sets of numbers differ by more than chance. Pure.
//!
//! Parts are compared by Fisher's exact test (two-sided: all tables as unlikely as this one, or more), times by the test
//! of Mann and Whitney (two-sided, normal approximation, corrected for ties and for continuity). Of several comparisons
//! the p-values are corrected by Holm's method, so that one of many does not look like news by chance.

/// p below which something is more than chance.
pub const ALPHA: f64 = 0.05;
/// Fewer times on a side than these say nothing by the normal approximation.
pub const FEWEST: usize = 8;

/// ln(n!) for 0 ..= n.
fn log_factorials(n: u64) -> Vec<f64> {
    let mut sum = 0.0;
    // Counts are far below 2^52.
    std::iter::once(0.0)
        .chain((1..=n).map(|k| {
            sum += (k as f64).ln();
            sum
        }))
        .collect()
}

/// p of Fisher's exact test for `a` of `n` against `b` of `m`.
#[must_use]
pub fn fisher(a: u64, n: u64, b: u64, m: u64) -> f64 {
    let (a, b) = (a.min(n), b.min(m));
    let logs = log_factorials(n + m);
    let at = |k: u64| logs.get(usize::try_from(k).unwrap_or(usize::MAX)).copied().unwrap_or(0.0);
    let choose = |n: u64, k: u64| at(n) - at(k) - at(n - k);
    let all = a + b;
    let chance = |k: u64| (choose(n, k) + choose(m, all - k) - choose(n + m, all)).exp();
    let own = chance(a);
    let sum: f64 = (all.saturating_sub(m)..=all.min(n)).map(chance).filter(|p| *p <= own * (1.0 + 1e-7)).sum();
    sum.min(1.0)
}

/// p of the test of Mann and Whitney; `None` when there are too few numbers, or all are the same.
#[must_use]
pub fn mann_whitney(one: &[u64], other: &[u64]) -> Option<f64> {
    if one.len() < FEWEST || other.len() < FEWEST {
        return None;
    }
    let mut all: Vec<(u64, bool)> =
        one.iter().map(|value| (*value, true)).chain(other.iter().map(|value| (*value, false))).collect();
    all.sort_unstable();
    let (mut ranks, mut ties, mut at) = (0.0, 0.0, 0);
    while at < all.len() {
        let same = all[at..].iter().take_while(|(value, _)| *value == all[at].0).count();
        // The mean rank of those that are the same.
        let rank = at as f64 + (same as f64 + 1.0) / 2.0;
        ranks += rank * all[at..at + same].iter().filter(|(_, of_one)| *of_one).count() as f64;
        ties += (same as f64).powi(3) - same as f64;
        at += same;
    }
    let (n, m) = (one.len() as f64, other.len() as f64);
    let whole = n + m;
    let u = ranks - n * (n + 1.0) / 2.0;
    let variance = n * m / 12.0 * ((whole + 1.0) - ties / (whole * (whole - 1.0)));
    if variance <= 0.0 {
        return None;
    }
    let z = ((u - n * m / 2.0).abs() - 0.5).max(0.0) / variance.sqrt();
    Some((2.0 * upper_tail(z)).min(1.0))
}

/// The chance that a standard normal value is above `z` (z >= 0), to seven digits (Abramowitz and Stegun 26.2.17).
fn upper_tail(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z);
    let series =
        t * (0.319_381_530 + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * series
}

/// Holm's correction: the p-values as they count when so many were looked at.
#[must_use]
pub fn holm(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|one, other| values[*one].total_cmp(&values[*other]));
    let mut corrected = vec![1.0; values.len()];
    let mut least: f64 = 0.0;
    for (done, at) in order.iter().enumerate() {
        least = least.max((values[*at] * (values.len() - done) as f64).min(1.0));
        corrected[*at] = least;
    }
    corrected
}

/// The middle one; `None` of none.
#[must_use]
pub fn median(values: &[u64]) -> Option<u64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(value: f64, wanted: f64) {
        assert!((value - wanted).abs() < 5e-4, "{value} is not {wanted}");
    }

    #[test]
    fn fisher_gives_what_the_tables_say() {
        // The lady tasting tea: 3 of 4 against 1 of 4 is 34/70.
        near(fisher(3, 4, 1, 4), 34.0 / 70.0);
        near(fisher(4, 4, 0, 4), 2.0 / 70.0);
        near(fisher(50, 50, 50, 50), 1.0);
        // 1 of 10 against 11 of 14, as in the common example.
        near(fisher(1, 10, 11, 14), 0.002_759);
        assert!(fisher(50, 50, 40, 50) < 0.002 && fisher(50, 50, 49, 50) > 0.9);
        near(fisher(0, 0, 3, 5), 1.0);
    }

    #[test]
    fn mann_whitney_sees_a_shift_and_no_more() {
        let low: Vec<u64> = (1..=10).collect();
        let high: Vec<u64> = (11..=20).collect();
        // U = 0, n = m = 10: z = 49.5 / sqrt(175) = 3.7418.
        near(mann_whitney(&low, &high).unwrap(), 0.000_183);
        near(mann_whitney(&low, &low).unwrap(), 1.0);
        assert_eq!(mann_whitney(&low[..5], &high), None);
        assert_eq!(mann_whitney(&[3; 9], &[3; 9]), None);
        assert_eq!(mann_whitney(&low, &high), mann_whitney(&high, &low));
    }

    #[test]
    fn one_of_many_is_less() {
        assert_eq!(holm(&[0.01, 0.04, 0.03]), [0.03, 0.06, 0.06]);
        assert_eq!(holm(&[]), Vec::<f64>::new());
        assert_eq!((median(&[5, 1, 9]), median(&[1, 2, 3, 4]), median(&[])), (Some(5), Some(2), None));
    }
}
