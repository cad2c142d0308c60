//! What can be wrong with a node, in the words an operator needs: what is seen, what it costs, why
//! it is so, and what to do. One table, shown alike by the command line, the admin API and the
//! metrics.

use serde::{Deserialize, Serialize};

/// Something that is wrong with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Condition {
    /// No connection, or no answer.
    Unreachable,
    /// It answers, but not as Meilisearch does.
    BrokenAnswers,
    /// It turns Miroir's key away.
    KeyRefused,
    /// It holds another instance's data, or lost its own.
    WrongData,
    /// Its address leads to another node of the cluster.
    AnotherNode,
    /// It has no room for what it is sent, on its disk or in its task queue.
    Full,
    /// It fails what its replicas do.
    FailingBatches,
    /// It accepts writes and ends none, while its replicas do.
    StandingStill,
    /// Its version is not that of the other nodes.
    WrongVersion,
    /// Its clock is far from the proxy's.
    WrongClock,
}

/// A condition as an operator reads it: sentences without names or numbers, which stand beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    /// What is seen.
    pub symptom: &'static str,
    /// What it costs.
    pub impact: &'static str,
    /// Why it is so, as far as a proxy can tell.
    pub cause: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

/// Error codes by which a node says that it, and not the request, is at fault.
const OWN_FAULTS: [&str; 3] = ["no_space_left_on_device", "too_many_open_files", "io_error"];

/// Whether a node that ends a task with this code speaks of itself: the same task is well on a
/// machine that is well, so it is never the client's failure.
#[must_use]
pub fn is_own_fault(code: &str) -> bool {
    OWN_FAULTS.contains(&code)
}

/// Further from the proxy's clock than this a node's clock is called wrong: more than machines that
/// keep time at all ever drift.
pub const SKEW_SECONDS_MAX: i64 = 60;

impl Condition {
    /// All of them, the most urgent first.
    pub const ALL: [Self; 10] = [
        Self::WrongData,
        Self::AnotherNode,
        Self::KeyRefused,
        Self::Unreachable,
        Self::BrokenAnswers,
        Self::Full,
        Self::FailingBatches,
        Self::StandingStill,
        Self::WrongVersion,
        Self::WrongClock,
    ];

