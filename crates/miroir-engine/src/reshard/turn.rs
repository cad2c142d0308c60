//! The dispatcher's part in re-shards: it alone knows the order of batches, so it alone says from which
//! batch on there is a twin, and at which the two exchange their roles.

use super::{After, Board, OPEN_MAX, Reshard, Step};
use crate::copy::barrier::{Answer, Piece, Served, Unlike, unlike};
use crate::copy::read::{Replica, Shown};
use crate::dispatcher::Dispatcher;
use crate::error::EngineError;
use crate::placing::{FIRST_EPOCH, Placing};
use crate::plan::Work;
use crate::port::{Change, IndexRecord, NodeSettingsVersion};
use crate::prepare::{PlannedIndex, PlannedTwin};
use crate::state::{IndexEntry, TwinView};
use miroir_core::digest::document_digest;
use miroir_core::hash::shard_of;
use miroir_core::id::{DocumentSeq, Epoch, IndexUid, NodeId, PhysicalIndex, ShardId};
use miroir_core::merge::retagged;
use miroir_core::placement::Transit;
use miroir_core::reserved::{SHARD_COUNT_MAX, shard_tag};
use miroir_core::settings::exact_embedders;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;

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
    /// Copy these documents of the first shard.
    Copy(Reshard, Vec<String>),
    /// Compare these documents at one position, and copy what differs.
    Compare(Reshard, Vec<String>),
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
            | Self::Switch(reshard)
            | Self::Leave(reshard, _)
            | Self::Drop(reshard)
            | Self::End(reshard) => Some(reshard.clone()),
        }
    }
}

fn failed(cause: impl Into<String>) -> Served {
    Ok(Some(Answer::Failed(cause.into())))
}

fn refused(cause: impl Into<String>) -> Served {
    Ok(Some(Answer::Refused(cause.into())))
}

/// The shard of an id among so many.
pub(super) fn shard_among(id: &str, shard_count: u32) -> ShardId {
    shard_of(id, NonZeroU32::new(shard_count).unwrap_or(NonZeroU32::MIN))
}

/// A document of the index that is read, as its twin holds it.
/// Its digest takes in the vectors that clients gave for these embedders.
fn as_twin(
    id: &str,
    shown: &Shown,
    shard_count: u32,
    embedders: &BTreeSet<String>,
) -> Result<Shown, EngineError> {
    let odd = |error: serde_json::Error| EngineError::Answer(error.to_string());
    let tag = shard_tag(shard_among(id, shard_count), shard_count);
    let raw = retagged(&shown.raw, &tag).map_err(odd)?;
    let digest = document_digest(&raw, embedders).map_err(odd)?;
    Ok(Shown { raw, digest })
}

