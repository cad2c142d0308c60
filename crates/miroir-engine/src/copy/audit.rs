//! Compares replicas of shards, and copies what differs.
//!
//! Two passes. The first reads both replicas at leisure, as digests in buckets of ids; then, of the
//! buckets that differ, the ids. Writes go on meanwhile, so what differs is a suspicion. The second
//! asks the dispatcher to compare the suspects at one position of the log: what differs there, does.
//! Memory is bounded by buckets and by [`SUSPECTS_MAX`], not by documents.

use super::barrier::{Answer, Ask, Unlike};
use super::copier::{HOLD_MAX, HOLD_MIN};
use super::pace::{Pace, rest};
use super::read::{ReadFailure, Replica, Walk};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::state::{IndexEntry, NodeView, Shared};
use miroir_api::admin;
use miroir_core::digest::Buckets;
use miroir_core::id::{IndexUid, NodeId, PhysicalIndex, ShardId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use time::format_description::well_known::Rfc3339;

/// Buckets of a shard.
const BUCKETS: u32 = 1024;
/// Suspects listed at a time.
const SUSPECTS_MAX: u64 = 20_000;
/// Suspects compared at one position: what a node looks up while an index is held back.
const COMPARED_AT_ONCE: usize = 500;
/// Differences that a report lists; the others are counted.
const LISTED_MAX: usize = 1_000;
/// Reports kept.
const REPORTS_MAX: usize = 16;
/// A shard that cannot be compared now is tried so often.
const TRIES: u32 = 5;
/// Between two tries.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Shards known to differ are looked for this often.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// What `GET /_miroir/verify/{job}` shows.
pub(crate) type AuditReport = admin::Verification;

/// Why a comparison did not come to an end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The index is gone.
    Gone,
    /// A replica did not answer, or the index did not come to rest.
    NotNow(String),
    /// The store failed, or the engine shuts down.
    Engine(EngineError),
}

impl From<ReadFailure> for Failure {
    fn from(failure: ReadFailure) -> Self {
        Self::NotNow(failure.to_string())
    }
}

/// A comparison of one shard.
pub(crate) struct Comparison<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) entry: &'a IndexEntry,
    pub(crate) shard: ShardId,
    /// Who is right.
    pub(crate) reference: &'a NodeId,
    /// Who is compared with it.
    pub(crate) nodes: &'a [NodeId],
    /// Nothing speaks for the reference but its place: a document that only one of two has is given
    /// to the other, since what is removed wrongly cannot be had back.
    pub(crate) is_even: bool,
    /// Copy what differs.
    pub(crate) is_repairing: bool,
}

pub(crate) type Found = Vec<(NodeId, String, Unlike)>;

impl Comparison<'_> {
    /// What differs, by node and id.
    pub(crate) async fn run(&self, pace: &mut Pace) -> Result<Found, Failure> {
        let expected = digest(self.shared, self.entry, self.shard, self.reference, pace).await?;
        let mut found = Vec::new();
        for node in self.nodes {
            let held = digest(self.shared, self.entry, self.shard, node, pace).await?;
            let mut differing = expected.differing(&held);
            while !differing.is_empty() {
                let mut part = BTreeSet::new();
                let mut count = 0;
                while let Some(bucket) = differing.last().copied() {
                    count += expected.count_of(bucket) + held.count_of(bucket);
                    if !part.is_empty() && count > SUSPECTS_MAX {
                        break;
                    }
                    differing.pop();
                    part.insert(bucket);
                }
                let suspects = self.suspects(node, &part, pace).await?;
                for ids in suspects.chunks(COMPARED_AT_ONCE) {
                    found.extend(self.confirm(node, ids).await?);
                }
            }
        }
        Ok(found)
    }

    /// The ids in these buckets whose documents seem to differ.
    async fn suspects(
        &self,
        node: &NodeId,
        buckets: &BTreeSet<u32>,
        pace: &mut Pace,
    ) -> Result<Vec<String>, Failure> {
        let mut seen: BTreeMap<String, [Option<u64>; 2]> = BTreeMap::new();
        for (side, node) in [self.reference, node].into_iter().enumerate() {
            let replica = self.replica(node);
            let mut walk = Walk::new(replica, vec![self.shard]);
            while let Some(page) = walk.next().await? {
                for (id, digest) in page.documents {
                    if buckets.contains(&Buckets::bucket_of(&id, BUCKETS)) {
                        seen.entry(id).or_default()[side] = Some(digest);
                    }
                }
                rest(self.shared, pace, 0, page.bytes).await;
            }
        }
        let differs = |sides: &[Option<u64>; 2]| sides[0] != sides[1];
        Ok(seen
            .into_iter()
            .filter(|(_, sides)| differs(sides))
            .map(|(id, _)| id)
            .collect())
    }

    fn replica<'b>(&'b self, node: &'b NodeId) -> Replica<'b> {
        Replica {
            shared: self.shared,
            node,
            entry: self.entry,
        }
    }

    /// Those of the suspects that differ at one position.
    async fn confirm(&self, node: &NodeId, ids: &[String]) -> Result<Found, Failure> {
        let mut hold = HOLD_MIN;
        loop {
            let ask = Ask::Compare {
                index: self.entry.record.physical.clone(),
                shard: self.shard,
                ids: ids.to_vec(),
                reference: self.reference.clone(),
                node: node.clone(),
                is_even: self.is_even,
                is_repairing: self.is_repairing,
            };
            let answer = self.shared.copy.ask(self.shared, ask, hold).await;
            if self.shared.shutdown.is_cancelled() {
                return Err(Failure::Engine(EngineError::ShuttingDown));
            }
            match answer {
                Answer::Compared(found) => return Ok(found),
                Answer::Gone => return Err(Failure::Gone),
                Answer::Failed(cause) => return Err(Failure::NotNow(cause)),
                _ if hold >= HOLD_MAX => {
                    return Err(Failure::NotNow("the index did not come to rest".into()));
                }
                _ => hold = (hold * 2).min(HOLD_MAX),
            }
            self.shared.ports.clock.sleep(RETRY_DELAY).await;
        }
    }
}

