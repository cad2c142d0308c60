//! The number of shards of an index, told by its documents: each has a tag, and lies in the shard that
//! its id's hash leaves as a remainder.

use crate::id::ShardId;
use crate::reserved::{SHARD_COUNT_MAX, decode_shard_tag, shard_tag};

/// The numbers of shards that the documents seen so far allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardCounts {
    /// Ascending.
    allowed: Vec<u32>,
}

impl Default for ShardCounts {
    /// Nothing was seen: any number.
    fn default() -> Self {
        Self {
            allowed: (1..=SHARD_COUNT_MAX).collect(),
        }
    }
}

impl ShardCounts {
    /// Takes in a document with this hash and tag. A text that is no tag allows no number.
    ///
    /// ```
    /// use miroir_core::{hash::document_hash, recover::ShardCounts, reserved::shard_tag};
    /// let mut counts = ShardCounts::default();
    /// for id in ["1", "2", "3", "4", "5", "6", "7", "8"] {
    ///     let shard = miroir_core::hash::shard_of(id, 12.try_into().unwrap());
    ///     counts.note(document_hash(id), &shard_tag(shard, 12));
    /// }
    /// assert!(counts.is_allowed(12) && !counts.is_allowed(13));
    /// ```
    pub fn note(&mut self, document_hash: u64, tag: &str) {
        let Some(ShardId(shard)) = decode_shard_tag(tag) else {
            self.allowed.clear();
            return;
        };
        self.allowed.retain(|count| {
            *count > shard
                && document_hash % u64::from(*count) == u64::from(shard)
                // Of the two widths of tags each belongs to some numbers only.
                && shard_tag(ShardId(shard), *count).len() == tag.len()
        });
    }

    /// Takes in what was seen elsewhere.
    pub fn join(&mut self, other: &Self) {
        let others = &other.allowed;
        self.allowed
            .retain(|count| others.binary_search(count).is_ok());
    }

    /// No document contradicts this number.
    #[must_use]
    pub fn is_allowed(&self, count: u32) -> bool {
        self.allowed.binary_search(&count).is_ok()
    }

    /// The number to go on with: the usual one if it is allowed, else the smallest that is. `None` if
    /// the documents contradict each other.
    ///
    /// Any number that all documents allow is as good as the one it once was: each document lies where
    /// it will be looked for.
    #[must_use]
    pub fn choose(&self, usual: u32) -> Option<u32> {
        if self.is_allowed(usual) {
            return Some(usual);
        }
        self.allowed.first().copied()
    }

    /// Only one number is left.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        self.allowed.len() == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::{document_hash, shard_of};
    use proptest::prelude::*;

    fn seen(ids: &[String], count: u32) -> ShardCounts {
        let mut counts = ShardCounts::default();
        for id in ids {
            let shard = shard_of(id, count.try_into().unwrap());
            counts.note(document_hash(id), &shard_tag(shard, count));
        }
        counts
    }

    #[test]
    fn what_is_no_tag_allows_no_number() {
        let mut counts = ShardCounts::default();
        counts.note(7, "x");
        assert_eq!(counts.choose(32), None);
    }

    proptest! {
        #[test]
        fn the_true_number_is_never_excluded(
            ids in proptest::collection::vec("[a-z0-9]{1,8}", 0..60), count in 1u32..300,
        ) {
            let counts = seen(&ids, count);
            prop_assert!(counts.is_allowed(count));
            prop_assert_eq!(counts.choose(count), Some(count));
        }

        #[test]
        fn whatever_is_chosen_finds_every_document_where_it_lies(
            ids in proptest::collection::vec("[a-z0-9]{1,8}", 0..60),
            count in 1u32..300, usual in 1u32..300,
        ) {
            let chosen = seen(&ids, count).choose(usual).unwrap();
            for id in &ids {
                let lies = shard_of(id, count.try_into().unwrap());
                prop_assert_eq!(shard_of(id, chosen.try_into().unwrap()), lies);
            }
        }

        #[test]
        fn replicas_seen_apart_tell_what_they_tell_together(
            one in proptest::collection::vec("[a-z0-9]{1,8}", 0..30),
            other in proptest::collection::vec("[a-z0-9]{1,8}", 0..30), count in 1u32..300,
        ) {
            let mut joined = seen(&one, count);
            joined.join(&seen(&other, count));
            let both: Vec<String> = one.into_iter().chain(other).collect();
            prop_assert_eq!(joined, seen(&both, count));
        }
    }
}
