//! Intervals and sample sizes. Where samples come together, each counts for less than an independent one: for how much is the caller's
//! to say (`worth`).

use super::series::float;

/// The 97.5th percentile of the standard normal distribution.
pub(super) const Z: f64 = 1.959_963_984_540_054;

/// Half of what a 95 % interval leaves out.
const TAIL: f64 = 0.025;

/// A 95 % interval for the share behind `hits` of `n`, each worth so many independent ones: Wilson's score interval (J. Amer.
/// Statist. Assoc. 22, 1927), and the rule of three (`1 - 3/n`, Hanley and Lippman-Hand, JAMA 249, 1983) where all or none hit.
/// `None` where it would hold every share there is.
#[must_use]
pub fn share_interval(hits: u64, n: u64, worth: f64) -> Option<(f64, f64)> {
    if n <= 3 || hits > n {
        return None;
    }
    let count = float(n);
    Some(match hits {
        0 => (0.0, 3.0 / count),
        hits if hits == n => (1.0 - 3.0 / count, 1.0),
        hits => score(float(hits) / count, count * worth),
    })
}

/// Wilson's score interval of a share, for a sample whose size need not be whole.
fn score(share: f64, count: f64) -> (f64, f64) {
    let scale = 1.0 + Z * Z / count;
    let middle = (share + Z * Z / (2.0 * count)) / scale;
    let half = Z / scale * (share * (1.0 - share) / count + Z * Z / (4.0 * count * count)).sqrt();
    ((middle - half).max(0.0), (middle + half).min(1.0))
}

/// A 95 % interval of `new - old`, two shares, each with the size of its sample: Newcombe's hybrid score interval (method
/// 10, Statistics in Medicine 17, 1998).
#[must_use]
pub fn difference_interval((old, old_count): (f64, f64), (new, new_count): (f64, f64)) -> (f64, f64) {
    let ((old_low, old_high), (new_low, new_high)) = (score(old, old_count), score(new, new_count));
    let difference = new - old;
    let below = (new - new_low).hypot(old_high - old);
    let above = (new_high - new).hypot(old - old_low);
    ((difference - below).max(-1.0), (difference + above).min(1.0))
}

/// The 97.5th percentile of Student's t: an expansion in the degrees of freedom (Abramowitz and Stegun 26.7.5), within 1 %
/// from 3 of them on, which is the least that it takes.
#[must_use]
pub fn student(freedom: f64) -> f64 {
    let n = freedom.max(3.0);
    let z = |power: i32| Z.powi(power);
    let first = (z(3) + z(1)) / 4.0;
    let second = (5.0 * z(5) + 16.0 * z(3) + 3.0 * z(1)) / 96.0;
    let third = (3.0 * z(7) + 19.0 * z(5) + 17.0 * z(3) - 15.0 * z(1)) / 384.0;
    Z + first / n + second / (n * n) + third / (n * n * n)
}

/// The ranks, from 1, of the two order statistics of `n` samples between which the `quantile` lies with at least 95 %
/// (binomial order statistics, Hahn and Meeker, Statistical Intervals, chapter 5). `None` where the sample is too small for
/// one of them: 368 samples for the 99th percentile, 3,688 for the 99.9th.
#[must_use]
pub fn quantile_ranks(n: u64, quantile: f64) -> Option<(u64, u64)> {
    if n == 0 || quantile <= 0.0 || quantile >= 1.0 {
        return None;
    }
    let (first, mass) = binomial(n, quantile);
    let total: f64 = mass.iter().sum();
    let mut below = 0.0;
    let mut low = None;
    let mut high = None;
    for (k, weight) in (first..).zip(&mass) {
        // Here `below` is P(B < k): the sample of rank k lies above the quantile with that probability.
        if below / total <= TAIL {
            low = Some(k);
        }
        below += weight;
        if high.is_none() && below / total >= 1.0 - TAIL {
            high = Some(k + 1);
        }
    }
    match (low, high) {
        (Some(low), Some(high)) if low >= 1 && high <= n => Some((low, high)),
        _ => None,
    }
}

/// The same ranks where each sample is worth so many independent ones: those of so large a sample, at the same shares of this one
/// (Woodruff, J. Amer. Statist. Assoc. 47, 1952).
#[must_use]
pub fn quantile_ranks_of(n: u64, quantile: f64, worth: f64) -> Option<(u64, u64)> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a count, not negative")]
    let effective = (float(n) * worth).round() as u64;
    let (low, high) = quantile_ranks(effective, quantile)?;
    let own = rank(quantile, n);
    let scaled = |rank: u64| u128::from(rank) * u128::from(n);
    let low = u64::try_from(scaled(low) / u128::from(effective)).unwrap_or(n);
    let high = u64::try_from(scaled(high).div_ceil(u128::from(effective))).unwrap_or(n);
    // What a small sample rounds must not leave out what was measured.
    Some((low.clamp(1, own), high.clamp(own, n)))
}

