//! Machine: a node's failures → whether it is asked while others can answer.
//!
//! ```text
//!          failure × 5                 after a pause             answer
//! Closed ───────────────▶ Open ─────────────────────▶ Trial ───────────▶ Closed
//!  │  ▲                    ▲                            │ failure
//!  │  │ pause over, answer └────── a longer pause ──────┘
//!  ▼  │
//! Backing: it said 503; a pause, longer each time
//! ```
//!
//! The gate only ranks: a shard that no other node can answer for is asked of a node behind a
//! closed gate too. So it can never turn trouble of one node into an error.

use std::time::Duration;

/// Failures in a row that open the gate.
const FAILURES_MAX: u8 = 5;
/// The first pause after the gate has opened; each further one is twice as long.
const OPEN_FIRST: Duration = Duration::from_secs(1);
/// No pause is longer: so often at least a node is tried again.
const OPEN_MAX: Duration = Duration::from_secs(30);
/// The first pause after a node said that it is too busy.
const BUSY_FIRST: Duration = Duration::from_millis(100);
/// Load passes quicker than illness.
const BUSY_MAX: Duration = Duration::from_secs(5);
/// A trial that nobody heard of again is over after this time.
const TRIAL: Duration = Duration::from_secs(1);

/// What is believed of a node's willingness to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// It answers.
    Closed {
        /// Failures since the last answer.
        failures: u8,
    },
    /// It is too busy.
    Backing {
        /// How often in a row it said so.
        times: u8,
        /// Spared until then, in milliseconds.
        until: u64,
    },
    /// It fails.
    Open {
        /// Trials that failed since it last answered.
        times: u8,
        /// Spared until then, in milliseconds.
        until: u64,
    },
    /// One request tries it.
    Trial {
        /// Trials that failed before this one.
        times: u8,
        /// Given up then, in milliseconds.
        until: u64,
    },
}

/// Whether a node is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// As any other.
    Asked,
    /// Only for what no other can answer.
    Spared,
    /// One request may try it: the one that brings [`GateEvent::Tried`] about.
    MayBeTried,
}

/// What became of a request to the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateEvent {
    /// An answer, also a refusal of what was asked.
    Answered,
    /// No answer, one that is none, or silence for far too long.
    Failed,
    /// Its refusal for now: load, not illness.
    Busy,
    /// A request begins to try it.
    Tried,
}

impl Default for Gate {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

impl Gate {
    /// Whether the node is asked at this moment.
    #[must_use]
    pub fn admission(self, now: Duration) -> Admission {
        let now = millis(now);
        match self {
            Self::Closed { .. } => Admission::Asked,
            Self::Backing { until, .. } if now >= until => Admission::Asked,
            Self::Open { until, .. } | Self::Trial { until, .. } if now >= until => {
                Admission::MayBeTried
            }
            Self::Backing { .. } | Self::Open { .. } | Self::Trial { .. } => Admission::Spared,
        }
    }

    /// The gate after an event.
    #[must_use]
    pub fn step(self, now: Duration, event: GateEvent) -> Self {
        let now_ms = millis(now);
        match (self, event) {
            (_, GateEvent::Answered) => Self::default(),
            (Self::Closed { failures }, GateEvent::Failed) => match failures.saturating_add(1) {
                failures if failures >= FAILURES_MAX => Self::Open {
                    times: 0,
                    until: now_ms + pause(OPEN_FIRST, OPEN_MAX, 0),
                },
                failures => Self::Closed { failures },
            },
            (Self::Backing { .. }, GateEvent::Failed) => Self::Closed { failures: 1 },
            (Self::Trial { times, .. }, GateEvent::Failed) => {
                let times = times.saturating_add(1);
                Self::Open {
                    times,
                    until: now_ms + pause(OPEN_FIRST, OPEN_MAX, times),
                }
            }
            (Self::Closed { .. } | Self::Trial { .. }, GateEvent::Busy) => Self::Backing {
                times: 0,
                until: now_ms + pause(BUSY_FIRST, BUSY_MAX, 0),
            },
            // Requests that were under way together are one sign, not many.
            (Self::Backing { times, until }, GateEvent::Busy) if now_ms >= until => {
                let times = times.saturating_add(1);
                Self::Backing {
                    times,
                    until: now_ms + pause(BUSY_FIRST, BUSY_MAX, times),
                }
            }
            (Self::Open { times, until } | Self::Trial { times, until }, GateEvent::Tried)
                if now_ms >= until =>
            {
                Self::Trial {
                    times,
                    until: now_ms + millis(TRIAL),
                }
            }
            (same, GateEvent::Failed | GateEvent::Busy | GateEvent::Tried) => same,
        }
    }

