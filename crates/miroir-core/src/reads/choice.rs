//! Which of several nodes is asked: the cost of each, in coarse steps, so that small changes of
//! load do not move the pages of a query to another replica.

use crate::hash::{mix, node_key};
use std::time::Duration;

/// Shorter times are equal: below, the network and the scheduler decide, not the node.
const FLOOR_US: u64 = 5_000;
/// So many requests under way double what one more is expected to take.
const IN_FLIGHT_DOUBLING: u64 = 16;
/// Half as many again for each tenth of the requests that fail.
const ERROR_TENTH_PERCENT: u64 = 50;
/// The cost from which a node is spared: about eight times slower than the best.
pub const SPARED_COST: u32 = 3;
/// Steps of cost beyond this are all the same.
const COST_MAX: u32 = 10;
/// One request of so many tries out a node that would not have been asked.
const TRY_OUT_ONE_OF: u64 = 64;
/// A node that was not asked for this long is tried out by the next request.
const TRY_OUT_AFTER: Duration = Duration::from_secs(10);

/// What a node has to do, and how it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NodeLoad {
    /// How long it takes in the mean; `None` if unknown.
    pub mean: Option<Duration>,
    /// Requests under way.
    pub in_flight: u32,
    /// The share of its last requests that failed, in thousandths.
    pub error_milli: u32,
}

/// How long one more request is expected to take, in microseconds. An unknown node counts as quick:
/// it becomes known by being asked.
#[must_use]
pub fn expected_us(load: &NodeLoad) -> u64 {
    let mean = load.mean.map_or(FLOOR_US, |mean| {
        u64::try_from(mean.as_micros()).unwrap_or(u64::MAX)
    });
    let queue = u64::from(load.in_flight) * 100 / IN_FLIGHT_DOUBLING;
    let errors = u64::from(load.error_milli.min(1000)) / 100 * ERROR_TENTH_PERCENT;
    let scaled = |value: u64, percent: u64| value.saturating_mul(percent) / 100;
    scaled(scaled(mean.max(FLOOR_US), 100 + queue), 100 + errors)
}

/// The cost of a node beside the best: 0 up to twice as slow, 1 up to four times, and so on.
#[must_use]
pub fn load_cost(expected_us: u64, best_us: u64) -> u32 {
    let ratio = expected_us / best_us.max(1);
    ratio.checked_ilog2().unwrap_or(0).min(COST_MAX)
}

/// Whether a node that is dearer than others is asked once, to see whether it still is.
#[must_use]
pub fn is_tried_out(unasked_for: Duration, random: u64) -> bool {
    unasked_for >= TRY_OUT_AFTER || random.is_multiple_of(TRY_OUT_ONE_OF)
}

/// What a node costs more that returned a while ago: over the time `ramp` it takes part in ever more
/// queries, each of which keeps its choice for all its pages.
#[must_use]
pub fn slow_start_cost(node: &str, affinity: u64, since_return: Duration, ramp: Duration) -> u32 {
    if since_return >= ramp {
        return 0;
    }
    // Another order than the one by which a cover chooses among equals.
    let place = mix(affinity.rotate_left(17) ^ node_key(node)) >> 32;
    let share = since_return.as_micros().saturating_mul(1 << 32) / ramp.as_micros().max(1);
    if u128::from(place) < share {
        0
    } else {
        SPARED_COST
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn load(mean_ms: u64, in_flight: u32, error_milli: u32) -> NodeLoad {
        NodeLoad {
            mean: Some(Duration::from_millis(mean_ms)),
            in_flight,
            error_milli,
        }
    }

    fn cost(node: NodeLoad, best: NodeLoad) -> u32 {
        load_cost(expected_us(&node), expected_us(&best))
    }

    #[test]
    fn small_differences_cost_nothing_and_large_ones_more_each() {
        assert_eq!(cost(load(4, 3, 0), load(1, 0, 0)), 0);
        assert_eq!(cost(load(15, 0, 0), load(10, 0, 0)), 0);
        assert_eq!(cost(load(25, 0, 0), load(10, 0, 0)), 1);
        assert!(cost(load(200, 0, 0), load(10, 0, 0)) >= SPARED_COST);
        assert!(
            cost(load(10, 32, 0), load(10, 0, 0)) >= 1,
            "what waits counts"
        );
        assert!(
            cost(load(10, 0, 500), load(10, 0, 0)) >= 1,
            "what fails counts"
        );
    }

    #[test]
    fn a_node_that_returned_takes_part_in_ever_more_queries() {
        let ramp = Duration::from_secs(10);
        let share = |seconds: u64| {
            let at = Duration::from_secs(seconds);
            let takes_part = |query: &u64| slow_start_cost("a", mix(*query), at, ramp) == 0;
            (0..1000u64).filter(takes_part).count()
        };
        assert_eq!(share(0), 0);
        assert!((150..250).contains(&share(2)), "{}", share(2));
        assert!((750..850).contains(&share(8)), "{}", share(8));
        assert_eq!(share(10), 1000);
    }

    proptest! {
        #[test]
        fn a_slower_busier_or_failing_node_is_never_cheaper(
            mean in 0u64..100_000, more_mean in 0u64..100_000,
            queue in 0u32..1000, more_queue in 0u32..1000,
            errors in 0u32..1000, more_errors in 0u32..1000,
        ) {
            let better = expected_us(&load(mean, queue, errors));
            let worse = load(mean + more_mean, queue + more_queue, errors + more_errors);
            prop_assert!(expected_us(&worse) >= better);
            prop_assert_eq!(load_cost(better, better), 0);
        }

        #[test]
        fn who_takes_part_in_a_query_goes_on_taking_part(
            affinity: u64, earlier in 0u64..20_000, later in 0u64..20_000,
        ) {
            let ramp = Duration::from_secs(10);
            let at = |ms| slow_start_cost("a", affinity, Duration::from_millis(ms), ramp);
            prop_assert!(at(earlier + later) <= at(earlier));
        }
    }
}
