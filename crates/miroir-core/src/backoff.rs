//! The delay before attempt n: it doubles up to a cap, and a random part keeps callers apart.
//!
//! Randomness is an argument, so that a test or a simulation decides it.

use std::time::Duration;

/// How long to wait between attempts; checked when built.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    jitter_ratio: f64,
}

/// The parameters of a [`Backoff`] make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BackoffError {
    /// The first delay is zero: a caller would spin.
    #[error("the first delay must not be zero")]
    ZeroFirst,
    /// The longest delay is shorter than the first.
    #[error("the longest delay is shorter than the first")]
    MaxBelowFirst,
    /// The jitter is not a number from 0 to 1.
    #[error("the jitter must be a ratio from 0 to 1")]
    JitterOutOfRange,
}

impl Backoff {
    /// Delays of `first`, `2 × first`, … up to `max`, each shortened by up to `jitter_ratio` of it.
    ///
    /// # Errors
    /// [`BackoffError`] for a zero `first`, a `max` below it, or a `jitter_ratio` outside 0..=1.
    pub fn new(first: Duration, max: Duration, jitter_ratio: f64) -> Result<Self, BackoffError> {
        if first.is_zero() {
            return Err(BackoffError::ZeroFirst);
        }
        if max < first {
            return Err(BackoffError::MaxBelowFirst);
        }
        if !(0.0..=1.0).contains(&jitter_ratio) {
            return Err(BackoffError::JitterOutOfRange);
        }
        Ok(Self {
            first,
            max,
            jitter_ratio,
        })
    }

    /// The delay before attempt `attempt`; attempt 0 is the first try and does not wait.
    ///
    /// `random` is a fresh uniform number from 0 to 1 (others are clamped). The jitter only
    /// shortens, so the cap holds.
    ///
    /// ```
    /// use miroir_core::backoff::Backoff;
    /// use std::time::Duration;
    /// let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1), 0.5)?;
    /// assert_eq!(backoff.delay(0, 0.0), Duration::ZERO);
    /// assert_eq!(backoff.delay(2, 0.0), Duration::from_millis(200));
    /// assert_eq!(backoff.delay(2, 1.0), Duration::from_millis(100));
    /// assert_eq!(backoff.delay(99, 0.0), Duration::from_secs(1));
    /// # Ok::<(), miroir_core::backoff::BackoffError>(())
    /// ```
    #[must_use]
    pub fn delay(&self, attempt: u32, random: f64) -> Duration {
        let Some(doublings) = attempt.checked_sub(1) else {
            return Duration::ZERO;
        };
        let factor = 2_u32.checked_pow(doublings).unwrap_or(u32::MAX);
        let delay = self.first.saturating_mul(factor).min(self.max);
        let random = if random.is_nan() {
            0.0
        } else {
            random.clamp(0.0, 1.0)
        };
        delay.mul_f64(1.0 - self.jitter_ratio * random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn senseless_parameters_are_refused() {
        assert_eq!(
            Backoff::new(Duration::ZERO, MS, 0.0),
            Err(BackoffError::ZeroFirst)
        );
        assert_eq!(
            Backoff::new(2 * MS, MS, 0.0),
            Err(BackoffError::MaxBelowFirst)
        );
        for jitter_ratio in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            let refused = Backoff::new(MS, MS, jitter_ratio);
            assert_eq!(refused, Err(BackoffError::JitterOutOfRange));
        }
    }

    proptest! {
        #[test]
        fn delays_stay_within_their_bounds(attempt in 1_u32.., random in any::<f64>()) {
            let backoff = Backoff::new(3 * MS, 1000 * MS, 0.25).unwrap();
            let delay = backoff.delay(attempt, random);
            prop_assert!(delay <= 1000 * MS);
            prop_assert!(delay >= (3 * MS).mul_f64(0.75));
        }

        #[test]
        fn delays_never_shrink_from_one_attempt_to_the_next(attempt in 0_u32..1000) {
            let backoff = Backoff::new(3 * MS, 1000 * MS, 0.0).unwrap();
            prop_assert!(backoff.delay(attempt, 0.0) <= backoff.delay(attempt + 1, 0.0));
        }
    }
}
