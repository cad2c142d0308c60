//! The dispatcher's part in re-shards: it alone knows the order of batches, so it alone says from which
//! batch on there is a twin, and at which the two exchange their roles.

use super::{After, Board, OPEN_MAX, Reshard, Step};
use crate::copy::barrier::{Answer, Served};
use crate::dispatcher::Dispatcher;
use crate::port::Change;
use miroir_core::id::{IndexUid, PhysicalIndex};
use miroir_core::reserved::SHARD_COUNT_MAX;

/// What an operator asks of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Steering {
    /// Stand still.
    Pause,
    /// Go on.
    Resume,
    /// Be taken back, before the roles are exchanged.
    Cancel,
    /// Exchange the roles once more.
    Back,
    /// Let go the way back.
    Drop,
}

/// What is asked of the dispatcher. Those with a re-shard speak of it as it was then.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Begin one.
    Start {
        uid: IndexUid,
        shard_count: u32,
        keep_seconds: u64,
    },
    /// Do with that of an index as the operator says.
    Steer(IndexUid, Steering),
    /// Make the twin.
    Create(Reshard),
    /// It stands as given; nothing of the order changes.
    Note(Reshard),
    /// Copy these documents of the shards that are copied now.
    Copy(Reshard, Vec<String>),
    /// Compare these documents at one position, and copy what differs.
    Compare(Reshard, Vec<String>),
    /// The index is at rest, and the nodes of the twin have all of it.
    Settle(Reshard),
    /// Exchange the roles.
    Switch(Reshard),
    /// The twin is nobody's any more.
    Leave(Reshard, After),
    /// Remove it from the nodes.
    Drop(Reshard),
    /// It is removed.
    End(Reshard),
}

impl Turn {
    /// The index that must be at rest.
    pub(crate) fn index(&self) -> Option<&PhysicalIndex> {
        match self {
            Self::Create(reshard)
            | Self::Copy(reshard, _)
            | Self::Compare(reshard, _)
            | Self::Settle(reshard)
            | Self::Switch(reshard) => Some(reshard.main()),
            _ => None,
        }
    }

    /// What it speaks of, as it has to be stored for the turn to be taken.
    fn speaks_of(&self) -> Option<Reshard> {
        match self {
            Self::Start { .. } | Self::Steer(..) => None,
            Self::Note(reshard) => {
                let mut before = reshard.clone();
                before.revision = before.revision.saturating_sub(1);
                Some(before)
            }
            Self::Create(reshard)
            | Self::Copy(reshard, _)
            | Self::Compare(reshard, _)
            | Self::Settle(reshard)
            | Self::Switch(reshard)
            | Self::Leave(reshard, _)
            | Self::Drop(reshard)
            | Self::End(reshard) => Some(reshard.clone()),
        }
    }
}

pub(super) fn failed(cause: impl Into<String>) -> Served {
    Ok(Some(Answer::Failed(cause.into())))
}

fn refused(cause: impl Into<String>) -> Served {
    Ok(Some(Answer::Refused(cause.into())))
}

impl Dispatcher {
    /// Takes one step of a re-shard.
    pub(crate) async fn turn_reshard(&mut self, turn: &Turn) -> Served {
        if let Some(before) = turn.speaks_of()
            && !self.shared.reshards.is_at(&before)
        {
            return Ok(Some(Answer::Gone));
        }
        match turn {
            Turn::Start {
                uid,
                shard_count,
                keep_seconds,
            } => self.start_reshard(uid, *shard_count, *keep_seconds).await,
            Turn::Steer(uid, steering) => self.steer_reshard(uid, *steering).await,
            Turn::Create(reshard) => self.create_twin(reshard).await,
            Turn::Note(reshard) => self.note_reshard(reshard.clone(), Vec::new()).await,
            Turn::Copy(reshard, ids) => self.copy_to_twin(reshard, ids).await,
            Turn::Compare(reshard, ids) => self.compare_twin(reshard, ids).await,
            Turn::Settle(reshard) => self.settle_twin(reshard).await,
            Turn::Switch(reshard) => self.exchange_roles(reshard).await,
            Turn::Leave(reshard, then) => self.detach_twin(reshard, *then).await,
            Turn::Drop(reshard) => self.drop_twin(reshard).await,
            Turn::End(reshard) => self.end_reshard(reshard).await,
        }
    }

    pub(super) fn board(&self) -> &Board {
        &self.shared.reshards
    }

    pub(super) async fn note_reshard(
        &mut self,
        reshard: Reshard,
        mut changes: Vec<Change>,
    ) -> Served {
        changes.push(self.board().change(&reshard));
        self.commit(&changes).await?;
        self.shared.step("reshard.noted").await;
        self.board().put(reshard);
        Ok(Some(Answer::Done))
    }

