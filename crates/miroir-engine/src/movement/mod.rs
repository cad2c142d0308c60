//! Shards move between nodes while writes and searches go on.
//!
//! A **movement** is a list of shard moves, done in the order given, a **group** of a few shards of
//! one index at a time. Its decisions about order belong to the dispatcher ([`turn`]), its patience to
//! a worker ([`worker`]); the copy itself is that of [`crate::copy`].
//!
//! ```text
//!            targets lie beside   old reads have ended,     copied and compared,     old reads
//!            (readers filter)     index at rest             index at rest            have ended
//!  waiting ─────► announced ─────────► copying ─────────────────► leaving ──────────► dropping ─► ended
//!     ▲               │                (targets join)             (readers use the       │
//!     │               │                   │                        targets; what left    │
//!     │               └──── withdrawn: cancelled, or a target lost its data ─► lies      │
//!     │                                                            beside)               │
//!     └──────────────────────────────── again, once nothing is left ─────────────────────┘
//! ```
//! Laws:
//! - Each step changes the placement's epoch, and is stored in the commit of the batches it speaks
//!   of. A crash repeats nothing and skips nothing.
//! - Before the first document of a shard comes to a node, all readers filter what they ask it by
//!   shard; after the last reader that uses a replica has ended, and not before, it is removed.
//! - A target is read only when it has applied all that its replicas have, and its documents were
//!   compared with theirs.
//! - A target has no say in what becomes of a write, and no write waits for it, as far as it joins.
//! - What lies beside is removed by a batch of its own, which the node may get much later; until
//!   then the placement remembers it.

mod anew;
mod api;
mod beside;
mod epochs;
mod orphan;
pub(crate) use api::refused;
mod steps;
pub(crate) mod turn;
pub(crate) mod worker;

use crate::copy::IndexCopy;
use crate::error::EngineError;
use crate::port::{Change, PayloadRef, Store, StoreError};
use miroir_core::id::{BatchUid, NodeId, PhysicalIndex, ShardId};
use miroir_core::rebalance::ShardMove;
use miroir_core::rebalance::movement::{
    MoveState, MoveStatus, MovementState, MovementStatus, MovementWait,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Weak;
use std::time::Duration;
use tokio::sync::Notify;

/// Shards that move together. More are fewer epochs and fewer pauses; fewer are a smaller part that
/// is kept twice, and less that is done again when a target is lost.
const GROUP_SHARDS_MAX: usize = 8;

/// The movement as a whole. The stored form is part of the database format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Header {
    pub(crate) id: u64,
    pub(crate) state: MovementState,
    /// How many groups it has.
    pub(crate) groups: u64,
    /// The one whose turn it is; all before it have ended.
    pub(crate) current: u64,
}

/// What follows when what lies beside is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum After {
    /// The moves are done.
    Done,
    /// They begin again.
    Again,
    /// They are taken back.
    Cancelled,
}

/// Where a group stands. The stored form is part of the database format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "camelCase")]
pub(crate) enum Step {
    /// Its turn has not come.
    Waiting,
    /// Readers know of the targets.
    Announced,
    /// The targets join.
    Copying,
    /// Something lies beside that is to be removed: what the moves left, or what was copied.
    Leaving { then: After },
    /// Its removal is in the order of batches.
    Dropping { then: After },
    /// Nothing more happens.
    Ended { is_cancelled: bool },
}

/// One move of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GroupMove {
    pub(crate) shard: ShardId,
    pub(crate) from: Vec<NodeId>,
    pub(crate) to: Vec<NodeId>,
    /// Copied so far.
    #[serde(default)]
    pub(crate) documents: u64,
    #[serde(default)]
    pub(crate) bytes: u64,
}

/// What one target is still to get.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TargetCopy {
    pub(crate) node: NodeId,
    pub(crate) copy: IndexCopy,
}

/// Some shards of one index that move together. The stored form is part of the database format.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Group {
    pub(crate) index: PhysicalIndex,
    pub(crate) moves: Vec<GroupMove>,
    pub(crate) step: Step,
    /// Counts what was stored of it, so that nobody goes on from what is no longer so.
    pub(crate) revision: u64,
    /// The first is being copied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) copies: Vec<TargetCopy>,
}

impl GroupMove {
    pub(crate) fn targets(&self) -> impl Iterator<Item = &NodeId> {
        self.to.iter().filter(|node| !self.from.contains(node))
    }

    fn leavers(&self) -> impl Iterator<Item = &NodeId> {
        self.from.iter().filter(|node| !self.to.contains(node))
    }
}

