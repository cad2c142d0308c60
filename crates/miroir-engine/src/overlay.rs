//! What batches in flight have done to documents, so that the next batch can be numbered before
//! the nodes have applied the last.
//!
//! Law: a document's number is what the overlay says, or else what any in-sync node says.

use miroir_core::id::{BatchUid, DocumentSeq};
use std::collections::{HashMap, VecDeque};

/// Documents in flight of one index.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    /// By hash of the id; `None` is deleted.
    states: HashMap<u64, (Option<DocumentSeq>, BatchUid)>,
    /// What each batch in flight touched, oldest first.
    by_batch: VecDeque<(BatchUid, Vec<u64>)>,
    /// While this batch is in flight the nodes hold nothing that the overlay does not tell of.
    empty_since: Option<BatchUid>,
    /// This batch touched more than is remembered: nothing is numbered before it is done.
    barrier: Option<BatchUid>,
}

/// What is known of a document without asking a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// It has this number.
    Seq(DocumentSeq),
    /// It does not exist.
    Absent,
    /// A node must be asked.
    Unknown,
}

impl Overlay {
    /// Documents remembered at most, over all batches in flight of an index: about 5 MB.
    pub(crate) const DOCUMENTS_MAX: usize = 200_000;

    /// Forgets the batches that are done.
    pub(crate) fn settle(&mut self, is_done: impl Fn(BatchUid) -> bool) {
        while self
            .by_batch
            .front()
            .is_some_and(|(batch, _)| is_done(*batch))
        {
            let Some((batch, hashes)) = self.by_batch.pop_front() else {
                break;
            };
            for hash in hashes {
                if self.states.get(&hash).is_some_and(|(_, by)| *by == batch) {
                    self.states.remove(&hash);
                }
            }
        }
        self.empty_since = self.empty_since.filter(|batch| !is_done(*batch));
        self.barrier = self.barrier.filter(|batch| !is_done(*batch));
    }

    /// The batch to wait for before anything is numbered.
    pub(crate) fn barrier(&self) -> Option<BatchUid> {
        self.barrier
    }

    pub(crate) fn get(&self, hash: u64) -> Known {
        match self.states.get(&hash) {
            Some((Some(seq), _)) => Known::Seq(*seq),
            Some((None, _)) => Known::Absent,
            None if self.empty_since.is_some() => Known::Absent,
            None => Known::Unknown,
        }
    }

    /// A batch gives documents these numbers, or deletes them.
    pub(crate) fn note(
        &mut self,
        batch: BatchUid,
        documents: impl IntoIterator<Item = (u64, Option<DocumentSeq>)>,
    ) {
        let mut hashes = Vec::new();
        for (hash, state) in documents {
            self.states.insert(hash, (state, batch));
            hashes.push(hash);
        }
        if self.states.len() > Self::DOCUMENTS_MAX {
            self.barrier = Some(batch);
        }
        self.by_batch.push_back((batch, hashes));
    }

    /// A batch touches documents that cannot be listed.
    pub(crate) fn bar(&mut self, batch: BatchUid) {
        self.barrier = Some(batch);
    }

    /// A batch makes the index, or empties it.
    pub(crate) fn empty(&mut self, batch: BatchUid) {
        self.states.clear();
        self.by_batch.clear();
        self.empty_since = Some(batch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: BatchUid = BatchUid(1);
    const B: BatchUid = BatchUid(2);

    #[test]
    fn a_document_in_flight_keeps_its_number() {
        let mut overlay = Overlay::default();
        overlay.note(A, [(7, Some(DocumentSeq(3)))]);
        assert_eq!(overlay.get(7), Known::Seq(DocumentSeq(3)));
        overlay.note(B, [(7, None)]);
        assert_eq!(overlay.get(7), Known::Absent);
        overlay.settle(|batch| batch == A);
        assert_eq!(
            overlay.get(7),
            Known::Absent,
            "the later batch still tells of it"
        );
        overlay.settle(|_| true);
        assert_eq!(overlay.get(7), Known::Unknown);
    }

    #[test]
    fn an_emptied_index_needs_no_node_to_be_asked() {
        let mut overlay = Overlay::default();
        overlay.note(A, [(7, Some(DocumentSeq(3)))]);
        overlay.empty(B);
        assert_eq!(overlay.get(7), Known::Absent);
        assert_eq!(overlay.get(8), Known::Absent);
        overlay.settle(|_| true);
        assert_eq!(overlay.get(8), Known::Unknown);
    }
}
