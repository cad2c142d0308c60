//! The one stable hash, over our own bytes.
//!
//! Where a document lives and which nodes hold a shard follow from these functions alone, so their
//! results are stored data: the vectors pinned below change only with a migration.
//! XXH3-64 is a published function with a fixed definition; no library's `Hash` is involved.

use crate::id::{DocumentSeq, ShardId};
use std::num::NonZeroU32;
use xxhash_rust::xxh3::xxh3_64;

/// The hash of a document id, taken over its text: number `1` and string `"1"` are one document.
///
/// ```
/// use miroir_core::hash::document_hash;
/// assert_eq!(document_hash("1"), document_hash(&1.to_string()));
/// ```
#[must_use]
pub fn document_hash(id: &str) -> u64 {
    xxh3_64(id.as_bytes())
}

/// The shard that holds the document `id` of an index cut into `shard_count` shards.
#[must_use]
pub fn shard_of(id: &str, shard_count: NonZeroU32) -> ShardId {
    shard_of_hash(document_hash(id), shard_count)
}

/// [`shard_of`] for an id whose hash is known.
#[must_use]
pub fn shard_of_hash(document_hash: u64, shard_count: NonZeroU32) -> ShardId {
    let remainder = document_hash % u64::from(shard_count.get());
    ShardId(u32::try_from(remainder).expect("a remainder is below its 32-bit divisor"))
}

/// A number that ranks equal documents where the exact insertion order is not kept: the low 40
/// bits of the id's hash, the same on every replica.
#[must_use]
pub fn seq_of_hash(document_hash: u64) -> DocumentSeq {
    DocumentSeq(document_hash & crate::reserved::SEQ_MAX)
}

/// The rank of `node` for one shard of `index`: a uniform 64-bit number.
///
/// Equal to [`pair_hash`] of [`shard_key`] and [`node_key`], which a loop computes once each.
#[must_use]
pub fn placement_hash(index: &str, shard: ShardId, node: &str) -> u64 {
    pair_hash(shard_key(index, shard), node_key(node))
}

/// The part of [`placement_hash`] that one shard brings.
///
/// The bytes are the shard as 4 little-endian bytes, then the index's name: the fixed width in
/// front makes them unambiguous.
#[must_use]
pub fn shard_key(index: &str, shard: ShardId) -> u64 {
    let mut bytes = Vec::with_capacity(4 + index.len());
    bytes.extend_from_slice(&shard.0.to_le_bytes());
    bytes.extend_from_slice(index.as_bytes());
    xxh3_64(&bytes)
}

/// The part of [`placement_hash`] that one node brings.
#[must_use]
pub fn node_key(node: &str) -> u64 {
    xxh3_64(node.as_bytes())
}

/// Joins a shard's and a node's key: both are uniform already, so one cheap finaliser suffices
/// (the 64-bit one of SplitMix64), and a million pairs cost milliseconds.
#[must_use]
#[inline]
pub fn pair_hash(shard_key: u64, node_key: u64) -> u64 {
    mix(shard_key ^ node_key.rotate_left(32))
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection that scatters all bits.
#[must_use]
#[inline]
pub(crate) fn mix(mut x: u64) -> u64 {
    x ^= x >> 30;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 27;
    x = x.wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(n: u32) -> NonZeroU32 {
        NonZeroU32::new(n).unwrap()
    }

    // All vectors of this module were computed a second time by another implementation of XXH3.

    #[test]
    fn document_hashes_are_pinned() {
        let pinned = [
            ("", 0x2d06_8005_38d3_94c2),
            ("0", 0x1982_e3a7_bb24_1055),
            ("1", 0x65cd_2502_8f98_f158),
            ("movie-42", 0x64fb_15c9_4d63_2fa2),
            ("18446744073709551615", 0x9131_ab72_96c2_3377),
        ];
        for (id, hash) in pinned {
            assert_eq!(
                document_hash(id),
                hash,
                "{id:?} is now {:#x}",
                document_hash(id)
            );
        }
    }

    #[test]
    fn placement_hashes_are_pinned() {
        let pinned = [
            ("movies", 0, "node-0", 0xecb2_b5e1_60fe_1598),
            ("movies", 1, "node-0", 0x77a3_0fd1_394a_e7e6),
            ("m", 63, "é", 0xa062_9c9c_26f1_aa91),
        ];
        for (index, shard, node, hash) in pinned {
            let got = placement_hash(index, ShardId(shard), node);
            assert_eq!(got, hash, "{index} {shard} {node} is now {got:#x}");
        }
    }

    #[test]
    fn documents_spread_evenly_over_the_shards() {
        let mut documents = vec![0_u32; 64];
        for id in 0..64_000 {
            documents[shard_of(&id.to_string(), count(64)).0 as usize] += 1;
        }
        let (min, max) = (
            documents.iter().min().unwrap(),
            documents.iter().max().unwrap(),
        );
        assert!(*min > 850 && *max < 1150, "{min}..{max} where 1000 is fair");
    }

    #[test]
    fn one_shard_holds_all() {
        assert_eq!(shard_of("anything", count(1)), ShardId(0));
    }
}