    // -----------------------------------------------------------------------------------------
    // What operators ask

    async fn start_reshard(
        &mut self,
        uid: &IndexUid,
        shard_count: u32,
        keep_seconds: u64,
    ) -> Served {
        let shared = self.shared.clone();
        let Some(planned) = self.preparer.indexes.get(uid) else {
            return refused(format!("Index `{uid}` not found."));
        };
        let record = planned.record.clone();
        if shared.shown(&record.physical).is_none() {
            return refused(format!("Index `{uid}` is being made."));
        }
        if shard_count == 0 || shard_count > SHARD_COUNT_MAX {
            return refused(format!("An index has 1 to {SHARD_COUNT_MAX} shards."));
        }
        if shard_count == record.shard_count {
            return refused(format!("Index `{uid}` has {shard_count} shards already."));
        }
        if let Some(other) = self.board().of(&record.physical) {
            let text = match other.step {
                Step::Kept => {
                    "The way back of its last re-shard is kept: drop it, or go back, first."
                }
                _ => "It is being re-sharded already.",
            };
            return refused(text);
        }
        if self.board().open().len() >= OPEN_MAX {
            return refused(format!("{OPEN_MAX} re-shards are under way."));
        }
        let mut book = self.board().book.lock().clone();
        book.cuts += 1;
        book.begun += 1;
        let reshard = Reshard {
            id: book.begun,
            index_uid: uid.to_string(),
            target: record.physical.cut_anew(book.cuts),
            target_shards: shard_count,
            source: record.physical,
            source_shards: record.shard_count,
            step: Step::Waiting,
            is_switched: false,
            is_paused: false,
            revision: 0,
            keep_seconds,
            started_at: shared.ports.clock.now().unix_timestamp(),
            switched_at: None,
            shards: Vec::new(),
            list: None,
            together: 0,
            offset: 0,
            documents: 0,
            bytes: 0,
            documents_total: 0,
        };
        let id = reshard.id;
        let book = book.with(reshard);
        self.commit(&[book.change()]).await?;
        shared.step("reshard.started").await;
        tracing::info!(id, index = %uid, shards = shard_count, "an index begins to be cut anew");
        *self.board().book.lock() = book;
        self.board().changed.notify_one();
        Ok(Some(Answer::Started(id)))
    }

    async fn steer_reshard(&mut self, uid: &IndexUid, steering: Steering) -> Served {
        let Some(planned) = self.preparer.indexes.get(uid) else {
            return refused(format!("Index `{uid}` not found."));
        };
        let physical = planned.record.physical.clone();
        let settings = planned.record.settings.clone();
        let nodes = planned.twin.as_ref().map(|twin| {
            let joining = twin.placing.transit.joining();
            joining.map(|(node, _)| node.clone()).collect::<Vec<_>>()
        });
        let Some(reshard) = self.board().of(&physical) else {
            return refused(format!("Index `{uid}` is not being re-sharded."));
        };
        let mut next = reshard.revised();
        match (steering, reshard.step) {
            (Steering::Pause, Step::Waiting | Step::Copying) => next.is_paused = true,
            (Steering::Resume, _) => next.is_paused = false,
            (Steering::Cancel, Step::Waiting) => {
                next = reshard.at(Step::Ended {
                    how: After::Cancelled,
                });
            }
            (Steering::Cancel, Step::Copying) if reshard.is_switched_before() => {
                next = reshard.at(Step::Kept);
            }
            (Steering::Cancel, Step::Copying) => {
                return self.detach_twin(&reshard, After::Cancelled).await;
            }
            (Steering::Back, Step::Kept) => {
                // What of it failed meanwhile a comparison finds, but for vectors.
                let is_spoilt = nodes.iter().flatten().any(|node| {
                    let copy = &self.shared.copy;
                    copy.is_join_spoilt(node, reshard.twin())
                });
                let has_vectors = miroir_core::settings::has_embedders(&settings);
                next = match is_spoilt && has_vectors {
                    true => reshard.afresh(),
                    false => reshard.at(Step::Copying),
                };
            }
            (Steering::Drop, Step::Kept) => {
                return self.detach_twin(&reshard, After::Done).await;
            }
            (Steering::Pause, _) => return refused("Nothing is being copied."),
            (Steering::Cancel, _) => {
                return refused("It is past that: go back, or drop the way back.");
            }
            (Steering::Back | Steering::Drop, _) => {
                return refused("There is no way back that is kept.");
            }
        }
        self.note_reshard(next, Vec::new()).await
    }
}

impl Reshard {
    /// The roles were exchanged once: to give up is to keep what there is.
    pub(super) fn is_switched_before(&self) -> bool {
        self.switched_at.is_some()
    }
}