    /// Its name in JSON and in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::BrokenAnswers => "brokenAnswers",
            Self::KeyRefused => "keyRefused",
            Self::WrongData => "wrongData",
            Self::AnotherNode => "anotherNode",
            Self::Full => "full",
            Self::FailingBatches => "failingBatches",
            Self::StandingStill => "standingStill",
            Self::WrongVersion => "wrongVersion",
            Self::WrongClock => "wrongClock",
        }
    }

    /// Searches or writes suffer from it, now or when one more node fails.
    #[must_use]
    pub fn is_illness(self) -> bool {
        !matches!(self, Self::WrongVersion | Self::WrongClock)
    }

    /// The condition that a failing task of a node points to, by the code of its error.
    #[must_use]
    pub fn of_failure(code: &str) -> Self {
        match code {
            "no_space_left_on_device" => Self::Full,
            _ => Self::FailingBatches,
        }
    }

    /// In an operator's words.
    #[must_use]
    pub fn explanation(self) -> Explanation {
        match self {
            Self::Unreachable => Explanation {
                symptom: "The node does not answer.",
                impact: "Its shards are read from their other replicas. Writes go on without it \
                         where each of its shards has another replica in sync, and wait where not.",
                cause: "Its process is down or hangs, or the network between is cut.",
                remedy: "Start the node, or mend the way to it. It catches up by itself and is \
                         read again when it is level. If it is gone for good: miroir node lost \
                         NAME.",
            },
            Self::BrokenAnswers => Explanation {
                symptom: "The node answers, but not as a healthy Meilisearch does.",
                impact: "As if it did not answer: its shards are read from other replicas, and \
                         what it was sent last is looked up before it is sent again.",
                cause: "Something else listens on its address, a proxy between them answers in \
                        its stead, or it fails inside.",
                remedy: "Ask its address for /health and /version, and read its log.",
            },
            Self::KeyRefused => Explanation {
                symptom: "The node turns Miroir's key away.",
                impact: "It is neither read nor written until it takes the key.",
                cause: "Its master key was changed, or the key of the configuration expired, was \
                        removed, or allows too little.",
                remedy: "Put a key that may do everything into the node's `key` and restart the \
                         proxy, or give the node its old master key back.",
            },
            Self::WrongData => Explanation {
                symptom: "The node does not hold what it held.",
                impact: "It is neither read nor written. Once each of its shards has another \
                         replica in sync, its shards are copied anew from these by themselves.",
                cause: "It was started on an empty or older data folder, or on another \
                        instance's.",
                remedy: "Nothing, while copies go on. If it holds the last replica of some shard: \
                         stop it, give it its own data folder back, and start it.",
            },
            Self::AnotherNode => Explanation {
                symptom: "The node's address leads to another node of this cluster.",
                impact: "It is neither read nor written, and nothing is copied to it: that would \
                         destroy the other node's data.",
                cause: "Two names lead to one process: a slip in the configuration, in DNS, or in \
                        a container's address.",
                remedy: "Make the address lead to the node that it names. It is looked at again at \
                         every probe.",
            },
            Self::Full => Explanation {
                symptom: "The node takes or carries out no writes for want of room.",
                impact: "Its replicas go on without it where each of its shards has another one in \
                         sync; where not, writes wait. Reads go on. Nothing accepted is dropped.",
                cause: "Its disk is full, or its task queue holds as many tasks as it may.",
                remedy: "Give its disk more room, or delete finished tasks on it (`DELETE \
                         /tasks?statuses=succeeded,failed,canceled` to the node itself). It is \
                         tried again by itself.",
            },
            Self::FailingBatches => Explanation {
                symptom: "The node fails writes that its replicas carry out.",
                impact: "It leaves the set of nodes in sync; where it holds the last replica of \
                         some shard, the write waits instead. It is tried again every few seconds, \
                         and gets nothing later before.",
                cause: "Its disk or memory is faulty, an embedder cannot be reached from it, or \
                        its version differs.",
                remedy: "Read its log for the error shown. If it cannot be mended, stop it and \
                         start it on an empty data folder: its shards are copied anew.",
            },
            Self::StandingStill => Explanation {
                symptom: "The node accepts writes and carries none of them out.",
                impact: "After a while its replicas go on without it where each of its shards has \
                         another one in sync; where not, writes wait. It is not read until it is \
                         level.",
                cause: "Its disk is full, its process hangs inside, or it waits for an embedder \
                        that does not answer.",
                remedy: "Read its log, give its disk room, or restart it. What it has not done, it \
                         does then; it is read again when it is level.",
            },
            Self::WrongVersion => Explanation {
                symptom: "The node's version is older than that of another node.",
                impact: "Searches over both may rank or reject differently; settings only one of \
                         them knows fail on the other.",
                cause: "An upgrade under way, or one that left it out.",
                remedy: "Upgrade it to the version of the others.",
            },
            Self::WrongClock => Explanation {
                symptom: "The node's clock is far from the proxy's.",
                impact: "None on what Miroir does: no decision rests on a node's clock. Dates in \
                         the node's own task list and log are wrong, and its keys may expire at \
                         the wrong time.",
                cause: "Its machine does not keep time (or the proxy's does not).",
                remedy: "Let both machines keep time by NTP.",
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_condition_has_its_own_name_and_all_four_sentences() {
        let names: BTreeSet<&str> = Condition::ALL.iter().map(|c| c.name()).collect();
        assert_eq!(names.len(), Condition::ALL.len());
        for condition in Condition::ALL {
            let Explanation {
                symptom,
                impact,
                cause,
                remedy,
            } = condition.explanation();
            for sentence in [symptom, impact, cause, remedy] {
                assert!(sentence.ends_with('.'), "{condition:?}: {sentence}");
                assert!(!sentence.contains("  "), "{condition:?}: {sentence}");
            }
            let json = serde_json::to_value(condition).expect("it serializes");
            assert_eq!(json, condition.name());
        }
    }

    #[test]
    fn a_full_disk_is_never_the_clients_failure() {
        assert!(is_own_fault("no_space_left_on_device"));
        assert!(!is_own_fault("invalid_document_id"));
        assert_eq!(
            Condition::of_failure("no_space_left_on_device"),
            Condition::Full
        );
        assert_eq!(Condition::of_failure("internal"), Condition::FailingBatches);
    }
}