impl Group {
    /// The same at another step.
    pub(crate) fn at(&self, step: Step) -> Self {
        let mut group = self.revised();
        group.step = step;
        if step != Step::Copying {
            group.copies.clear();
        }
        group
    }

    /// Lists of ids that it needs.
    pub(crate) fn lists(&self) -> Vec<PayloadRef> {
        let copies = self.copies.iter();
        copies.filter_map(|copy| copy.copy.list.clone()).collect()
    }

    /// The same, to be changed and stored.
    pub(crate) fn revised(&self) -> Self {
        let mut group = self.clone();
        group.revision += 1;
        group
    }

    /// The same after so many documents and bytes of shards were copied.
    pub(crate) fn counted(&self, sizes: &BTreeMap<ShardId, (u64, u64)>) -> Self {
        let mut group = self.revised();
        for one in &mut group.moves {
            let (documents, bytes) = sizes.get(&one.shard).copied().unwrap_or_default();
            one.documents += documents;
            one.bytes += bytes;
        }
        group
    }

    /// Each shard with each node that gets a copy of it.
    pub(crate) fn targets(&self) -> Vec<(ShardId, NodeId)> {
        let of = |one: &GroupMove| -> Vec<(ShardId, NodeId)> {
            let nodes = one.targets();
            nodes.map(|node| (one.shard, node.clone())).collect()
        };
        self.moves.iter().flat_map(of).collect()
    }

    /// Each shard with each node where it lies beside, once the step says that something does.
    pub(crate) fn leaving(&self, then: After) -> Vec<(ShardId, NodeId)> {
        if then != After::Done {
            return self.targets();
        }
        let of = |one: &GroupMove| -> Vec<(ShardId, NodeId)> {
            let nodes = one.leavers();
            nodes.map(|node| (one.shard, node.clone())).collect()
        };
        self.moves.iter().flat_map(of).collect()
    }

    /// What lies beside because of this group, and is its own business.
    pub(crate) fn own(&self) -> Vec<(ShardId, NodeId)> {
        match self.step {
            Step::Waiting | Step::Ended { .. } => Vec::new(),
            Step::Announced | Step::Copying => self.targets(),
            Step::Leaving { then } | Step::Dropping { then } => self.leaving(then),
        }
    }

    fn state(&self, number: u64, header: &Header) -> MoveState {
        match self.step {
            Step::Waiting if header.state == MovementState::Cancelled => MoveState::Cancelled,
            Step::Waiting
                if header.state == MovementState::Cancelling && number > header.current =>
            {
                MoveState::Cancelling
            }
            Step::Waiting => MoveState::Waiting,
            Step::Announced => MoveState::Joining,
            Step::Copying if self.copies.is_empty() => MoveState::Verifying,
            Step::Copying => MoveState::Copying,
            Step::Leaving { then: After::Done } => MoveState::Switching,
            Step::Dropping { then: After::Done } => MoveState::Dropping,
            Step::Leaving { .. } | Step::Dropping { .. } => MoveState::Cancelling,
            Step::Ended { is_cancelled: true } => MoveState::Cancelled,
            Step::Ended {
                is_cancelled: false,
            } => MoveState::Done,
        }
    }
}

const HEADER_KEY: &str = "movement";

fn group_key(number: u64) -> String {
    // Without the movement's own number: those of the movement before are overwritten.
    format!("movement/{number}")
}

fn header_change(header: &Header) -> Change {
    Change::PutFact {
        key: HEADER_KEY.into(),
        value: serde_json::to_value(header).unwrap_or(Value::Null),
    }
}

/// The change that stores a group.
pub(crate) fn group_change(number: u64, group: &Group) -> Change {
    Change::PutFact {
        key: group_key(number),
        value: serde_json::to_value(group).unwrap_or(Value::Null),
    }
}

/// Groups of neighbours in the list that are of one index.
fn groups_of(moves: &[ShardMove]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for shard_move in moves {
        let one = GroupMove {
            shard: shard_move.shard,
            from: shard_move.from.clone(),
            to: shard_move.to.clone(),
            documents: 0,
            bytes: 0,
        };
        match groups.last_mut() {
            Some(last) if last.index == shard_move.index && last.moves.len() < GROUP_SHARDS_MAX => {
                last.moves.push(one);
            }
            _ => groups.push(Group {
                index: shard_move.index.clone(),
                moves: vec![one],
                step: Step::Waiting,
                revision: 0,
                copies: Vec::new(),
            }),
        }
    }
    groups
}

#[derive(Debug)]
struct Movement {
    header: Header,
    groups: Vec<Group>,
    waits_for: Option<MovementWait>,
    /// Copied by this process: since when, until when, documents and bytes.
    copied: Option<(Duration, Duration, u64, u64)>,
}