    /// The node failed so often that it is spared.
    #[must_use]
    pub fn is_broken(self) -> bool {
        matches!(self, Self::Open { .. } | Self::Trial { .. })
    }

    /// As operators see it: `closed`, `open`, `half-open` or `busy`.
    #[must_use]
    pub fn name(self, now: Duration) -> &'static str {
        match self {
            Self::Closed { .. } => "closed",
            Self::Backing { until, .. } if millis(now) >= until => "closed",
            Self::Backing { .. } => "busy",
            Self::Open { until, .. } if millis(now) < until => "open",
            Self::Open { .. } | Self::Trial { .. } => "half-open",
        }
    }

    /// As one word.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        let (kind, count, until) = match self {
            Self::Closed { failures } => (0, failures, 0),
            Self::Backing { times, until } => (1, times, until),
            Self::Open { times, until } => (2, times, until),
            Self::Trial { times, until } => (3, times, until),
        };
        kind << 62 | u64::from(count) << 54 | until & UNTIL_MAX
    }

    /// Of a word made by [`Gate::to_bits`].
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        let count = u8::try_from(bits >> 54 & 0xff).unwrap_or(u8::MAX);
        let until = bits & UNTIL_MAX;
        match bits >> 62 {
            0 => Self::Closed { failures: count },
            1 => Self::Backing {
                times: count,
                until,
            },
            2 => Self::Open {
                times: count,
                until,
            },
            _ => Self::Trial {
                times: count,
                until,
            },
        }
    }
}

/// Milliseconds for half a million years.
const UNTIL_MAX: u64 = (1 << 54) - 1;

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis())
        .unwrap_or(UNTIL_MAX)
        .min(UNTIL_MAX)
}

fn pause(first: Duration, max: Duration, times: u8) -> u64 {
    let doubled = first.saturating_mul(1 << u32::from(times).min(16));
    millis(doubled.min(max))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn opened() -> Gate {
        (0..FAILURES_MAX).fold(Gate::default(), |gate, _| {
            gate.step(at(0), GateEvent::Failed)
        })
    }

    #[test]
    fn a_node_that_fails_in_a_row_is_spared_then_tried_by_one_request() {
        let gate = opened();
        assert_eq!(gate.admission(at(999)), Admission::Spared);
        assert_eq!(gate.admission(at(1000)), Admission::MayBeTried);
        let tried = gate.step(at(1000), GateEvent::Tried);
        assert_eq!(tried.admission(at(1001)), Admission::Spared);
        assert_eq!(
            tried.step(at(1001), GateEvent::Tried),
            tried,
            "one is enough"
        );
        let again = tried.step(at(1100), GateEvent::Failed);
        assert_eq!(again.admission(at(3000)), Admission::Spared);
        assert_eq!(again.admission(at(3100)), Admission::MayBeTried);
        let well = tried.step(at(1100), GateEvent::Answered);
        assert_eq!(well, Gate::default());
    }

    #[test]
    fn load_is_not_illness() {
        let mut gate = Gate::default();
        for second in 0..100 {
            gate = gate.step(at(second * 6000), GateEvent::Busy);
            assert!(!gate.is_broken());
            assert_eq!(gate.admission(at(second * 6000 + 5000)), Admission::Asked);
        }
        assert_eq!(gate.step(at(0), GateEvent::Answered), Gate::default());
    }

    #[test]
    fn failures_between_answers_do_not_add_up() {
        let mut gate = Gate::default();
        for _ in 0..100 {
            for _ in 1..FAILURES_MAX {
                gate = gate.step(at(0), GateEvent::Failed);
            }
            gate = gate.step(at(0), GateEvent::Answered);
        }
        assert!(!gate.is_broken());
    }

    fn events() -> impl Strategy<Value = Vec<(u64, GateEvent)>> {
        let event = prop::sample::select(vec![
            GateEvent::Answered,
            GateEvent::Failed,
            GateEvent::Busy,
            GateEvent::Tried,
        ]);
        prop::collection::vec((0u64..40_000, event), 0..200)
    }

    proptest! {
        #[test]
        fn no_node_is_spared_for_longer_than_the_longest_pause(events in events()) {
            let (mut gate, mut now) = (Gate::default(), 0);
            for (later, event) in events {
                now += later;
                gate = gate.step(at(now), event);
                prop_assert_eq!(Gate::from_bits(gate.to_bits()), gate);
                let latest = at(now) + OPEN_MAX;
                prop_assert_ne!(gate.admission(latest), Admission::Spared);
                if event == GateEvent::Answered {
                    prop_assert_eq!(gate.admission(at(now)), Admission::Asked);
                }
            }
        }
    }
}
