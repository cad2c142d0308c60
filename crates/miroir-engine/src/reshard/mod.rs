//! An index is cut into another number of shards while writes and searches go on.
//!
//! An index is found on the nodes under a physical name. A **re-shard** makes a second physical index
//! of the same logical one, its **twin**, with the new number of shards and a placement of its own.
//! From the batch on at which it is made, each batch of the index is planned for both: the same
//! entries with the same numbers, cut once more, in the same batch ([`crate::plan::Twin`]). What is
//! there already is copied piece by piece, each at one position of the batch order, as every copy is
//! ([`crate::copy`]). When both were compared and agree, they exchange their roles in one commit: the
//! new one is read, and the old one is the twin, which goes on being written to. That is the way back.
//!
//! ```text
//!            index at rest        copied, compared, at rest       time is over, or dropped
//!  waiting ───────────────► copying ───────────────────► kept ──────────────────────────► leaving
//!     ▲                       │  ▲   (roles exchanged)     │                                 │ reads
//!     │                       │  └────────── back ─────────┘                                 ▼ ended
//!     │                       └──── cancelled, or a node lost its part of the twin ───►   dropping
//!     └────────────────────── again, under another name ◄────────────────────────────────────┤
//!                                                                                            ▼
//!                                                                                          ended
//! ```
//! Laws:
//! - **Readers read one of the two**, the one that the catalog names; the twin is never listed,
//!   counted or read.
//! - **What becomes of a batch in the twin says nothing of the write**: it comes behind the work on the
//!   index itself, in requests of its own, like that of joining replicas; its failure marks the twin
//!   and is found by a comparison.
//! - **They exchange roles only** while nothing of either is in flight, every node has applied all that
//!   is for the one to come, all of those nodes are in sync, and both were compared since the last
//!   request failed.
//! - Each step is stored in the commit of the batches it speaks of, or of the catalog's change. A crash
//!   repeats nothing and skips nothing.
//! - A node that lost its part of the twin takes the twin with it: a re-shard begins again, a way back
//!   is gone, and says so.

mod api;
mod leave;
mod plan;
mod roles;
pub(crate) mod turn;
mod twin;
mod verify;
pub(crate) mod worker;

use crate::error::EngineError;
use crate::port::{Change, PayloadRef, Store, StoreError};
use miroir_core::id::{PhysicalIndex, ShardId};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::Notify;

/// Re-shards that have not ended, at most: each doubles an index.
const OPEN_MAX: usize = 16;
/// Those that have ended and are still shown.
const SHOWN_MAX: usize = 16;
/// The way back is kept for so long unless somebody says otherwise.
pub const KEEP_WAY_BACK: Duration = Duration::from_hours(24);

const KEY: &str = "reshards";

/// What follows when the twin is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum After {
    /// The re-shard is done.
    Done,
    /// It begins again.
    Again,
    /// It was taken back.
    Cancelled,
    /// The way back was lost with a node.
    Lost,
}

/// Where a re-shard stands. The stored form is part of the database format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "camelCase")]
pub(crate) enum Step {
    /// There is no twin yet.
    Waiting,
    /// The twin is brought level; then they exchange roles.
    Copying,
    /// They have; the twin is the way back.
    Kept,
    /// The twin is nobody's any more.
    Leaving { then: After },
    /// Its removal is in the order of batches.
    Dropping { then: After },
    /// Nothing more happens.
    Ended { how: After },
}

