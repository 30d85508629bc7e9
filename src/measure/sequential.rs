//! A stop rule with a stated rate of false alarms: "is the service worse than allowed *now*?", asked again at every block.
//!
//! Testing again and again with a fixed level is wrong sooner or later, for certain. An *e-process* may be looked at as often as
//! one likes. Each block of requests gives a score `x`, the share that was bad. A bet with stake `θ` multiplies its capital by
//!
//! ```text
//! L = 1 + θ·(x/p − 1),      0 < θ < 1,
//! ```
//!
//! where `p` is the share of bad requests that is allowed. As long as the expected score of a block, given the past, is at most
//! `p`, `E[L | past] ≤ 1`: nobody gets rich against a service that keeps its promise, whatever the distribution of the scores and
//! however requests depend on each other within a block (Waudby-Smith and Ramdas, *Estimating means of bounded random
//! variables by betting*, JRSS B 86, 2024). The bet is one-sided: a service that is too good makes no alarm.
//!
//! A bet may begin at any block. The *e-detector* of Shin, Ramdas and Rinaldo (*E-detectors*, New England Journal of Statistics in
//! Data Science 2, 2024) adds up one that began at each, which a single number carries forward (Shiryaev and Roberts):
//!
//! ```text
//! M ← L·(M + 1),      alarm when M ≥ h.
//! ```
//!
//! `M − n` can't be expected to grow over `n` blocks of a sound service, so it is expected to raise at most `n/h` alarms, even if
//! it is started over after each: with `h` blocks in 1,000 hours, one in 1,000 hours. A run of length `t` is stopped wrongly with a chance of at
//! most `t` in 1,000 hours. Several stakes share the capital, because nobody knows how bad it will be; their mean is an
//! e-detector too.

use super::series::float;

/// The largest stake: what is left of the capital after a block without a failure is a twentieth.
const BOLDEST: f64 = 0.95;
/// The smallest, as a multiple of what is allowed: made for a service that fails half as often again.
const SHYEST: f64 = 0.5;
/// Ratio between two stakes. A stake that is wrong by half of it costs a tenth of the growth.
const RATIO: f64 = 2.0;

/// Adds up the evidence that a service fails more often than allowed.
#[derive(Debug, Clone)]
pub(super) struct Detector {
    /// The share of bad requests that is allowed.
    allowed: f64,
    /// Evidence at which it alarms.
    threshold: f64,
    /// Stake and capital.
    bets: Vec<(f64, f64)>,
}

impl Detector {
    /// A detector that is expected to alarm at most once in `blocks` blocks in which the expected share of bad requests is
    /// `allowed` or less. `allowed` lies between 0 and 1, both excluded.
    pub(super) fn new(allowed: f64, blocks: f64) -> Self {
        let mut bets = Vec::new();
        let mut stake = BOLDEST;
        while stake > SHYEST * allowed {
            bets.push((stake, 0.0));
            stake /= RATIO;
        }
        Self { allowed, threshold: blocks.max(1.0), bets }
    }

    /// Takes in the share of a block that was bad; whether that is enough for an alarm.
    pub(super) fn observe(&mut self, bad: f64) -> bool {
        let odds = bad / self.allowed - 1.0;
        for (stake, capital) in &mut self.bets {
            *capital = (1.0 + *stake * odds) * (*capital + 1.0);
        }
        self.evidence() >= self.threshold
    }

    /// The same as `blocks` blocks without a bad request, which never alarm: the sum of a geometric series.
    #[cfg(test)]
    pub(super) fn skip(&mut self, blocks: u32) {
        for (stake, capital) in &mut self.bets {
            let keep = 1.0 - *stake;
            let kept = keep.powf(f64::from(blocks));
            *capital = kept * *capital + keep * (1.0 - kept) / *stake;
        }
    }

    /// The mean of what the bets have come to.
    pub(super) fn evidence(&self) -> f64 {
        self.bets.iter().map(|(_, capital)| capital).sum::<f64>() / float(self.bets.len() as u64)
    }

    /// Forgets everything.
    #[cfg(test)]
    pub(super) fn restart(&mut self) {
        for (_, capital) in &mut self.bets {
            *capital = 0.0;
        }
    }
}

#[cfg(test)]
#[path = "sequential_tests.rs"]
mod tests;
