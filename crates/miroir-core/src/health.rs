//! Machine: what was seen of a node → what we believe of it.
//!
//! ```text
//!            success                    failure × suspect_after
//! Unknown ───────────▶ Up ─────────────────────────────▶ Suspect
//!    │                 ▲ ▲        success × recover_after │ │ failure × down_after
//!    │ failure         │ └────────────────────────────────┘ ▼
//!    └──────────────▶ Suspect      success × recover_after Down
//!                      ▲                                    │
//!                      └────────────────────────────────────┘ first success
//! ```
//!
//! Health says whether asking a node makes sense; it never says what the node holds. A node that
//! answers 503 or 429 is loaded, not dead: that is no failure here.

use serde::{Deserialize, Serialize};

/// What we believe of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NodeHealth {
    /// Nothing seen yet.
    #[default]
    Unknown,
    /// Answers.
    Up,
    /// Failed lately; others are asked first.
    Suspect,
    /// Does not answer; only probes reach it.
    Down,
}

/// One thing seen of a node, by a probe or by a call made anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observation {
    /// It answered, whatever the status, as a live node does.
    Answered,
    /// It answered that it has too much to do.
    Overloaded,
    /// No connection, a timeout, or an answer that is not Meilisearch's.
    Failed,
}

/// How many observations in a row change our mind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthThresholds {
    /// Failures in a row after which an `Up` node is `Suspect`.
    pub suspect_after: u32,
    /// Failures in a row, all told, after which a node is `Down`.
    pub down_after: u32,
    /// Successes in a row after which a node is `Up` again.
    pub recover_after: u32,
}

impl Default for HealthThresholds {
    /// One failed call already sends the next search elsewhere (a healthy replica costs nothing to
    /// prefer); three make it down; two answers make it well, so that a flapping node stays out.
    fn default() -> Self {
        Self {
            suspect_after: 1,
            down_after: 3,
            recover_after: 2,
        }
    }
}

/// The health of one node and the run of equal observations that led there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HealthMachine {
    health: NodeHealth,
    failures_in_a_row: u32,
    successes_in_a_row: u32,
}

impl HealthMachine {
    /// What we believe now.
    #[must_use]
    pub fn health(&self) -> NodeHealth {
        self.health
    }

    /// Whether searches and writes should be sent to the node at all.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        self.health != NodeHealth::Down
    }

    /// Takes one observation in; returns the new health if it changed.
    pub fn step(
        &mut self,
        observation: Observation,
        thresholds: &HealthThresholds,
    ) -> Option<NodeHealth> {
        let health = match observation {
            Observation::Answered | Observation::Overloaded => self.succeeded(thresholds),
            Observation::Failed => self.failed(thresholds),
        };
        let is_change = health != self.health;
        self.health = health;
        is_change.then_some(health)
    }

    fn succeeded(&mut self, thresholds: &HealthThresholds) -> NodeHealth {
        self.failures_in_a_row = 0;
        self.successes_in_a_row = self.successes_in_a_row.saturating_add(1);
        match self.health {
            NodeHealth::Unknown | NodeHealth::Up => NodeHealth::Up,
            _ if self.successes_in_a_row >= thresholds.recover_after => NodeHealth::Up,
            NodeHealth::Suspect | NodeHealth::Down => NodeHealth::Suspect,
        }
    }

    fn failed(&mut self, thresholds: &HealthThresholds) -> NodeHealth {
        self.successes_in_a_row = 0;
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        if self.failures_in_a_row >= thresholds.down_after {
            return NodeHealth::Down;
        }
        match self.health {
            NodeHealth::Up if self.failures_in_a_row < thresholds.suspect_after => NodeHealth::Up,
            NodeHealth::Down => NodeHealth::Down,
            NodeHealth::Unknown | NodeHealth::Up | NodeHealth::Suspect => NodeHealth::Suspect,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::NodeHealth::{Down, Suspect, Unknown, Up};
    use super::Observation::{Answered, Failed, Overloaded};
    use super::*;
    use proptest::prelude::*;

    fn check(seen: &[(Observation, NodeHealth)], thresholds: HealthThresholds) {
        let mut machine = HealthMachine::default();
        assert_eq!(machine.health(), Unknown);
        for (observation, health) in seen {
            let before = machine.health();
            let change = machine.step(*observation, &thresholds);
            assert_eq!(machine.health(), *health);
            assert_eq!(change, (before != *health).then_some(*health));
        }
    }

    #[test]
    fn the_machine_walks_its_drawing() {
        let thresholds = HealthThresholds::default();
        check(
            &[
                (Answered, Up),
                (Failed, Suspect),
                (Failed, Suspect),
                (Failed, Down),
            ],
            thresholds,
        );
        check(
            &[(Failed, Suspect), (Answered, Suspect), (Answered, Up)],
            thresholds,
        );
        let down = [
            (Failed, Suspect),
            (Failed, Suspect),
            (Failed, Down),
            (Failed, Down),
        ];
        check(
            &[&down[..], &[(Answered, Suspect), (Answered, Up)]].concat(),
            thresholds,
        );
        check(
            &[&down[..], &[(Answered, Suspect), (Failed, Suspect)]].concat(),
            thresholds,
        );
    }

    #[test]
    fn an_overloaded_node_is_up() {
        check(
            &[(Overloaded, Up), (Overloaded, Up)],
            HealthThresholds::default(),
        );
    }

    #[test]
    fn a_patient_threshold_forgives_single_failures() {
        let thresholds = HealthThresholds {
            suspect_after: 2,
            ..HealthThresholds::default()
        };
        check(
            &[(Answered, Up), (Failed, Up), (Answered, Up), (Failed, Up)],
            thresholds,
        );
        check(
            &[
                (Answered, Up),
                (Failed, Up),
                (Failed, Suspect),
                (Failed, Down),
            ],
            thresholds,
        );
    }

    proptest! {
        #[test]
        fn enough_answers_heal_and_enough_failures_kill(
            seen in prop::collection::vec(prop::sample::select(vec![Answered, Overloaded, Failed]), 0..40)
        ) {
            let thresholds = HealthThresholds::default();
            let mut machine = HealthMachine::default();
            for observation in seen {
                machine.step(observation, &thresholds);
            }
            let (mut healed, mut killed) = (machine, machine);
            for _ in 0..thresholds.recover_after {
                healed.step(Answered, &thresholds);
            }
            for _ in 0..thresholds.down_after {
                killed.step(Failed, &thresholds);
            }
            prop_assert_eq!(healed.health(), Up);
            prop_assert_eq!(killed.health(), Down);
        }
    }
}