/// One index being cut anew. The stored form is part of the database format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reshard {
    pub(crate) id: u64,
    /// The client's name of the index when it began.
    pub(crate) index_uid: String,
    /// The index as it was found.
    pub(crate) source: PhysicalIndex,
    pub(crate) source_shards: u32,
    /// The index as it shall be.
    pub(crate) target: PhysicalIndex,
    pub(crate) target_shards: u32,
    pub(crate) step: Step,
    /// The target is read, and the source is the twin.
    pub(crate) is_switched: bool,
    /// Nothing is copied or compared for now.
    pub(crate) is_paused: bool,
    /// Counts what was stored of it, so that nobody goes on from what is no longer so.
    pub(crate) revision: u64,
    /// For how long the way back is kept.
    pub(crate) keep_seconds: u64,
    /// Seconds since 1970.
    pub(crate) started_at: i64,
    /// When they exchanged roles last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) switched_at: Option<i64>,
    /// Shards of the one that is read which are not copied yet; the first is being copied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) shards: Vec<ShardId>,
    /// The ids of the first shard, and of those copied with it, one JSON text a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) list: Option<PayloadRef>,
    /// How many shards behind the first are listed and copied with it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) together: usize,
    /// Where the next id of the list begins.
    #[serde(default)]
    pub(crate) offset: u64,
    /// Copied so far.
    #[serde(default)]
    pub(crate) documents: u64,
    #[serde(default)]
    pub(crate) bytes: u64,
    /// Documents that there were when it began.
    #[serde(default)]
    pub(crate) documents_total: u64,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Reshard {
    /// The shards that are being copied.
    pub(crate) fn current(&self) -> &[ShardId] {
        let count = self.shards.len().min(1 + self.together);
        self.shards.get(..count).unwrap_or_default()
    }

    /// The same with these shards, all of them to be copied yet, listed and copied next.
    fn listed(&self, shards: &[ShardId], list: PayloadRef) -> Self {
        let mut next = self.unlisted();
        next.shards.retain(|shard| !shards.contains(shard));
        next.shards.splice(..0, shards.iter().copied());
        next.together = shards.len().saturating_sub(1);
        next.list = Some(list);
        next
    }

    /// The same with nothing listed.
    fn unlisted(&self) -> Self {
        let mut next = self.revised();
        next.list = None;
        next.together = 0;
        next.offset = 0;
        next
    }

    /// The same behind the shards that were being copied.
    fn passed(&self) -> Self {
        let mut next = self.unlisted();
        next.shards.drain(..self.current().len());
        next
    }

    /// The one that is read.
    pub(crate) fn main(&self) -> &PhysicalIndex {
        match self.is_switched {
            true => &self.target,
            false => &self.source,
        }
    }

    /// The other.
    pub(crate) fn twin(&self) -> &PhysicalIndex {
        match self.is_switched {
            true => &self.source,
            false => &self.target,
        }
    }

    pub(crate) fn twin_shards(&self) -> u32 {
        match self.is_switched {
            true => self.source_shards,
            false => self.target_shards,
        }
    }

    fn main_shards(&self) -> u32 {
        match self.is_switched {
            true => self.target_shards,
            false => self.source_shards,
        }
    }

    /// The same, to be changed and stored.
    fn revised(&self) -> Self {
        let mut next = self.clone();
        next.revision += 1;
        next
    }

    /// The same at another step.
    fn at(&self, step: Step) -> Self {
        let mut next = self.revised();
        next.step = step;
        if step != Step::Copying {
            next.shards.clear();
            next.list = None;
            next.together = 0;
            next.offset = 0;
        }
        next
    }

    /// The same with all that is read to be copied, once more if need be.
    fn afresh(&self) -> Self {
        let mut next = self.at(Step::Copying);
        next.shards = (0..self.main_shards()).map(ShardId).collect();
        next.list = None;
        next.together = 0;
        next.offset = 0;
        next.documents = 0;
        next.bytes = 0;
        next
    }

    fn is_over(&self) -> bool {
        matches!(self.step, Step::Ended { .. })
    }

    /// The twin is written to.
    fn has_twin(&self) -> bool {
        matches!(self.step, Step::Copying | Step::Kept)
    }

    /// Documents are being brought where readers do not find them yet.
    pub(crate) fn is_copying(&self) -> bool {
        matches!(self.step, Step::Waiting | Step::Copying)
    }
}

/// All of them. The stored form is part of the database format.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Book {
    /// How many physical indexes were made so.
    cuts: u64,
    /// How many were begun.
    begun: u64,
    /// Oldest first.
    all: Vec<Reshard>,
}

impl Book {
    fn change(&self) -> Change {
        Change::PutFact {
            key: KEY.into(),
            value: serde_json::to_value(self).unwrap_or(Value::Null),
        }
    }

    /// With this one as given.
    fn with(&self, reshard: Reshard) -> Self {
        let mut next = self.clone();
        match next.all.iter_mut().find(|other| other.id == reshard.id) {
            Some(there) => *there = reshard,
            None => next.all.push(reshard),
        }
        let over = next.all.iter().filter(|other| other.is_over()).count();
        let mut surplus = over.saturating_sub(SHOWN_MAX);
        next.all.retain(|other| {
            let is_kept = !other.is_over() || surplus == 0;
            surplus -= usize::from(!is_kept);
            is_kept
        });
        next
    }
}

/// What this process saw of one.
#[derive(Debug, Default)]
struct Seen {
    waits_for: Option<String>,
    is_verifying: bool,
    /// Copied by this process: since when, until when, documents and bytes.
    copied: Option<(Duration, Duration, u64, u64)>,
}

