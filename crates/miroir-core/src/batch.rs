//! Cutting a batch of documents by shard and by node, the client's order kept.
//!
//! A payload on disk is not read again to be cut: beside it lies a file of [`CutRecord`]s, one a
//! document in the client's order, which say where each document stands and where it goes.

use crate::hash::{document_hash, shard_of_hash};
use crate::id::{DocumentSeq, NodeId, ShardId};
use crate::placement::Placement;
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;

/// Where one document stands in its payload, and where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutRecord {
    /// Its first byte in the payload file.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u32,
    /// Its shard.
    pub shard: u32,
    /// The hash of its id.
    pub hash: u64,
    /// Its place in the insertion order of the index.
    pub seq: u64,
}

impl CutRecord {
    /// The length of an encoded record.
    pub const BYTES: usize = 32;

    /// The record of a document whose id is known and whose place in the order is not yet.
    #[must_use]
    pub fn new(offset: u64, len: u32, id: &str, shard_count: NonZeroU32) -> Self {
        let hash = document_hash(id);
        Self {
            offset,
            len,
            shard: shard_of_hash(hash, shard_count).0,
            hash,
            seq: 0,
        }
    }

    /// The shard as a type of its own.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        ShardId(self.shard)
    }

    /// The place in the order as a type of its own.
    #[must_use]
    pub fn seq(&self) -> DocumentSeq {
        DocumentSeq(self.seq)
    }

    /// The 32 bytes of the record in a file: the fields in order, little-endian.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[0..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.len.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.shard.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.hash.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.seq.to_le_bytes());
        bytes
    }

    /// The record that 32 bytes of a file hold. Any bytes are a record; whether its numbers fit
    /// the payload is for the reader to check.
    #[must_use]
    pub fn decode(bytes: &[u8; Self::BYTES]) -> Self {
        let four = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let eight = |at: usize| u64::from(four(at)) | u64::from(four(at + 4)) << 32;
        let (offset, hash, seq) = (eight(0), eight(16), eight(24));
        Self {
            offset,
            len: four(8),
            shard: four(12),
            hash,
            seq,
        }
    }
}

/// Numbers the documents of a batch from `first_seq` on, in the client's order. A document that
/// comes again has the number of its first occurrence, as one node would keep its place.
///
/// Returns how many different documents there are, which is also how many numbers are used.
/// Different ids with one 64-bit hash would share a number, and so a place among equal hits, which
/// harms nobody.
pub fn resolve_duplicates(records: &mut [CutRecord], first_seq: DocumentSeq) -> u64 {
    let mut next_seq = first_seq.0;
    // Read by key only, so its order never shows. Ids come from clients, so the default, seeded
    // hasher stays: chosen hashes must not make this slow.
    let mut seq_by_hash: HashMap<u64, u64> = HashMap::with_capacity(records.len());
    for record in records {
        record.seq = *seq_by_hash.entry(record.hash).or_insert_with(|| {
            next_seq += 1;
            next_seq - 1
        });
    }
    next_seq - first_seq.0
}

/// The positions of a batch's items by shard, ascending within each: the client's order.
pub fn cut_by_shard(shards: impl IntoIterator<Item = ShardId>) -> BTreeMap<ShardId, Vec<usize>> {
    let mut positions: BTreeMap<ShardId, Vec<usize>> = BTreeMap::new();
    for (position, shard) in shards.into_iter().enumerate() {
        positions.entry(shard).or_default().push(position);
    }
    positions
}

