//! What is noted of nodes that are not well, from what they say and do; for operators. No decision
//! rests on it.

use crate::port::{NodeError, Timestamp};
use miroir_core::condition::{Condition, is_own_fault};
use miroir_core::id::NodeId;
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What a lane says of a task that was canceled on its node, which nobody but Miroir should do.
pub(crate) const CANCELED: &str = "the node canceled the task";
/// Words of a node are shown up to this length, in bytes.
const WORDS_MAX: usize = 1000;

/// The error of a node task speaks of the node (its disk, somebody's hand), not of the request: the
/// task is to be done again, and never the client's failure.
pub(crate) fn is_nodes_own(error: &Value) -> bool {
    let text = |name: &str| error.get(name).and_then(Value::as_str);
    text("code").is_some_and(is_own_fault) || text("message") == Some(CANCELED)
}

/// Something noted of a node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Note {
    /// What the node said, or how it showed.
    pub(crate) words: String,
    /// Since when.
    pub(crate) since: Timestamp,
}

/// The board. One for each engine.
#[derive(Debug, Default)]
pub(crate) struct IllBoard {
    notes: Mutex<BTreeMap<(NodeId, Condition), Note>>,
    /// How many there are: mostly none, and then a call that went well need not take the lock.
    count: AtomicUsize,
}

impl IllBoard {
    /// Notes it, with the newest words and the oldest date.
    pub(crate) fn note(&self, node: &NodeId, condition: Condition, words: &str, now: Timestamp) {
        let mut end = words.len().min(WORDS_MAX);
        while !words.is_char_boundary(end) {
            end -= 1;
        }
        let mut notes = self.notes.lock();
        let note = notes
            .entry((node.clone(), condition))
            .or_insert_with(|| Note {
                words: String::new(),
                since: now,
            });
        words[..end].clone_into(&mut note.words);
        self.count.store(notes.len(), Relaxed);
    }

    /// It is over.
    pub(crate) fn clear(&self, node: &NodeId, conditions: &[Condition]) {
        if self.count.load(Relaxed) == 0 {
            return;
        }
        let mut notes = self.notes.lock();
        for condition in conditions {
            notes.remove(&(node.clone(), *condition));
        }
        self.count.store(notes.len(), Relaxed);
    }

    /// What is noted of a node.
    pub(crate) fn of(&self, node: &NodeId) -> Vec<(Condition, Note)> {
        let notes = self.notes.lock();
        let of_node = notes.iter().filter(|((of, _), _)| of == node);
        of_node
            .map(|((_, condition), note)| (*condition, note.clone()))
            .collect()
    }

    /// Takes in how a call ended.
    pub(crate) fn observe(&self, node: &NodeId, outcome: Result<(), &NodeError>, now: Timestamp) {
        match outcome {
            Err(NodeError::Failed {
                status: 401 | 403,
                cause,
                ..
            }) => self.note(node, Condition::KeyRefused, cause, now),
            Err(error @ NodeError::Failed { .. }) => {
                self.note(node, Condition::BrokenAnswers, &error.to_string(), now);
            }
            // It is not known what it would say.
            Err(NodeError::Unreachable { .. } | NodeError::UnknownOutcome { .. }) => {}
            Ok(()) | Err(NodeError::Refused { .. } | NodeError::Busy { .. }) => {
                self.clear(node, &[Condition::KeyRefused, Condition::BrokenAnswers])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_note_keeps_its_date_and_the_newest_words() {
        let (board, node) = (IllBoard::default(), NodeId::new("a"));
        let then = Timestamp::UNIX_EPOCH;
        board.note(&node, Condition::Full, "first", then);
        let later = then + time::Duration::HOUR;
        board.note(&node, Condition::Full, "second", later);
        let note = Note {
            words: "second".into(),
            since: then,
        };
        assert_eq!(board.of(&node), [(Condition::Full, note)]);
        board.clear(&node, &[Condition::Full]);
        assert!(board.of(&node).is_empty());
    }

    #[test]
    fn long_words_are_cut_between_characters() {
        let (board, node) = (IllBoard::default(), NodeId::new("a"));
        let words = "é".repeat(WORDS_MAX);
        board.note(&node, Condition::Full, &words, Timestamp::UNIX_EPOCH);
        assert_eq!(board.of(&node)[0].1.words.len(), WORDS_MAX);
    }

    #[test]
    fn a_canceled_task_and_a_full_disk_are_the_nodes_own() {
        assert!(is_nodes_own(
            &json!({"message": CANCELED, "code": "internal"})
        ));
        assert!(is_nodes_own(&json!({"code": "no_space_left_on_device"})));
        assert!(!is_nodes_own(&json!({"message": "no", "code": "internal"})));
    }
}
