//! What searches feel of a copy: how slow the slowest of them are while nothing is copied, and how
//! many of those beside a copy are slower than that.
//!
//! The floor to be kept is one of the slowest searches (the 99th percentile), so
//! that is what is counted, rather than a mean that could stay where it is while one search in fifty
//! takes twice as long. Each search earns a part of a slow one (`ALLOWED_MILLI`); a slow one beside
//! work costs one. As long as the account is not overdrawn, the slow ones are no more than that part.

use std::time::Duration;

/// Of a thousand searches, so many may be slow: half of what the 99th percentile passes over, because
/// what a piece of work did is known when it is done, and the last one of a move is not made up for.
const ALLOWED_MILLI: i32 = 5;
/// A search is slow when it takes so many hundredths of what the slowest quiet ones take. The promise is
/// 150; the account is settled after the fact, so it keeps to less.
const SLOW_PERCENT: u64 = 125;
/// What may be saved up: one slow search. More would allow a burst of them at the start of each move.
const CREDIT_MAX: i32 = 1000;
/// What may be owed: two hundred slow ones. A node that was slow for another reason is forgiven the
/// rest.
const DEBT_MAX: i32 = -200_000;
/// With fewer quiet searches nothing is said of the slowest one in a hundred.
const KNOWN_MIN: u32 = 200;
/// At so many what was counted is halved: older searches count ever less.
const COUNTED_MAX: u32 = 4096;

/// Each power of two is cut into so many parts: a step is an eighth at most.
const PARTS: u32 = 8;
/// The first power of two, in microseconds; what is quicker is counted there.
const FIRST_POWER: u32 = 6;
/// Powers of two from 64 µs to 67 s; what is slower is counted last.
const POWERS: u32 = 20;
const BUCKETS: usize = (PARTS * POWERS) as usize;

/// Searches as one node took part in them.
///
/// ```
/// use miroir_core::reads::Strain;
/// use std::time::Duration;
/// let mut strain = Strain::default();
/// for _ in 0..1000 {
///     strain.searched(Duration::from_millis(10), true);
/// }
/// assert!(!strain.is_felt());
/// for _ in 0..10 {
///     strain.searched(Duration::from_millis(30), false);
/// }
/// assert!(strain.is_felt());
/// ```
#[derive(Debug, Clone)]
pub struct Strain {
    /// Quiet searches by the time they took.
    quiet: [u16; BUCKETS],
    total: u32,
    /// In thousandths of a slow search.
    credit: i32,
}

impl Default for Strain {
    fn default() -> Self {
        Self {
            quiet: [0; BUCKETS],
            total: 0,
            credit: CREDIT_MAX,
        }
    }
}

impl Strain {
    /// Takes in a search. A quiet one is one in whose time nothing was copied.
    pub fn searched(&mut self, elapsed: Duration, is_quiet: bool) {
        let cost = if is_quiet {
            self.count(elapsed);
            0
        } else {
            let is_slow = self.slow_from().is_some_and(|limit| elapsed >= limit);
            i32::from(is_slow) * 1000
        };
        self.credit = (self.credit + ALLOWED_MILLI - cost).clamp(DEBT_MAX, CREDIT_MAX);
    }

    /// From this time on a search is slow; `None` while too little is known.
    #[must_use]
    pub fn slow_from(&self) -> Option<Duration> {
        if self.total < KNOWN_MIN {
            return None;
        }
        let mut above = self.total / 100;
        let mut idx = BUCKETS - 1;
        for (at, count) in self.quiet.iter().enumerate().rev() {
            let count = u32::from(*count);
            idx = at;
            if count > above {
                break;
            }
            above -= count;
        }
        Some(Duration::from_micros(end_of(idx) * SLOW_PERCENT / 100))
    }

    /// Too many searches were slow beside a copy.
    #[must_use]
    pub fn is_felt(&self) -> bool {
        self.credit < 0
    }

    fn count(&mut self, elapsed: Duration) {
        if self.total >= COUNTED_MAX {
            self.total = 0;
            for count in &mut self.quiet {
                *count /= 2;
                self.total += u32::from(*count);
            }
        }
        self.quiet[bucket_of(elapsed)] += 1;
        self.total += 1;
    }
}

fn bucket_of(elapsed: Duration) -> usize {
    let us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
    let power = us.max(1).ilog2();
    if power < FIRST_POWER {
        return 0;
    }
    let part = (us >> (power - PARTS.ilog2())) % u64::from(PARTS);
    let idx = u64::from((power - FIRST_POWER) * PARTS) + part;
    usize::try_from(idx).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// Where a bucket ends, in microseconds.
fn end_of(idx: usize) -> u64 {
    let (power, part) = (idx / PARTS as usize, idx % PARTS as usize);
    let first = 1u64 << (FIRST_POWER as usize + power);
    first + (part as u64 + 1) * (first / u64::from(PARTS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn known(times_us: impl Iterator<Item = u64>) -> Strain {
        let mut strain = Strain::default();
        for us in times_us {
            strain.searched(Duration::from_micros(us), true);
        }
        strain
    }

    #[test]
    fn with_too_few_quiet_searches_nothing_is_slow() {
        let mut strain = known((0..u64::from(KNOWN_MIN) - 1).map(|_| 1000));
        assert_eq!(strain.slow_from(), None);
        for _ in 0..100 {
            strain.searched(Duration::from_secs(9), false);
        }
        assert!(!strain.is_felt());
    }

    #[test]
    fn what_is_owed_is_earned_back_by_searches_that_are_not_slow() {
        let mut strain = known((0..1000).map(|_| 1000));
        for _ in 0..3 {
            strain.searched(Duration::from_millis(2), false);
        }
        assert!(strain.is_felt());
        for _ in 0..400 {
            strain.searched(Duration::from_millis(1), true);
        }
        assert!(!strain.is_felt());
    }

    #[test]
    fn slow_searches_beside_no_work_cost_nothing_and_are_what_is_usual_then() {
        let mut strain = known((0..4000).map(|_| 1000));
        let before = strain.slow_from();
        for _ in 0..4000 {
            strain.searched(Duration::from_millis(8), true);
        }
        assert!(!strain.is_felt());
        assert!(strain.slow_from() > before);
        strain.searched(Duration::from_millis(8), false);
        assert!(!strain.is_felt());
    }

    proptest! {
        #[test]
        fn a_bucket_holds_what_it_ends_with_within_an_eighth(us in 64u64..60_000_000) {
            let end = end_of(bucket_of(Duration::from_micros(us)));
            prop_assert!(end > us && end <= us + us / 8 + 1, "{us} {end}");
        }

        #[test]
        fn one_quiet_search_in_a_hundred_takes_longer_than_what_is_slow_at_most(
            times in prop::collection::vec(1u64..5_000_000, 200..2000),
        ) {
            let limit = known(times.iter().copied()).slow_from().unwrap();
            let limit = u64::try_from(limit.as_micros()).unwrap();
            let above = times.iter().filter(|us| **us >= limit).count();
            prop_assert!(above <= times.len() / 100);
        }

        #[test]
        fn no_search_takes_the_account_beyond_its_bounds(
            searches in prop::collection::vec((0u64..u64::MAX / 2, any::<bool>()), 0..3000),
        ) {
            let mut strain = Strain::default();
            for (us, is_quiet) in searches {
                strain.searched(Duration::from_micros(us), is_quiet);
                prop_assert!((DEBT_MAX..=CREDIT_MAX).contains(&strain.credit));
                prop_assert!(strain.total <= COUNTED_MAX);
            }
        }
    }
}