/// The binomial probabilities that matter, up to a common factor, and the count that the first of them belongs to.
///
/// Summed outwards from the mode by the ratio of neighbours, so that neither factorials nor logarithms of them are needed
/// and the cost grows with the square root of `n`.
fn binomial(n: u64, p: f64) -> (u64, Vec<f64>) {
    const NEGLIGIBLE: f64 = 1e-18;
    let odds = p / (1.0 - p);
    let mode = rank(p, n).min(n);
    let mut down = Vec::new();
    let (mut k, mut weight) = (mode, 1.0);
    while k > 0 && weight > NEGLIGIBLE {
        weight *= float(k) / (float(n - k + 1) * odds);
        k -= 1;
        down.push(weight);
    }
    let first = k;
    down.reverse();
    let mut mass = down;
    mass.push(1.0);
    let (mut k, mut weight) = (mode, 1.0);
    while k < n && weight > NEGLIGIBLE {
        weight *= float(n - k) * odds / float(k + 1);
        k += 1;
        mass.push(weight);
    }
    (first, mass)
}

/// The nearest rank of a quantile among `n` samples, from 1: the smallest whose share of samples at or below is at least
/// the quantile. 0 without samples.
#[must_use]
pub fn rank(quantile: f64, n: u64) -> u64 {
    // 0.999 * 1000 must be rank 999 whatever the last bit of the product says.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count, not negative")]
    let rank = (quantile * float(n) - 1e-6).ceil().max(0.0) as u64;
    rank.clamp(u64::from(n > 0), n)
}

/// Samples without a miss that are needed before a share of `1 - allowed` is shown at 95 %: `3 / allowed`. `None` where
/// nothing is allowed to miss: no sample shows that.
#[must_use]
pub fn samples_for_share(allowed: f64) -> Option<u64> {
    whole(3.0 / allowed)
}

/// Samples that are needed before a quantile's upper bound exists at 97.5 %: `ln 0.025 / ln q`, about `3.7 / (1 - q)`.
#[must_use]
pub fn samples_for_quantile(quantile: f64) -> Option<u64> {
    whole(3.7 / (1.0 - quantile))
}

