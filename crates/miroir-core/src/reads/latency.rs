//! How long a node usually takes: a running mean, and a running estimate of its slowest answers.

use std::time::Duration;

/// Each answer moves the mean by this part of the distance.
const MEAN_SHARE: u32 = 8;
/// The bound of usual answers rises by a quarter for each answer above it and falls by 1/196 for
/// each below: at rest when about one of fifty is above.
const BOUND_RISE: u32 = 4;
const BOUND_FALL: u32 = 196;
/// The first answer says little of the slowest ones.
const FIRST_BOUND_FACTOR: u32 = 4;

/// What is remembered of a node's answers to one kind of read.
///
/// ```
/// use miroir_core::reads::Latency;
/// use std::time::Duration;
/// let latency = Latency::default().answered(Duration::from_millis(4));
/// assert_eq!(latency.mean(), Some(Duration::from_millis(4)));
/// assert_eq!(Latency::from_bits(latency.to_bits()), latency);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Latency {
    /// Microseconds; 0 before the first answer.
    mean_us: u32,
    bound_us: u32,
}

impl Latency {
    /// After an answer that took this long.
    #[must_use]
    pub fn answered(self, elapsed: Duration) -> Self {
        let sample = micros(elapsed);
        if self.mean_us == 0 {
            return Self {
                mean_us: sample,
                bound_us: sample.saturating_mul(FIRST_BOUND_FACTOR),
            };
        }
        let bound_us = if sample > self.bound_us {
            self.bound_us
                .saturating_add((self.bound_us / BOUND_RISE).max(1))
        } else {
            self.bound_us - self.bound_us / BOUND_FALL
        };
        Self {
            mean_us: towards(self.mean_us, sample),
            bound_us: bound_us.max(1),
        }
    }

    /// After a request that another node answered first: it would have taken at least this long.
    /// What is usual for the node does not change by it, or nobody would wait for a second answer
    /// sooner than for the first.
    #[must_use]
    pub fn overtaken(self, elapsed: Duration) -> Self {
        let sample = micros(elapsed);
        if sample <= self.mean_us {
            return self;
        }
        let mean_us = match self.mean_us {
            0 => sample,
            mean => towards(mean, sample),
        };
        Self { mean_us, ..self }
    }

    /// The running mean; `None` before the first answer.
    #[must_use]
    pub fn mean(self) -> Option<Duration> {
        (self.mean_us > 0).then(|| Duration::from_micros(self.mean_us.into()))
    }

    /// About one answer of fifty takes longer; `None` before the first answer.
    #[must_use]
    pub fn usual_max(self) -> Option<Duration> {
        (self.bound_us > 0).then(|| Duration::from_micros(self.bound_us.into()))
    }

    /// As one word.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        u64::from(self.mean_us) << 32 | u64::from(self.bound_us)
    }

    /// Of a word made by [`Latency::to_bits`].
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        Self {
            mean_us: half(bits >> 32),
            bound_us: half(bits),
        }
    }
}

fn micros(elapsed: Duration) -> u32 {
    u32::try_from(elapsed.as_micros())
        .unwrap_or(u32::MAX)
        .max(1)
}

/// One share of the way, and at least one step, so that it arrives.
fn towards(from: u32, to: u32) -> u32 {
    let step = (from.abs_diff(to) / MEAN_SHARE).max(u32::from(from != to));
    if to > from { from + step } else { from - step }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn about_one_answer_of_fifty_is_above_the_bound() {
        let mut latency = Latency::default();
        let (mut above, mut state) = (0, 1u64);
        for round in 0..60_000u32 {
            state = crate::hash::mix(state.wrapping_add(u64::from(round)));
            let elapsed = Duration::from_micros(1000 + state % 9000);
            if round >= 10_000 && latency.usual_max().is_some_and(|max| elapsed > max) {
                above += 1;
            }
            latency = latency.answered(elapsed);
        }
        assert!((500..2000).contains(&above), "{above} of 50,000");
    }

    #[test]
    fn the_mean_follows_a_node_that_became_slow_and_one_that_became_quick() {
        let mut latency = Latency::default();
        for (millis, answers) in [(4, 10), (400, 40), (4, 60)] {
            for _ in 0..answers {
                latency = latency.answered(Duration::from_millis(millis));
            }
            let mean = latency.mean().unwrap();
            let wanted = Duration::from_millis(millis);
            assert!(mean > wanted / 2 && mean < wanted * 2, "{mean:?} {millis}");
        }
    }

    #[test]
    fn being_overtaken_raises_the_mean_and_not_what_is_usual() {
        let well = Latency::default().answered(Duration::from_millis(4));
        let overtaken = well.overtaken(Duration::from_millis(80));
        assert!(overtaken.mean() > well.mean());
        assert_eq!(overtaken.usual_max(), well.usual_max());
        assert_eq!(well.overtaken(Duration::from_millis(1)), well);
    }

    proptest! {
        #[test]
        fn the_mean_stays_between_what_was_seen(samples in prop::collection::vec(1u64..u64::MAX, 1..50)) {
            let mut latency = Latency::default();
            for sample in &samples {
                latency = latency.answered(Duration::from_micros(*sample));
                prop_assert_eq!(Latency::from_bits(latency.to_bits()), latency);
            }
            let clamp = |us: u64| us.min(u64::from(u32::MAX));
            let mean = u64::try_from(latency.mean().unwrap().as_micros()).unwrap();
            prop_assert!(mean >= clamp(*samples.iter().min().unwrap()));
            prop_assert!(mean <= clamp(*samples.iter().max().unwrap()));
        }
    }
}