/// What is known of re-shards.
#[derive(Debug, Default)]
pub(crate) struct Board {
    book: Mutex<Book>,
    seen: Mutex<BTreeMap<u64, Seen>>,
    /// Lists of ids that nobody needs any more.
    litter: Mutex<Vec<PayloadRef>>,
    /// Wakes the worker.
    pub(crate) changed: Notify,
}

impl Board {
    /// Reads what an earlier process left.
    ///
    /// # Errors
    /// The store failed, or what it holds cannot be understood.
    pub(crate) async fn load(&self, store: &dyn Store) -> Result<(), EngineError> {
        *self.book.lock() = load(store).await?;
        Ok(())
    }

    /// Files that they need.
    pub(crate) fn files(&self) -> Vec<PayloadRef> {
        let book = self.book.lock();
        book.all.iter().filter_map(|one| one.list.clone()).collect()
    }

    pub(crate) fn all(&self) -> Vec<Reshard> {
        self.book.lock().all.clone()
    }

    fn open(&self) -> Vec<Reshard> {
        let book = self.book.lock();
        let open = book.all.iter().filter(|one| !one.is_over());
        open.cloned().collect()
    }

    /// The one of this index, if one is under way or its way back is kept.
    pub(crate) fn of(&self, index: &PhysicalIndex) -> Option<Reshard> {
        let book = self.book.lock();
        let mut open = book.all.iter().filter(|one| !one.is_over());
        open.find(|one| one.main() == index || one.twin() == index)
            .cloned()
    }

    /// The first whose twin is there and being filled.
    pub(crate) fn cutting(&self) -> Option<Reshard> {
        let book = self.book.lock();
        let mut all = book.all.iter();
        all.find(|one| one.step == Step::Copying).cloned()
    }

    /// The physical index is a twin that is being removed: nothing of it is owed to anybody.
    pub(crate) fn is_void(&self, index: &PhysicalIndex) -> bool {
        let book = self.book.lock();
        let mut all = book.all.iter();
        all.any(|one| {
            one.twin() == index && matches!(one.step, Step::Leaving { .. } | Step::Dropping { .. })
        })
    }

    /// The number that the next physical index made so gets.
    fn next_cut(&self) -> u64 {
        self.book.lock().cuts + 1
    }

    /// So many indexes were cut anew in the cluster that one of them had this name, or it is no such
    /// index.
    pub(crate) fn has_named(&self, index: &PhysicalIndex) -> bool {
        index.cut().is_some_and(|cut| cut <= self.book.lock().cuts)
    }

    /// It is as it was then.
    fn is_at(&self, reshard: &Reshard) -> bool {
        let book = self.book.lock();
        let mut all = book.all.iter();
        all.any(|one| one.id == reshard.id && one.revision == reshard.revision)
    }

    /// What stores it as given. It holds once [`Board::put`] says so.
    fn change(&self, reshard: &Reshard) -> Change {
        self.book.lock().with(reshard.clone()).change()
    }

    fn put(&self, reshard: Reshard) {
        if let Some(seen) = self.seen.lock().get_mut(&reshard.id) {
            seen.waits_for = None;
        }
        let mut book = self.book.lock();
        self.replace(&mut book, reshard);
        drop(book);
        self.changed.notify_one();
    }

    fn replace(&self, book: &mut Book, reshard: Reshard) {
        let before = book.all.iter().find(|other| other.id == reshard.id);
        let list = before.and_then(|before| before.list.clone());
        let left = list.filter(|list| reshard.list.as_ref() != Some(list));
        self.litter.lock().extend(left);
        *book = book.with(reshard);
    }

    /// Lists that are to be removed.
    fn take_litter(&self) -> Vec<PayloadRef> {
        std::mem::take(&mut self.litter.lock())
    }

    /// The index is removed, and its twin with it; what stores that. One that is being removed already
    /// goes its way.
    pub(crate) fn end_with(&self, index: &PhysicalIndex) -> Option<Change> {
        let mut book = self.book.lock();
        let mut all = book.all.iter();
        let found =
            all.find(|one| one.main() == index && (one.has_twin() || one.step == Step::Waiting))?;
        let ended = found.at(Step::Ended {
            how: After::Cancelled,
        });
        self.replace(&mut book, ended);
        self.changed.notify_one();
        Some(book.change())
    }

    fn see(&self, id: u64, change: impl FnOnce(&mut Seen)) {
        change(self.seen.lock().entry(id).or_default());
    }