fn whole(samples: f64) -> Option<u64> {
    // 3 / (1 - 0.999) is 3000.0000000000027; the excess is the bound's last bit, not a sample.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be finite and positive")]
    (samples.is_finite() && samples > 0.0 && samples < 1e15).then(|| (samples - 1e-6).ceil() as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn near(a: f64, b: f64, within: f64) -> bool {
        (a - b).abs() <= within
    }

    #[test]
    fn wilson_matches_published_figures() {
        // 81 of 263: Newcombe, Stat. Med. 17 (1998), table I: 0.2553 to 0.3662.
        let (low, high) = share_interval(81, 263, 1.0).unwrap();
        assert!(near(low, 0.2553, 5e-5) && near(high, 0.3662, 5e-5), "{low} {high}");
        // 15 of 148: 0.0624 to 0.1605.
        let (low, high) = share_interval(15, 148, 1.0).unwrap();
        assert!(near(low, 0.0624, 5e-5) && near(high, 0.1605, 5e-5), "{low} {high}");
    }

    #[test]
    fn newcombe_matches_published_figures() {
        // 56 of 70 against 48 of 80: Newcombe, Stat. Med. 17 (1998) 873, table II (a), method 10: 0.0524 to 0.3339.
        let (low, high) = difference_interval((48.0 / 80.0, 80.0), (56.0 / 70.0, 70.0));
        assert!(near(low, 0.0524, 5e-5) && near(high, 0.3339, 5e-5), "{low} {high}");
        // 10 of 10 against 0 of 20, (g): 0.6791 to 1.
        let (low, high) = difference_interval((0.0, 20.0), (1.0, 10.0));
        assert!(near(low, 0.6791, 5e-5) && near(high, 1.0, 5e-5), "{low} {high}");
    }

    #[test]
    fn student_matches_the_tables() {
        for (freedom, table) in [(3.0, 3.182), (5.0, 2.571), (10.0, 2.228), (30.0, 2.042), (1e6, 1.960)] {
            assert!((student(freedom) / table - 1.0).abs() < 0.01, "{freedom}: {}", student(freedom));
        }
    }

    #[test]
    fn no_failure_gives_the_rule_of_three() {
        assert_eq!(share_interval(5_000, 5_000, 1.0), Some((1.0 - 3.0 / 5_000.0, 1.0)));
        assert_eq!(share_interval(0, 4, 1.0), Some((0.0, 0.75)));
        assert_eq!([0, 1, 2, 3].map(|n| share_interval(0, n, 1.0)), [None; 4], "from 0 to 1 says nothing");
    }

    #[test]
    fn the_smallest_samples_are_those_of_the_tables() {
        // ln 0.025 / ln q, for the upper bound.
        assert_eq!(quantile_ranks(367, 0.99), None);
        assert_eq!(quantile_ranks(368, 0.99).unwrap().1, 368);
        assert_eq!(quantile_ranks(3_687, 0.999), None);
        assert_eq!(quantile_ranks(3_688, 0.999).unwrap().1, 3_688);
        // The median of ten: the classical ranks 2 and 9.
        assert_eq!(quantile_ranks(10, 0.5), Some((2, 9)));
        assert_eq!(quantile_ranks(5, 0.5), None);
    }

    #[test]
    fn sample_sizes_follow_the_rules_of_thumb() {
        assert_eq!(samples_for_share(1.0 - 0.999), Some(3_000));
        assert_eq!(samples_for_share(1.0 - 0.99), Some(300));
        assert_eq!(samples_for_share(0.0), None);
        assert_eq!(samples_for_quantile(0.99), Some(370));
        assert_eq!(samples_for_quantile(0.999), Some(3_700));
        assert_eq!(samples_for_quantile(0.5), Some(8));
    }

    #[test]
    fn ranks_are_nearest_ranks() {
        assert_eq!(rank(0.999, 1_000), 999);
        assert_eq!(rank(0.99, 100), 99);
        assert_eq!(rank(0.99, 101), 100);
        assert_eq!(rank(0.5, 1), 1);
        assert_eq!(rank(0.5, 0), 0);
    }

    /// Share of simulated data sets whose interval holds the truth.
    fn coverage(seed: u64, mut holds: impl FnMut(&mut ChaCha8Rng) -> bool) -> f64 {
        const SETS: u32 = 5_000;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let held = (0..SETS).filter(|_| holds(&mut rng)).count();
        float(held as u64) / f64::from(SETS)
    }

    #[test]
    fn share_intervals_cover_the_truth_95_times_in_100() {
        for (seed, n, truth) in [(1, 400, 0.5), (2, 1_000, 0.9), (3, 2_000, 0.97), (4, 2_500, 0.99)] {
            let share = coverage(seed, |rng| {
                let hits = (0..n).filter(|_| rng.random::<f64>() < truth).count() as u64;
                let (low, high) = share_interval(hits, n, 1.0).unwrap();
                low <= truth && truth <= high
            });
            assert!((0.94..=0.96).contains(&share), "n {n}, truth {truth}: {share}");
        }
    }

    #[test]
    fn quantile_intervals_cover_the_truth_95_times_in_100() {
        for (seed, n, q) in [(5, 300, 0.5), (6, 1_000, 0.9), (7, 1_500, 0.95), (8, 2_000, 0.99)] {
            let share = coverage(seed, |rng| {
                let mut values: Vec<f64> = (0..n).map(|_| rng.random()).collect();
                values.sort_by(f64::total_cmp);
                let (low, high) = quantile_ranks(n, q).unwrap();
                let at = |rank: u64| values[usize::try_from(rank).unwrap() - 1];
                at(low) <= q && q <= at(high)
            });
            assert!((0.94..=0.96).contains(&share), "n {n}, q {q}: {share}");
        }
    }

    proptest! {
        #[test]
        fn share_intervals_hold_their_estimate_and_shrink(hits in 0u64..2_000, more in 0u64..2_000) {
            let n = hits + more + 1;
            let (low, high) = share_interval(hits, n, 1.0).unwrap();
            let share = float(hits) / float(n);
            prop_assert!(0.0 <= low && low <= share && share <= high && high <= 1.0);
            let (low10, high10) = share_interval(hits * 10, n * 10, 1.0).unwrap();
            prop_assert!(high10 - low10 <= high - low + 1e-12);
        }

        #[test]
        fn quantile_ranks_hold_the_nearest_rank(n in 1u64..200_000, q in 0.01f64..0.999) {
            if let Some((low, high)) = quantile_ranks(n, q) {
                let rank = rank(q, n);
                prop_assert!(1 <= low && low <= rank && rank <= high && high <= n);
            }
        }
    }
}