/// The positions of a batch's items by node, ascending within each: what each replica gets, in the
/// client's order. Nodes that get nothing are absent.
pub fn cut_by_node(
    shards: impl IntoIterator<Item = ShardId>,
    placement: &Placement,
) -> BTreeMap<&NodeId, Vec<usize>> {
    let mut by_node: Vec<Vec<usize>> = vec![Vec::new(); placement.nodes().len()];
    for (position, shard) in shards.into_iter().enumerate() {
        for node_idx in placement.replica_idxs(shard) {
            by_node[*node_idx as usize].push(position);
        }
    }
    let nodes = placement.nodes().iter().zip(by_node);
    nodes
        .filter(|(_, positions)| !positions.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(id: &str) -> CutRecord {
        CutRecord::new(0, 1, id, NonZeroU32::new(8).unwrap())
    }

    #[test]
    fn a_record_is_laid_out_as_documented() {
        let record = CutRecord {
            offset: 1,
            len: 2,
            shard: 3,
            hash: u64::MAX,
            seq: 0x0102,
        };
        let bytes = record.encode();
        assert_eq!(
            bytes[..16],
            [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]
        );
        assert_eq!(
            bytes[16..],
            [
                255, 255, 255, 255, 255, 255, 255, 255, 2, 1, 0, 0, 0, 0, 0, 0
            ]
        );
    }

    #[test]
    fn a_document_that_comes_again_keeps_its_first_place() {
        let mut records = ["a", "b", "a", "c", "b"].map(record);
        assert_eq!(resolve_duplicates(&mut records, DocumentSeq(10)), 3);
        assert_eq!(records.map(|r| r.seq), [10, 11, 10, 12, 11]);
        assert_eq!(resolve_duplicates(&mut [], DocumentSeq(10)), 0);
    }

    #[test]
    fn each_replica_gets_its_documents() {
        let [a, b] = ["a", "b"].map(NodeId::new);
        let placement =
            Placement::from_replica_sets(&[vec![a.clone(), b.clone()], vec![b.clone()]]);
        let by_node = cut_by_node([1, 0, 1, 0].map(ShardId), &placement);
        assert_eq!(
            by_node,
            BTreeMap::from([(&a, vec![1, 3]), (&b, vec![0, 1, 2, 3])])
        );
        assert_eq!(
            cut_by_node([ShardId(1)], &placement)
                .keys()
                .copied()
                .collect::<Vec<_>>(),
            [&b]
        );
    }

    proptest! {
        #[test]
        fn records_are_read_back(
            offset: u64, len: u32, shard: u32, hash: u64, seq: u64,
        ) {
            let record = CutRecord { offset, len, shard, hash, seq };
            prop_assert_eq!(CutRecord::decode(&record.encode()), record);
        }

        #[test]
        fn a_batch_cut_and_joined_is_the_batch(
            ids in prop::collection::vec(0..50_u32, 0..200), shard_count in 1..20_u32,
        ) {
            let shard_count = NonZeroU32::new(shard_count).unwrap();
            let records: Vec<CutRecord> =
                ids.iter().map(|id| CutRecord::new(0, 0, &id.to_string(), shard_count)).collect();
            let cut = cut_by_shard(records.iter().map(CutRecord::shard));
            for (shard, positions) in &cut {
                prop_assert!(positions.is_sorted());
                prop_assert!(positions.iter().all(|p| records[*p].shard() == *shard));
            }
            let mut joined: Vec<usize> = cut.into_values().flatten().collect();
            joined.sort_unstable();
            prop_assert_eq!(joined, (0..ids.len()).collect::<Vec<_>>());
        }

        #[test]
        fn a_batch_has_as_many_numbers_as_documents(ids in prop::collection::vec(0..50_u32, 0..200)) {
            let mut records: Vec<CutRecord> = ids.iter().map(|id| record(&id.to_string())).collect();
            let count = resolve_duplicates(&mut records, DocumentSeq(0));
            let mut distinct = ids.clone();
            distinct.sort_unstable();
            distinct.dedup();
            prop_assert_eq!(count, distinct.len() as u64);
            for (i, j) in (0..ids.len()).flat_map(|i| (0..i).map(move |j| (i, j))) {
                prop_assert_eq!(records[i].seq == records[j].seq, ids[i] == ids[j]);
            }
        }
    }
}