/// Replica sets that neither readers nor the completer know yet. Whoever decides that a node leaves the
/// in-sync set holds the lock until readers are shown that it did; whoever makes such sets holds it
/// while looking who is in sync. So of each set, old or new, one node stays.
#[derive(Debug, Default)]
pub(crate) struct Coming {
    /// Those about to replace others.
    pub(crate) replacing: Vec<Vec<NodeId>>,
    /// Those of new indexes, until the completer is told of the batch that makes them.
    pub(crate) new: BTreeMap<BatchUid, Vec<Vec<NodeId>>>,
}

impl Coming {
    pub(crate) fn sets(&self) -> Vec<Vec<NodeId>> {
        let new = self.new.values().flatten();
        self.replacing.iter().chain(new).cloned().collect()
    }
}

/// What is known of the movement under way, or of the last one.
#[derive(Debug, Default)]
pub(crate) struct Board {
    movement: Mutex<Option<Movement>>,
    /// Readers of placements that are no longer so, and since when they are not.
    readers: Mutex<Vec<(Duration, Weak<()>)>>,
    /// Replica sets that nobody is shown yet.
    pub(crate) coming: Mutex<Coming>,
    /// Wakes the worker.
    pub(crate) changed: Notify,
}

impl Board {
    /// Reads what an earlier process left.
    ///
    /// # Errors
    /// The store failed, or what it holds cannot be understood.
    pub(crate) async fn load(&self, store: &dyn Store) -> Result<(), EngineError> {
        let Some(value) = store.load_fact(HEADER_KEY).await? else {
            return Ok(());
        };
        let header: Header = parse(value)?;
        let mut groups = Vec::new();
        for number in 0..header.groups {
            let value = store.load_fact(&group_key(number)).await?;
            groups.push(parse(value.unwrap_or(Value::Null))?);
        }
        self.begin(header, groups);
        Ok(())
    }

    fn begin(&self, header: Header, groups: Vec<Group>) {
        *self.movement.lock() = Some(Movement {
            header,
            groups,
            waits_for: None,
            copied: None,
        });
        self.changed.notify_one();
    }

    /// Files that it needs.
    pub(crate) fn files(&self) -> Vec<PayloadRef> {
        let movement = self.movement.lock();
        let groups = movement.iter().flat_map(|movement| &movement.groups);
        groups.flat_map(Group::lists).collect()
    }

    pub(crate) fn header(&self) -> Option<Header> {
        self.movement.lock().as_ref().map(|m| m.header.clone())
    }

    /// The group whose turn it is.
    pub(crate) fn current(&self) -> Option<(Header, Group)> {
        let movement = self.movement.lock();
        let movement = movement.as_ref()?;
        if movement.header.state.is_final() {
            return None;
        }
        let number = usize::try_from(movement.header.current).ok()?;
        let group = movement.groups.get(number)?;
        Some((movement.header.clone(), group.clone()))
    }

    /// The group of that number is the current one and nothing was stored of it since.
    pub(crate) fn is_at(&self, number: u64, revision: u64) -> bool {
        self.current()
            .is_some_and(|(header, group)| header.current == number && group.revision == revision)
    }

    /// A group is stored as given.
    pub(crate) fn put(&self, number: u64, group: Group) {
        if let Some(movement) = self.movement.lock().as_mut()
            && let Some(there) = usize::try_from(number)
                .ok()
                .and_then(|number| movement.groups.get_mut(number))
        {
            *there = group;
            movement.waits_for = None;
        }
        self.changed.notify_one();
    }

    fn put_header(&self, header: Header) {
        if let Some(movement) = self.movement.lock().as_mut() {
            movement.header = header;
            movement.waits_for = None;
        }
        self.changed.notify_one();
    }

    /// So much was copied by now.
    pub(crate) fn note_copied(&self, now: Duration, documents: u64, bytes: u64) {
        if let Some(movement) = self.movement.lock().as_mut() {
            let (since, _, before, bytes_before) = movement.copied.unwrap_or((now, now, 0, 0));
            movement.copied = Some((since, now, before + documents, bytes_before + bytes));
        }
    }

    /// It stands still, and why.
    fn wait_for(&self, what: impl Into<String>, why: impl Into<String>) {
        if let Some(movement) = self.movement.lock().as_mut() {
            movement.waits_for = Some(MovementWait {
                what: what.into(),
                why: why.into(),
            });
        }
    }

    /// Readers may still go by a placement that was replaced just now.
    pub(crate) fn note_readers(&self, now: Duration, readers: Weak<()>) {
        let mut all = self.readers.lock();
        all.retain(|(_, readers)| readers.strong_count() > 0);
        all.push((now, readers));
    }

