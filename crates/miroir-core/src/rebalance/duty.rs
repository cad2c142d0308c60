//! Machine: how much of its time a copy works while others search.
//!
//! ```text
//!          work begins                  it is taken in, and searches feel it
//!  Idle ───────────────▶ Working ──────────────────────────────────────────▶ Resting
//!                          ▲  │ nobody searches, or nobody feels it: goes on     │
//!                          └──┴───────────────◀─────────────────────────────────┘
//!                                 rested in proportion, or felt no more
//! ```
//!
//! A copy loads the nodes it reads from and those that index what it brings. While nobody searches
//! there it goes as fast as it can. While somebody does, one piece is on its way at a time, so that what
//! it did is seen before more is done; and when searches feel it, it rests for a multiple of the time
//! that it worked, so that it works for a `share` of its time at least, whatever searches feel: every
//! move ends.

use std::time::Duration;

/// The shares that may be configured, in hundredths. At 100 nothing rests.
pub const SHARES: std::ops::RangeInclusive<u32> = 1..=100;

/// While it is not known yet what searches take when nothing is copied, half of the time is left to
/// find that out.
const SHARE_UNKNOWN: u32 = 50;
/// Work counts for so long at most: a piece that waited for other things than work is not paid for by
/// minutes of rest.
const WORK_MAX: Duration = Duration::from_secs(2);
/// What was sent counts as taken in after this time: where writes never cease, a node is never level.
const PATIENCE: Duration = Duration::from_secs(1);
/// While it waits it looks again after this.
const LOOK: Duration = Duration::from_millis(50);

/// How those who search at the nodes of a copy fare; the worst of them counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mood {
    /// Nobody searches.
    Alone,
    /// Searches are as quick as they were, or slow too seldom to matter.
    Content,
    /// They search, and it is not known what is usual.
    Unknown,
    /// Too many searches are slow.
    Strained,
}

/// What a copy does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Duty {
    /// Nothing.
    #[default]
    Idle,
    /// It works, since then.
    Working {
        /// When it began.
        since: Duration,
    },
    /// It rests.
    Resting {
        /// When it began to.
        since: Duration,
        /// How long it had worked.
        worked: Duration,
    },
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The next piece.
    Work,
    /// Wait for so long, then ask again.
    Wait(Duration),
}

impl Duty {
    /// Asked before each piece of work. `is_level`: the nodes have taken in what they were sent.
    ///
    /// ```
    /// use miroir_core::rebalance::duty::{Duty, Mood, Next};
    /// use std::time::Duration;
    /// let (working, next) = Duty::default().step(Duration::ZERO, Mood::Strained, true, 20);
    /// assert_eq!(next, Next::Work);
    /// let later = Duration::from_secs(1);
    /// let (resting, next) = working.step(later, Mood::Strained, true, 20);
    /// assert!(matches!(next, Next::Wait(_)));
    /// // One second of work in five.
    /// let (_, next) = resting.step(later * 5, Mood::Strained, true, 20);
    /// assert_eq!(next, Next::Work);
    /// ```
    #[must_use]
    pub fn step(self, now: Duration, mood: Mood, is_level: bool, share: u32) -> (Self, Next) {
        let begun = (Self::Working { since: now }, Next::Work);
        match self {
            Self::Idle => begun,
            Self::Working { .. } if mood == Mood::Alone || share >= *SHARES.end() => {
                (self, Next::Work)
            }
            Self::Working { since } => {
                let worked = now.saturating_sub(since);
                if !is_level && worked < PATIENCE {
                    return (self, Next::Wait(LOOK.min(PATIENCE.saturating_sub(worked))));
                }
                let worked = worked.min(WORK_MAX);
                let due = rest_after(worked, mood, share);
                if due.is_zero() {
                    return begun;
                }
                (
                    Self::Resting { since: now, worked },
                    Next::Wait(due.min(LOOK)),
                )
            }
            Self::Resting { since, worked } => {
                let due = rest_after(worked, mood, share);
                let left = due.saturating_sub(now.saturating_sub(since));
                if left.is_zero() {
                    return begun;
                }
                (self, Next::Wait(left.min(LOOK)))
            }
        }
    }
}