async fn digest(
    shared: &Shared,
    entry: &IndexEntry,
    shard: ShardId,
    node: &NodeId,
    pace: &mut Pace,
) -> Result<Buckets, Failure> {
    let replica = Replica {
        shared,
        node,
        entry,
    };
    let mut buckets = Buckets::new(BUCKETS);
    let mut walk = Walk::new(replica, vec![shard]);
    while let Some(page) = walk.next().await? {
        for (id, digest) in &page.documents {
            buckets.add(id, *digest);
        }
        rest(shared, pace, page.documents.len() as u64, page.bytes).await;
        if shared.shutdown.is_cancelled() {
            return Err(Failure::Engine(EngineError::ShuttingDown));
        }
    }
    Ok(buckets)
}

// ---------------------------------------------------------------------------------------------
// Audits

/// Replicas of a shard that can be compared.
fn readable(shared: &Shared, entry: &IndexEntry, shard: ShardId) -> Vec<NodeId> {
    let snapshot = shared.snapshot.load();
    let is_readable = |node: &&NodeId| snapshot.nodes.get(*node).is_some_and(NodeView::is_readable);
    let replicas = entry.placement.replica_set(shard);
    replicas.filter(is_readable).cloned().collect()
}

/// Replicas of a shard that can be compared, with the one that is held to be right first: one of the
/// most that agree, or the first of the replica set if there is no such majority.
async fn order_replicas(
    shared: &Shared,
    entry: &IndexEntry,
    shard: ShardId,
    pace: &mut Pace,
) -> Result<Replicas, Failure> {
    let mut digests = Vec::new();
    for node in readable(shared, entry, shard) {
        let buckets = digest(shared, entry, shard, &node, pace).await?;
        digests.push((node, buckets));
    }
    let agreeing = |buckets: &Buckets| digests.iter().filter(|(_, b)| b == buckets).count();
    let counts: Vec<usize> = digests.iter().map(|(_, b)| agreeing(b)).collect();
    let most = counts.iter().copied().max().unwrap_or(0);
    if let Some(first) = counts.iter().position(|count| *count == most) {
        digests.swap(0, first);
    }
    Ok(Replicas {
        is_even: most * 2 <= digests.len(),
        digests,
    })
}

struct Replicas {
    digests: Vec<(NodeId, Buckets)>,
    /// There is no majority.
    is_even: bool,
}

struct ShardAudit {
    documents: u64,
    replica_count: usize,
    found: Found,
}

async fn audit_shard(
    shared: &Shared,
    entry: &IndexEntry,
    shard: ShardId,
    is_repairing: bool,
    pace: &mut Pace,
) -> Result<ShardAudit, Failure> {
    let Replicas { digests, is_even } = order_replicas(shared, entry, shard, pace).await?;
    let Some(((reference, expected), others)) = digests.split_first() else {
        return Err(Failure::NotNow("no replica can be read".into()));
    };
    let unlike: Vec<NodeId> = others
        .iter()
        .filter(|(_, held)| !expected.differing(held).is_empty())
        .map(|(node, _)| node.clone())
        .collect();
    let found = if unlike.is_empty() {
        Vec::new()
    } else {
        let comparison = Comparison {
            shared,
            entry,
            shard,
            reference,
            nodes: &unlike,
            is_even,
            is_repairing,
        };
        comparison.run(pace).await?
    };
    Ok(ShardAudit {
        documents: expected.count(),
        replica_count: digests.len(),
        found,
    })
}