/// All shards join where they lie.
fn joining(sets: &[Vec<NodeId>]) -> Transit {
    let mut transit = Transit::default();
    for (shard, set) in (0..).map(ShardId).zip(sets) {
        for node in set {
            transit.put_joining(shard, node);
        }
    }
    transit
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
            Turn::Switch(reshard) => self.exchange_roles(reshard).await,
            Turn::Leave(reshard, then) => self.detach_twin(reshard, *then).await,
            Turn::Drop(reshard) => self.drop_twin(reshard).await,
            Turn::End(reshard) => self.end_reshard(reshard).await,
        }
    }

    fn board(&self) -> &Board {
        &self.shared.reshards
    }

    async fn note_reshard(&mut self, reshard: Reshard, mut changes: Vec<Change>) -> Served {
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
        if let Some(header) = shared.movement.header()
            && !header.state.is_final()
        {
            return refused("Shards are being moved: wait for the end, or cancel it.");
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

    // -----------------------------------------------------------------------------------------
    // The twin comes

    fn planned_mut(&mut self, index: &PhysicalIndex) -> Option<&mut PlannedIndex> {
        let mut indexes = self.preparer.indexes.values_mut();
        indexes.find(|planned| planned.record.physical == *index)
    }

    /// The index at rest and its twin, of a re-shard that is under way.
    fn pair(&self, reshard: &Reshard) -> Option<(IndexEntry, PlannedTwin)> {
        let planned = self.planned(reshard.main())?;
        let twin = planned.twin.as_ref()?;
        (twin.physical == *reshard.twin()).then(|| (planned.to_entry(), twin.clone()))
    }

    /// Shows readers which twin the index has.
    fn show_twin(&self, index: &PhysicalIndex, twin: Option<TwinView>) {
        let twin = twin.map(Arc::new);
        self.shared.update(|snapshot| {
            let mut indexes = snapshot.indexes.values_mut();
            if let Some(entry) = indexes.find(|entry| entry.record.physical == *index) {
                *entry = Arc::new(IndexEntry::clone(entry).with_twin(twin));
            }
        });
    }

    async fn create_twin(&mut self, reshard: &Reshard) -> Served {
        let shared = self.shared.clone();
        if let Some(header) = shared.movement.header()
            && !header.state.is_final()
        {
            return failed("shards are being moved");
        }
        if shared.is_indexing(reshard.main()) {
            return Ok(None);
        }
        self.preparer.settle(reshard.main());
        let Some(planned) = self.planned(reshard.main()) else {
            let ended = reshard.at(Step::Ended {
                how: After::Cancelled,
            });
            return self.note_reshard(ended, Vec::new()).await;
        };
        let record = planned.record.clone();
        let entry = planned.to_entry();
        let sets = self.preparer.place(
            reshard.twin(),
            reshard.twin_shards(),
            record.replication_factor,
        )?;
        let transit = joining(&sets);
        let mut by_node: BTreeMap<NodeId, BTreeSet<ShardId>> = BTreeMap::new();
        for (node, shards) in transit.joining() {
            if !self.is_fit(node) {
                return failed(format!("node {node} is not in sync"));
            }
            by_node.insert(node.clone(), shards.clone());
        }
        let source = entry.placement.shards().find_map(|shard| {
            let sources = self.sources_of(&entry, shard);
            sources.into_iter().next()
        });
        let Some(source) = source else {
            return failed("no replica is in sync and answers");
        };
        let work = match self.recreation(&entry, &source).await {
            Ok(work) => work,
            Err(cause) => return failed(cause),
        };
        let count = crate::stats::count_documents(&shared, &entry).await;
        let second = Epoch(FIRST_EPOCH.0 + 1);
        let placing = Placing::new(FIRST_EPOCH, Arc::new(sets));
        let twin = PlannedTwin {
            physical: reshard.twin().clone(),
            shard_count: reshard.twin_shards(),
            placing: placing.next(&BTreeMap::new(), transit, second),
        };
        let mut next = reshard.afresh();
        next.documents_total = count.unwrap_or(0);
        let mut changes = twin.placing.changes(&twin.physical).to_vec();
        changes.push(self.board().change(&next));
        for node in by_node.keys() {
            changes.extend(shared.copy.settle_spoilt(node, &twin.physical));
        }
        let pieces = by_node.into_iter();
        let pieces = pieces.map(|(node, shards)| Piece::new(&node, shards, work.clone()));
        let pieces = pieces.collect();
        let twin_entry = twin.view().to_entry(&record);
        self.open_copies(&twin_entry, pieces, changes).await?;
        shared.step("reshard.created").await;
        let view = twin.view();
        if let Some(planned) = self.planned_mut(reshard.main()) {
            planned.twin = Some(twin);
        }
        self.show_twin(reshard.main(), Some(view));
        self.board().put(next);
        Ok(Some(Answer::Done))
    }

    /// In-sync replicas of a shard that answer.
    fn sources_of(&self, entry: &IndexEntry, shard: ShardId) -> Vec<NodeId> {
        self.sources(entry, shard, &NodeId::new(""))
    }

    async fn copy_to_twin(&mut self, reshard: &Reshard, ids: &[String]) -> Served {
        let shared = self.shared.clone();
        let (Some((entry, twin)), Some(shard)) = (self.pair(reshard), reshard.shards.first())
        else {
            return Ok(Some(Answer::Gone));
        };
        if shared.is_indexing(reshard.main()) {
            return Ok(None);
        }
        let mut cause = "no replica is in sync and answers".to_owned();
        for source in self.sources_of(&entry, *shard) {
            let replica = Replica {
                shared: &shared,
                node: &source,
                entry: &entry,
            };
            let shown = match replica.documents(ids).await {
                Ok(shown) => shown,
                Err(error) => {
                    cause = error.to_string();
                    continue;
                }
            };
            let documents = shown.len() as u64;
            let bytes = shown.values().map(|one| one.raw.len() as u64).sum();
            let pieces = self.pieces(&twin, ids, &shown).await?;
            let mut next = reshard.revised();
            next.documents += documents;
            next.bytes += bytes;
            let changes = vec![self.board().change(&next)];
            let twin_entry = twin.view().to_entry(&entry.record);
            self.open_copies(&twin_entry, pieces, changes).await?;
            shared.step("reshard.copied").await;
            let now = shared.ports.clock.monotonic();
            self.board().note_copied(next.id, now, documents, bytes);
            self.board().put(next);
            return Ok(Some(Answer::Copied { documents, bytes }));
        }
        failed(cause)
    }

    /// What brings these documents to the twin as they are shown, and removes those not shown.
    async fn pieces(
        &self,
        twin: &PlannedTwin,
        ids: &[String],
        shown: &BTreeMap<String, Shown>,
    ) -> Result<Vec<Piece>, EngineError> {
        let mut by_node: BTreeMap<NodeId, (BTreeSet<ShardId>, Vec<String>)> = BTreeMap::new();
        for id in ids {
            let shard = shard_among(id, twin.shard_count);
            for node in twin.placing.transit.joiners(shard) {
                let (shards, ids) = by_node.entry(node.clone()).or_default();
                shards.insert(shard);
                ids.push(id.clone());
            }
        }
        let mut pieces = Vec::with_capacity(by_node.len());
        for (node, (shards, ids)) in by_node {
            let mut cut = BTreeMap::new();
            for id in &ids {
                if let Some(shown) = shown.get(id) {
                    let shown = as_twin(id, shown, twin.shard_count, &BTreeSet::new())?;
                    cut.insert(id.clone(), shown);
                }
            }
            let work = self.copy_work(&ids, &cut).await?;
            pieces.push(Piece::new(&node, shards, work));
        }
        Ok(pieces)
    }

    async fn compare_twin(&mut self, reshard: &Reshard, ids: &[String]) -> Served {
        let shared = self.shared.clone();
        let Some((entry, twin)) = self.pair(reshard) else {
            return Ok(Some(Answer::Gone));
        };
        if shared.is_indexing(reshard.main()) {
            return Ok(None);
        }
        let mut of_twin: BTreeMap<NodeId, Vec<String>> = BTreeMap::new();
        let mut of_source: BTreeMap<NodeId, Vec<String>> = BTreeMap::new();
        for id in ids {
            let shard = shard_among(id, entry.record.shard_count);
            let Some(source) = self.sources_of(&entry, shard).into_iter().next() else {
                return failed(format!("no replica of shard {shard} answers"));
            };
            of_source.entry(source).or_default().push(id.clone());
            let shard = shard_among(id, twin.shard_count);
            for node in twin.placing.transit.joiners(shard) {
                of_twin.entry(node.clone()).or_default().push(id.clone());
            }
        }
        for node in of_twin.keys() {
            match shared.copy.owed(&shared, node, reshard.twin()).await {
                Some(0) => {}
                Some(_) => return Ok(None),
                None => return Err(EngineError::ShuttingDown),
            }
        }
        let mut shown = BTreeMap::new();
        for (node, ids) in &of_source {
            let replica = Replica {
                shared: &shared,
                node,
                entry: &entry,
            };
            match replica.documents(ids).await {
                Ok(found) => shown.extend(found),
                Err(error) => return failed(error.to_string()),
            }
        }
        let twin_entry = twin.view().to_entry(&entry.record);
        let embedders = exact_embedders(&entry.record.settings);
        let mut found: Vec<(NodeId, String, Unlike)> = Vec::new();
        for (node, ids) in &of_twin {
            let replica = Replica {
                shared: &shared,
                node,
                entry: &twin_entry,
            };
            let held = match replica.documents(ids).await {
                Ok(held) => held,
                Err(error) => return failed(error.to_string()),
            };
            for id in ids {
                let expected = match shown.get(id) {
                    Some(shown) => Some(as_twin(id, shown, twin.shard_count, &embedders)?),
                    None => None,
                };
                let how = unlike(expected.as_ref(), held.get(id));
                found.extend(how.map(|how| (node.clone(), id.clone(), how)));
            }
        }
        let differing: BTreeSet<String> = found.iter().map(|(_, id, _)| id.clone()).collect();
        if !differing.is_empty() {
            let ids: Vec<String> = differing.into_iter().collect();
            let pieces = self.pieces(&twin, &ids, &shown).await?;
            self.open_copies(&twin_entry, pieces, Vec::new()).await?;
        }
        Ok(Some(Answer::Compared(found)))
    }

    // -----------------------------------------------------------------------------------------
    // The roles

    async fn exchange_roles(&mut self, reshard: &Reshard) -> Served {
        let shared = self.shared.clone();
        if shared.is_indexing(reshard.main()) || shared.is_indexing(reshard.twin()) {
            return Ok(None);
        }
        let Some((_, twin)) = self.pair(reshard) else {
            return Ok(Some(Answer::Gone));
        };
        if let Some(header) = shared.movement.header()
            && !header.state.is_final()
        {
            return failed("shards are being moved");
        }
        {
            // Of each set to come a node in sync stays, whoever decides meanwhile that one leaves.
            let mut coming = shared.movement.coming.lock();
            let mut nodes = twin.placing.transit.joining().map(|(node, _)| node);
            if let Some(node) = nodes.find(|node| !self.is_fit(node)) {
                return failed(format!("node {node} is not in sync"));
            }
            coming.replacing = twin.placing.replica_sets.to_vec();
        }
        let served = self.exchange_claimed(reshard).await;
        shared.movement.coming.lock().replacing.clear();
        served
    }

    async fn exchange_claimed(&mut self, reshard: &Reshard) -> Served {
        let shared = self.shared.clone();
        self.preparer.settle(reshard.main());
        let Some((entry, twin)) = self.pair(reshard) else {
            return Ok(Some(Answer::Gone));
        };
        let nodes: BTreeSet<NodeId> = {
            let joining = twin.placing.transit.joining();
            joining.map(|(node, _)| node.clone()).collect()
        };
        for node in &nodes {
            match shared.copy.owed(&shared, node, reshard.twin()).await {
                Some(0) => {}
                Some(_) => return Ok(None),
                None => return Err(EngineError::ShuttingDown),
            }
        }
        if !entry.placement.transit().is_empty() {
            return failed("what was moved away is not removed yet");
        }
        if let Err(cause) = super::verify::count_alike(&shared, &entry, &twin).await {
            return failed(cause);
        }
        let oldest_of_main = self.oldest_epoch(reshard.main()).await?;
        let oldest_of_twin = self.oldest_epoch(reshard.twin()).await?;
        // Whoever told what is owed has by now noted what failed of it.
        let mut all = nodes.iter();
        if all.any(|node| shared.copy.is_join_spoilt(node, reshard.twin())) {
            return Ok(Some(Answer::Busy));
        }
        let Some(planned) = self.planned(reshard.main()) else {
            return Ok(Some(Answer::Gone));
        };
        let none = BTreeMap::new();
        let old = &planned.placing;
        let beyond = |placing: &Placing| Epoch(placing.epoch.0 + 1);
        let old = old.next(
            &none,
            joining(&old.replica_sets),
            oldest_of_main.unwrap_or(beyond(old)),
        );
        let new = twin.placing.next(
            &none,
            Transit::default(),
            oldest_of_twin.unwrap_or(beyond(&twin.placing)),
        );
        let mut record = planned.record.clone();
        record.physical = reshard.twin().clone();
        record.shard_count = reshard.twin_shards();
        record.epoch = new.epoch;
        // Copies may have been added or taken away beside a way back.
        let mut sizes = new.replica_sets.iter().map(Vec::len);
        let first = sizes.next().unwrap_or(0);
        if sizes.all(|size| size == first) {
            record.replication_factor = u32::try_from(first).unwrap_or(u32::MAX);
        }
        let way_back = PlannedTwin {
            physical: planned.record.physical.clone(),
            shard_count: planned.record.shard_count,
            placing: old,
        };
        let mut next = reshard.at(Step::Kept);
        next.is_switched = !reshard.is_switched;
        next.switched_at = Some(shared.ports.clock.now().unix_timestamp());
        let mut changes = vec![Change::PutIndex(Box::new(record.clone()))];
        changes.extend(new.changes(&record.physical));
        changes.extend(way_back.placing.changes(&way_back.physical));
        changes.push(self.board().change(&next));
        if let Some(version) = record.settings_version
            && planned.patches.is_empty()
        {
            let updated_at = shared.ports.clock.now();
            changes.extend(nodes.into_iter().map(|node| {
                Change::PutNodeSettingsVersion(NodeSettingsVersion {
                    index: record.physical.clone(),
                    node,
                    version,
                    updated_at,
                })
            }));
        }
        self.commit(&changes).await?;
        shared.step("reshard.switched").await;
        self.adopt_roles(reshard.main(), record, new, way_back);
        self.board().put(next);
        Ok(Some(Answer::Done))
    }

    /// From the next batch on, and for every read that begins now, the two have exchanged their roles.
    fn adopt_roles(
        &mut self,
        main: &PhysicalIndex,
        record: IndexRecord,
        placing: Placing,
        way_back: PlannedTwin,
    ) {
        let Some(planned) = self.planned_mut(main) else {
            return;
        };
        planned.record = record;
        planned.placing = placing;
        planned.twin = Some(way_back);
        let entry = planned.to_entry();
        let shared = &self.shared;
        let mut readers = None;
        shared.update(|snapshot| {
            let mut indexes = snapshot.indexes.values_mut();
            if let Some(shown) = indexes.find(|shown| shown.record.physical == *main) {
                readers = Some(shown.readers());
                let record = IndexRecord {
                    physical: entry.record.physical.clone(),
                    shard_count: entry.record.shard_count,
                    replication_factor: entry.record.replication_factor,
                    epoch: entry.record.epoch,
                    ..shown.record.clone()
                };
                *shown = Arc::new(entry.with_record(record));
            }
        });
        if let Some(readers) = readers {
            let now = shared.ports.clock.monotonic();
            shared.movement.note_readers(now, readers);
        }
        tracing::info!(from = %main, "an index is read as it was cut anew");
    }

    // -----------------------------------------------------------------------------------------
    // The twin goes

    async fn detach_twin(&mut self, reshard: &Reshard, then: After) -> Served {
        let next = reshard.at(Step::Leaving { then });
        let change = self.board().change(&next);
        self.commit(&[change]).await?;
        self.shared.step("reshard.detached").await;
        self.forget_twin(next);
        Ok(Some(Answer::Done))
    }

    /// What is stored so holds: batches from here on have no twin.
    fn forget_twin(&mut self, next: Reshard) {
        if let Some(planned) = self.planned_mut(next.main()) {
            planned.twin = None;
        }
        self.show_twin(next.main(), None);
        self.board().put(next);
    }

    /// A node is made anew: the twins that it has a part of are void. What stores that, and what holds
    /// once it is stored.
    pub(crate) fn plan_void_of(&self, node: &NodeId) -> Option<(Change, Vec<Reshard>)> {
        let mut book = self.board().book.lock().clone();
        let mut void = Vec::new();
        for reshard in self.board().open() {
            let twin = self.pair(&reshard).map(|(_, twin)| twin);
            if !twin.is_some_and(|twin| twin.placing.transit.is_at(node)) {
                continue;
            }
            let then = match reshard.switched_at.is_some() {
                true => After::Lost,
                false => After::Again,
            };
            tracing::warn!(%node, index = reshard.index_uid, ?then,
                "the node has lost its part of an index that is being re-sharded");
            let next = reshard.at(Step::Leaving { then });
            book = book.with(next.clone());
            void.push(next);
        }
        (!void.is_empty()).then(|| (book.change(), void))
    }

    /// What [`Dispatcher::plan_void_of`] told is stored.
    pub(crate) fn adopt_void(&mut self, void: Vec<Reshard>) {
        for next in void {
            self.forget_twin(next);
        }
    }

    async fn drop_twin(&mut self, reshard: &Reshard) -> Served {
        let Step::Leaving { then } = reshard.step else {
            return Ok(Some(Answer::Gone));
        };
        let store = self.shared.ports.store.clone();
        let placing = Placing::load(&*store, reshard.twin()).await?;
        let snapshot = self.shared.snapshot.load_full();
        let nodes: BTreeMap<NodeId, BTreeSet<ShardId>> = placing
            .transit
            .joining()
            .filter(|(node, _)| snapshot.nodes.contains_key(*node))
            .map(|(node, shards)| (node.clone(), shards.clone()))
            .collect();
        let next = reshard.at(Step::Dropping { then });
        let change = self.board().change(&next);
        let Some(entry) = self.twin_alone(reshard, &placing) else {
            return failed("its name is not one that Miroir gives");
        };
        let pieces = nodes.into_iter();
        let pieces = pieces.map(|(node, shards)| Piece::new(&node, shards, Work::DropIndex));
        let pieces = pieces.collect();
        self.open_copies(&entry, pieces, vec![change]).await?;
        self.shared.step("reshard.dropped").await;
        self.board().put(next);
        Ok(Some(Answer::Done))
    }

    /// A twin whose index does not know it any more, for the plan that removes it.
    fn twin_alone(&self, reshard: &Reshard, placing: &Placing) -> Option<IndexEntry> {
        let now = self.shared.ports.clock.now();
        let (uid, _) = miroir_core::recover::form_of(reshard.twin())?;
        let twin = TwinView {
            physical: reshard.twin().clone(),
            shard_count: reshard.twin_shards(),
            epoch: placing.epoch,
            transit: placing.transit.clone(),
        };
        Some(twin.to_entry(&IndexRecord {
            uid,
            physical: reshard.twin().clone(),
            primary_key: None,
            shard_count: reshard.twin_shards(),
            replication_factor: 1,
            epoch: placing.epoch,
            settings: serde_json::Map::new(),
            settings_version: None,
            next_seq: DocumentSeq(0),
            changed_by: None,
            created_at: now,
            updated_at: now,
        }))
    }

    async fn end_reshard(&mut self, reshard: &Reshard) -> Served {
        let Step::Dropping { then } = reshard.step else {
            return Ok(Some(Answer::Gone));
        };
        let twin = reshard.twin().clone();
        let placing = Placing::load(&*self.shared.ports.store, &twin).await?;
        let mut changes = vec![Change::RemovePlacement(twin.clone())];
        changes.extend(placing.removal(&twin));
        for (node, _) in placing.transit.joining() {
            changes.extend(self.shared.copy.settle_spoilt(node, &twin));
        }
        let mut book = self.board().book.lock().clone();
        let is_again = then == After::Again && self.planned(reshard.main()).is_some();
        let next = match is_again {
            true => {
                book.cuts += 1;
                let mut next = reshard.at(Step::Waiting);
                next.target = reshard.source.cut_anew(book.cuts);
                next.documents = 0;
                next.bytes = 0;
                next
            }
            false => reshard.at(Step::Ended { how: then }),
        };
        let book = book.with(next);
        changes.push(book.change());
        self.commit(&changes).await?;
        self.shared.step("reshard.ended").await;
        tracing::info!(
            id = reshard.id,
            index = reshard.index_uid,
            ?then,
            "a twin is removed"
        );
        *self.board().book.lock() = book;
        self.board().changed.notify_one();
        Ok(Some(Answer::Done))
    }
}

impl Reshard {
    /// The roles were exchanged once: to give up is to keep what there is.
    pub(super) fn is_switched_before(&self) -> bool {
        self.switched_at.is_some()
    }
}