/// The rest that work asks for.
fn rest_after(worked: Duration, mood: Mood, share: u32) -> Duration {
    let share = share.clamp(*SHARES.start(), *SHARES.end());
    let share = match mood {
        Mood::Alone | Mood::Content => return Duration::ZERO,
        Mood::Unknown => share.max(SHARE_UNKNOWN),
        Mood::Strained => share,
    };
    worked * (SHARES.end() - share) / share
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn moods() -> impl Strategy<Value = Mood> {
        prop::sample::select(vec![
            Mood::Alone,
            Mood::Content,
            Mood::Unknown,
            Mood::Strained,
        ])
    }

    /// Pieces that take the nodes so long each, and what searches feel; returns when the last was
    /// begun, and how many ended before.
    fn run(pieces: &[u64], share: u32, mut mood: impl FnMut(Duration) -> Mood) -> Duration {
        let mut duty = Duty::default();
        let (mut now, mut level_at) = (Duration::ZERO, Duration::ZERO);
        for millis in pieces {
            loop {
                let (next, todo) = duty.step(now, mood(now), now >= level_at, share);
                duty = next;
                match todo {
                    Next::Work => break,
                    Next::Wait(wait) => {
                        assert!(!wait.is_zero(), "it would look again without end");
                        now += wait;
                    }
                }
            }
            level_at = level_at.max(now) + Duration::from_millis(*millis);
        }
        now
    }

    #[test]
    fn a_copy_that_nobody_searches_beside_never_waits() {
        assert_eq!(run(&[700; 50], 10, |_| Mood::Alone), Duration::ZERO);
    }

    #[test]
    fn beside_contented_searches_one_piece_follows_the_other() {
        let took = run(&[700; 11], 10, |_| Mood::Content);
        assert!(
            took >= Duration::from_secs(7) && took < Duration::from_secs(8),
            "{took:?}"
        );
    }

    #[test]
    fn beside_strained_searches_it_works_for_its_share() {
        let took = run(&[500; 11], 10, |_| Mood::Strained);
        assert!(
            took >= Duration::from_secs(49) && took < Duration::from_secs(56),
            "{took:?}"
        );
    }

    #[test]
    fn a_rest_ends_when_searches_feel_it_no_more() {
        let resting = Duty::Resting {
            since: Duration::ZERO,
            worked: Duration::from_secs(1),
        };
        let now = Duration::from_millis(10);
        assert_eq!(resting.step(now, Mood::Content, true, 1).1, Next::Work);
        assert_ne!(resting.step(now, Mood::Strained, true, 1).1, Next::Work);
    }

    proptest! {
        #[test]
        fn whatever_searches_feel_every_copy_ends(
            pieces in prop::collection::vec(0u64..5_000, 1..20),
            felt in prop::collection::vec(moods(), 1..50),
            share in SHARES,
        ) {
            let mut turn = 0;
            let took = run(&pieces, share, |_| {
                turn += 1;
                felt[turn % felt.len()]
            });
            let work: Duration = pieces.iter().map(|millis| Duration::from_millis(*millis)).sum();
            let looks = LOOK * u32::try_from(pieces.len()).unwrap();
            let most = (work.min(WORK_MAX * 20) + looks) * 100 / share + work + looks;
            prop_assert!(took <= most, "{took:?} of {most:?}");
        }

        #[test]
        fn a_worse_mood_never_asks_for_less_rest(
            worked in 0u64..10_000, share in SHARES, one in moods(), other in moods(),
        ) {
            let worked = Duration::from_millis(worked);
            let (better, worse) = (one.min(other), one.max(other));
            prop_assert!(rest_after(worked, better, share) <= rest_after(worked, worse, share));
            prop_assert_eq!(rest_after(worked, worse, 100), Duration::ZERO);
        }
    }
}