    /// It stands still, and why.
    fn wait_for(&self, id: u64, why: impl Into<String>) {
        self.see(id, |seen| seen.waits_for = Some(why.into()));
    }

    /// So much was copied by now.
    fn note_copied(&self, id: u64, now: Duration, documents: u64, bytes: u64) {
        self.see(id, |seen| {
            let (since, _, before, bytes_before) = seen.copied.unwrap_or((now, now, 0, 0));
            seen.copied = Some((since, now, before + documents, bytes_before + bytes));
        });
    }
}

async fn load(store: &dyn Store) -> Result<Book, EngineError> {
    let value = match store.load_fact(KEY).await? {
        None | Some(Value::Null) => return Ok(Book::default()),
        Some(value) => value,
    };
    serde_json::from_value(value).map_err(|error| {
        EngineError::Store(StoreError::Corrupt {
            what: "re-shards",
            cause: error.to_string(),
        })
    })
}

/// The twins that are written to, by the physical name of the index they are of, with their shard
/// counts.
///
/// # Errors
/// The store failed, or what it holds cannot be understood.
pub(crate) async fn load_twins(
    store: &dyn Store,
) -> Result<BTreeMap<PhysicalIndex, (PhysicalIndex, u32)>, EngineError> {
    let book = load(store).await?;
    let with_twin = book.all.iter().filter(|one| one.has_twin());
    Ok(with_twin
        .map(|one| (one.main().clone(), (one.twin().clone(), one.twin_shards())))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn reshard() -> Reshard {
        Reshard {
            id: 3,
            index_uid: "m".into(),
            source: PhysicalIndex::from_stored("m__1"),
            source_shards: 2,
            target: PhysicalIndex::from_stored("m__1").cut_anew(1),
            target_shards: 8,
            step: Step::Waiting,
            is_switched: false,
            is_paused: false,
            revision: 0,
            keep_seconds: 60,
            started_at: 7,
            switched_at: None,
            shards: Vec::new(),
            list: None,
            together: 0,
            offset: 0,
            documents: 0,
            bytes: 0,
            documents_total: 5,
        }
    }

    #[test]
    fn the_stored_form_is_pinned() {
        let book = Book {
            cuts: 1,
            begun: 3,
            all: vec![reshard().afresh()],
        };
        let text = serde_json::to_string(&book).unwrap();
        assert_eq!(
            text,
            r#"{"cuts":1,"begun":3,"all":[{"id":3,"indexUid":"m","source":"m__1","sourceShards":2,"target":"m__1099511627777","targetShards":8,"step":{"at":"copying"},"isSwitched":false,"isPaused":false,"revision":1,"keepSeconds":60,"startedAt":7,"shards":[0,1],"offset":0,"documents":0,"bytes":0,"documentsTotal":5}]}"#
        );
        assert_eq!(serde_json::from_str::<Book>(&text).unwrap(), book);
        let step = Step::Leaving { then: After::Again };
        let text = serde_json::to_string(&step).unwrap();
        assert_eq!(text, r#"{"at":"leaving","then":"again"}"#);
    }

    #[test]
    fn the_oldest_that_ended_are_forgotten() {
        let mut book = Book::default();
        for id in 0..SHOWN_MAX as u64 + 5 {
            let mut one = reshard();
            one.id = id;
            if id != 1 {
                one.step = Step::Ended { how: After::Done };
            }
            book = book.with(one);
        }
        let ids: Vec<u64> = book.all.iter().map(|one| one.id).collect();
        assert_eq!(ids.len(), SHOWN_MAX + 1);
        assert_eq!(&ids[..2], [1, 5]);
    }

    #[test]
    fn shards_that_are_copied_together_are_passed_together() {
        let one = reshard();
        let one = Reshard {
            shards: (0..5).map(ShardId).collect(),
            ..one
        };
        let list = PayloadRef::File {
            name: "l".into(),
            bytes: 3,
        };
        let listed = one.listed(&[ShardId(0), ShardId(2), ShardId(4)], list);
        assert_eq!(listed.current(), [0, 2, 4].map(ShardId));
        let passed = listed.passed();
        assert_eq!(passed.shards, [1, 3].map(ShardId));
        assert_eq!((passed.list, passed.together), (None, 0));
    }

    #[test]
    fn roles_are_exchanged_by_one_word() {
        let mut one = reshard();
        assert_eq!(one.main().as_str(), "m__1");
        assert_eq!(one.twin_shards(), 8);
        one.is_switched = true;
        assert_eq!(one.twin().as_str(), "m__1");
        assert_eq!(one.afresh().shards.len(), 8);
    }
}