    /// Nobody reads by a placement that was replaced before, or none for longer than `limit`.
    pub(crate) fn have_readers_ended(&self, now: Duration, limit: Duration) -> bool {
        let mut all = self.readers.lock();
        all.retain(|(since, readers)| {
            readers.strong_count() > 0 && now.saturating_sub(*since) < limit
        });
        all.is_empty()
    }

    /// How it stands.
    pub(crate) fn status(&self) -> Option<MovementStatus> {
        let movement = self.movement.lock();
        let Movement {
            header,
            groups,
            waits_for,
            copied,
        } = movement.as_ref()?;
        let mut moves = Vec::new();
        for (number, group) in (0..).zip(groups) {
            let state = group.state(number, header);
            moves.extend(group.moves.iter().map(|one| MoveStatus {
                shard_move: ShardMove {
                    index: group.index.clone(),
                    shard: one.shard,
                    from: one.from.clone(),
                    to: one.to.clone(),
                },
                state,
                documents: one.documents,
                bytes: one.bytes,
            }));
        }
        let done = moves.iter().filter(|one| one.state.is_final()).count() as u64;
        let bytes: u64 = moves.iter().map(|one| one.bytes).sum();
        let rate = copied.and_then(|(since, until, _, bytes)| {
            let seconds = until.saturating_sub(since).as_secs();
            bytes.checked_div(seconds)
        });
        // What a move still to come will copy is taken to be what those done did.
        let copying = |one: &&MoveStatus| one.shard_move.targets().next().is_some();
        let ended = moves.iter().filter(|one| one.state == MoveState::Done);
        let ended: Vec<&MoveStatus> = ended.filter(copying).collect();
        let mean = ended
            .iter()
            .map(|one| one.bytes)
            .sum::<u64>()
            .checked_div(ended.len() as u64);
        let open = moves.iter().filter(|one| !one.state.is_final());
        let open: Vec<&MoveStatus> = open.filter(copying).collect();
        let left = mean.map(|mean| {
            let left = open.iter().map(|one| mean.saturating_sub(one.bytes));
            left.sum::<u64>()
        });
        let remaining_seconds = match (left, rate) {
            _ if open.is_empty() => Some(0),
            (Some(left), Some(rate)) => left.checked_div(rate),
            _ => None,
        };
        Some(MovementStatus {
            id: header.id,
            state: header.state,
            moves_done: done,
            moves_total: moves.len() as u64,
            documents: moves.iter().map(|one| one.documents).sum(),
            bytes,
            moves,
            bytes_per_second: rate,
            remaining_seconds,
            waits_for: waits_for.clone().filter(|_| !header.state.is_final()),
        })
    }
}

fn parse<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, EngineError> {
    serde_json::from_value(value).map_err(|error| {
        EngineError::Store(StoreError::Corrupt {
            what: "movement",
            cause: error.to_string(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard_move(index: &str, shard: u32) -> ShardMove {
        ShardMove {
            index: PhysicalIndex::from_stored(index),
            shard: ShardId(shard),
            from: vec![NodeId::new("a")],
            to: vec![NodeId::new("b")],
        }
    }

    #[test]
    fn neighbours_of_one_index_move_together() {
        let mut moves: Vec<ShardMove> = (0..10).map(|n| shard_move("m__1", n)).collect();
        moves.push(shard_move("o__2", 0));
        moves.push(shard_move("m__1", 11));
        let groups = groups_of(&moves);
        let sizes: Vec<usize> = groups.iter().map(|group| group.moves.len()).collect();
        assert_eq!(sizes, [GROUP_SHARDS_MAX, 2, 1, 1]);
    }

    #[test]
    fn the_stored_form_is_pinned() {
        let header = Header {
            id: 3,
            state: MovementState::Running,
            groups: 1,
            current: 0,
        };
        assert_eq!(
            serde_json::to_string(&header).unwrap(),
            r#"{"id":3,"state":"running","groups":1,"current":0}"#
        );
        let [group] = &groups_of(&[shard_move("m__1", 4)])[..] else {
            panic!("one group");
        };
        assert_eq!(
            serde_json::to_string(group).unwrap(),
            r#"{"index":"m__1","moves":[{"shard":4,"from":["a"],"to":["b"],"documents":0,"bytes":0}],"step":{"at":"waiting"},"revision":0}"#
        );
        let group = group.at(Step::Leaving { then: After::Again });
        let text = serde_json::to_string(&group).unwrap();
        assert!(text.contains(r#""step":{"at":"leaving","then":"again"},"revision":1"#));
        assert_eq!(serde_json::from_str::<Group>(&text).unwrap(), group);
    }
}
