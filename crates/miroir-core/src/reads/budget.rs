//! How many requests may be sent a second time: a bucket that each request fills a little and each
//! second one empties by a whole.

/// Tokens of a full bucket: so many second requests may come at once, as when a node falls silent.
const BURST: u64 = 16;
/// Tokens are counted in thousandths.
const WHOLE: u64 = 1000;

/// The bucket.
///
/// ```
/// use miroir_core::reads::HedgeBudget;
/// let mut budget = HedgeBudget::full();
/// while let Some(left) = budget.taken() {
///     budget = left;
/// }
/// let later = (0..20).fold(budget, |budget, _| budget.filled(50));
/// assert!(later.taken().is_some(), "one of twenty at 5 %");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HedgeBudget {
    milli_tokens: u64,
}

impl HedgeBudget {
    /// As at start.
    #[must_use]
    pub fn full() -> Self {
        Self {
            milli_tokens: BURST * WHOLE,
        }
    }

    /// After a first request; `ratio_milli` thousandths of them may be sent again.
    #[must_use]
    pub fn filled(self, ratio_milli: u32) -> Self {
        Self {
            milli_tokens: (self.milli_tokens + u64::from(ratio_milli)).min(BURST * WHOLE),
        }
    }

    /// After a second request; `None` if there may be none now.
    #[must_use]
    pub fn taken(self) -> Option<Self> {
        let milli_tokens = self.milli_tokens.checked_sub(WHOLE)?;
        Some(Self { milli_tokens })
    }

    /// After a token taken was not needed.
    #[must_use]
    pub fn returned(self) -> Self {
        Self {
            milli_tokens: (self.milli_tokens + WHOLE).min(BURST * WHOLE),
        }
    }

    /// As one word.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        self.milli_tokens
    }

    /// Of a word made by [`HedgeBudget::to_bits`].
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        Self {
            milli_tokens: bits.min(BURST * WHOLE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn second_requests_are_a_share_of_the_first_and_a_burst(
            ratio_milli in 0u32..=1000,
            wishes in prop::collection::vec(any::<bool>(), 0..2000),
        ) {
            let mut budget = HedgeBudget::full();
            let (mut firsts, mut seconds) = (0u64, 0u64);
            for wants_second in wishes {
                firsts += 1;
                budget = budget.filled(ratio_milli);
                if wants_second && let Some(left) = budget.taken() {
                    budget = left;
                    seconds += 1;
                }
                prop_assert_eq!(HedgeBudget::from_bits(budget.to_bits()), budget);
                prop_assert!(seconds * WHOLE <= firsts * u64::from(ratio_milli) + BURST * WHOLE);
            }
        }
    }
}