impl Engine {
    /// Begins a comparison of all replicas of one index, or of all; returns its number.
    ///
    /// # Errors
    /// [`EngineError::IndexNotFound`].
    pub fn verify(
        &self,
        index: Option<&IndexUid>,
        is_repairing: bool,
    ) -> Result<admin::Verification, EngineError> {
        let shared = self.shared_arc();
        if let Some(uid) = index {
            shared.snapshot.load().index(uid)?;
        }
        let report = open_report(&shared, index, is_repairing);
        let job = report.job;
        let index = index.cloned();
        self.spawn(async move { audit(shared, job, index, is_repairing).await });
        Ok(report)
    }

    /// How far a comparison is; `None` if it is not known (any more).
    #[must_use]
    pub fn verification(&self, job: u64) -> Option<admin::Verification> {
        self.shared().copy.book.lock().audits.get(&job).cloned()
    }
}

fn now_text(shared: &Shared) -> String {
    let now = shared.ports.clock.now();
    now.format(&Rfc3339).unwrap_or_default()
}

fn open_report(shared: &Shared, index: Option<&IndexUid>, is_repairing: bool) -> AuditReport {
    let job = shared.copy.next_audit.fetch_add(1, Ordering::Relaxed);
    let report = AuditReport {
        job,
        state: "running".into(),
        index_uid: index.map(ToString::to_string),
        repair: is_repairing,
        started_at: now_text(shared),
        ..AuditReport::default()
    };
    let mut book = shared.copy.book.lock();
    book.audits.insert(job, report.clone());
    while book.audits.len() > REPORTS_MAX {
        book.audits.pop_first();
    }
    report
}

fn update(shared: &Shared, job: u64, change: impl FnOnce(&mut AuditReport)) {
    if let Some(report) = shared.copy.book.lock().audits.get_mut(&job) {
        change(report);
    }
}

async fn audit(shared: Arc<Shared>, job: u64, index: Option<IndexUid>, is_repairing: bool) {
    let mut pace = Pace::default();
    let entries: Vec<Arc<IndexEntry>> = {
        let snapshot = shared.snapshot.load();
        let wanted = |uid: &IndexUid| index.as_ref().is_none_or(|index| index == uid);
        let indexes = snapshot.indexes.iter();
        indexes
            .filter(|(uid, _)| wanted(uid))
            .map(|(_, entry)| entry.clone())
            .collect()
    };
    let shard_count = entries
        .iter()
        .map(|e| u64::from(e.record.shard_count))
        .sum();
    update(&shared, job, |report| report.shards_total = shard_count);
    for entry in entries {
        for shard in (0..entry.record.shard_count).map(ShardId) {
            let result = audit_with_patience(
                &shared,
                &entry.record.physical,
                shard,
                is_repairing,
                &mut pace,
            )
            .await;
            if shared.shutdown.is_cancelled() {
                return;
            }
            update(&shared, job, |report| {
                note_shard(report, &entry, shard, is_repairing, result);
            });
        }
    }
    let now = now_text(&shared);
    update(&shared, job, |report| {
        report.state = if report.skipped.is_empty() {
            "succeeded"
        } else {
            "incomplete"
        }
        .into();
        report.finished_at = Some(now);
        if report.difference_count > 0 {
            tracing::warn!(
                job,
                differences = report.difference_count,
                repaired = report.repaired_count,
                "replicas differed"
            );
        } else {
            tracing::info!(
                job,
                documents = report.documents,
                "replicas were compared and agree"
            );
        }
    });
}

async fn audit_with_patience(
    shared: &Shared,
    index: &PhysicalIndex,
    shard: ShardId,
    is_repairing: bool,
    pace: &mut Pace,
) -> Result<ShardAudit, Failure> {
    let mut cause = String::new();
    for _ in 0..TRIES {
        let entry = {
            let snapshot = shared.snapshot.load();
            let mut indexes = snapshot.indexes.values();
            indexes.find(|e| e.record.physical == *index).cloned()
        };
        let Some(entry) = entry else {
            return Err(Failure::Gone);
        };
        pace.watch(entry.placement.nodes());
        let audited = audit_shard(shared, &entry, shard, is_repairing, pace).await;
        pace.pause();
        match audited {
            Err(Failure::NotNow(why)) => cause = why,
            result => return result,
        }
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return Err(Failure::Engine(EngineError::ShuttingDown)),
            () = shared.ports.clock.sleep(RETRY_DELAY) => {}
        }
    }
    Err(Failure::NotNow(cause))
}

fn note_shard(
    report: &mut AuditReport,
    entry: &IndexEntry,
    shard: ShardId,
    is_repairing: bool,
    result: Result<ShardAudit, Failure>,
) {
    let uid = entry.record.uid.to_string();
    report.shards_done += 1;
    let audit = match result {
        Ok(audit) => audit,
        Err(Failure::Gone) => return,
        Err(Failure::NotNow(cause)) => {
            report
                .skipped
                .push(format!("shard {shard} of {uid}: {cause}"));
            return;
        }
        Err(Failure::Engine(error)) => {
            report
                .skipped
                .push(format!("shard {shard} of {uid}: {error}"));
            return;
        }
    };
    report.documents += audit.documents;
    let replicas = entry.placement.replica_set(shard).count();
    if audit.replica_count < replicas {
        report.skipped.push(format!(
            "shard {shard} of {uid}: {} of {replicas} replicas could be read",
            audit.replica_count
        ));
    }
    report.difference_count += audit.found.len() as u64;
    if is_repairing {
        report.repaired_count += audit.found.len() as u64;
    }
    for (node, id, how) in audit.found {
        if report.differences.len() >= LISTED_MAX {
            break;
        }
        report.differences.push(admin::Difference {
            index_uid: uid.clone(),
            shard: shard.0,
            node: node.to_string(),
            id,
            kind: match how {
                Unlike::Missing => "missing",
                Unlike::Extra => "extra",
                Unlike::Changed => "changed",
            }
            .into(),
        });
    }
}

/// Makes replicas that are known to differ alike, and audits all of them at the interval set; until
/// the engine shuts down.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut pace = Pace::default();
    let mut audited_at = shared.ports.clock.monotonic();
    let mut alike = Alike::new();
    loop {
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return,
            () = shared.ports.clock.sleep(LOOK_INTERVAL) => {}
        }
        let unlike = shared.copy.unlike();
        alike.retain(|(index, _), _| unlike.iter().any(|(other, _)| other == index));
        for (index, shards) in unlike {
            repair(&shared, &index, &shards, &mut alike, &mut pace).await;
        }
        let now = shared.ports.clock.monotonic();
        let is_due = |interval: Duration| now.saturating_sub(audited_at) >= interval;
        if shared.config.copy.audit_interval.is_some_and(is_due) {
            let job = open_report(&shared, None, true).job;
            audit(shared.clone(), job, None, true).await;
            audited_at = shared.ports.clock.monotonic();
        }
    }
}

/// The replicas of shards that were found alike, while others could not be read.
type Alike = BTreeMap<(PhysicalIndex, ShardId), Vec<NodeId>>;

/// Makes alike what can be compared now. A shard is settled when all its replicas were.
async fn repair(
    shared: &Shared,
    index: &PhysicalIndex,
    shards: &BTreeSet<ShardId>,
    alike: &mut Alike,
    pace: &mut Pace,
) {
    let mut settled = BTreeSet::new();
    for shard in shards {
        let entry = shared.shown(index);
        let present = entry.as_ref().map(|entry| readable(shared, entry, *shard));
        let key = (index.clone(), *shard);
        if present.is_some() && alike.get(&key) == present.as_ref() {
            continue;
        }
        let all = entry.map_or(0, |entry| entry.placement.replica_set(*shard).count());
        match audit_with_patience(shared, index, *shard, true, pace).await {
            // Found alike, or gone; what was copied is looked at once more.
            Ok(audit) if audit.found.is_empty() && audit.replica_count >= all => {
                settled.insert(*shard);
            }
            Ok(audit) if audit.found.is_empty() => {
                alike.extend(present.map(|present| (key, present)));
            }
            Ok(audit) => {
                tracing::warn!(%index, %shard, count = audit.found.len(), "replicas were made alike");
            }
            Err(Failure::Gone) => drop(settled.insert(*shard)),
            Err(Failure::NotNow(cause)) => {
                tracing::debug!(%index, %shard, cause, "replicas cannot be compared now");
            }
            Err(Failure::Engine(_)) => return,
        }
    }
    if settled.is_empty() {
        return;
    }
    let change = shared.copy.settle_unlike(index, &settled);
    if let Err(error) = shared.ports.store.commit(vec![change]).await {
        tracing::warn!(%error, "it cannot be stored that replicas are alike; they will be compared again");
    }
}
