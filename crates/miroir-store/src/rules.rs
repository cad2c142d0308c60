//! The decisions that every store takes alike, as functions of values. A store loads what is there,
//! asks here, and writes the answer.

use miroir_core::id::{IndexUid, TaskUid};
use miroir_core::summary::BatchSummary;
use miroir_core::task::{Operation, TaskFilter, TaskKind, TaskStatus, is_index_matched};
use miroir_engine::coordination::{
    AliasChange, AliasTarget, JobClaim, JobEnd, JobRecord, JobState, Lease, LeaseEpoch,
    LeaseOutcome, NewJob, SessionRecord,
};
use miroir_engine::port::{
    BatchInfo, BatchRecord, INLINE_PAYLOAD_BYTES_MAX, KeptPayload, NewEntry, Payload, PayloadRef,
    StoreError, TaskRecord, Timestamp,
};
use serde_json::Value;

/// The record that a new entry becomes.
pub(crate) fn new_task(uid: TaskUid, entry: NewEntry) -> Result<TaskRecord, StoreError> {
    let (inline_payload, payload) = match entry.payload {
        None => (None, None),
        Some(Payload::Inline(bytes)) if bytes.len() > INLINE_PAYLOAD_BYTES_MAX => {
            return Err(StoreError::Conflict(format!(
                "a payload of {} bytes is too large for the log",
                bytes.len()
            )));
        }
        Some(Payload::Inline(bytes)) => (Some(bytes), None),
        Some(Payload::Stored(payload)) => (None, Some(payload)),
    };
    Ok(TaskRecord {
        uid,
        batch_uid: None,
        details: entry.operation.initial_details(entry.index_uid.as_ref()),
        index_uid: entry.index_uid,
        status: miroir_core::task::TaskStatus::Enqueued,
        operation: entry.operation,
        inline_payload,
        payload,
        canceled_by: None,
        error: None,
        custom_metadata: entry.custom_metadata,
        enqueued_at: entry.enqueued_at,
        started_at: None,
        finished_at: None,
    })
}

/// The record that a task of another log becomes: final, and in no batch of this one.
pub(crate) fn past_task(task: &TaskRecord) -> Result<TaskRecord, StoreError> {
    if !task.status.is_final() {
        return Err(StoreError::Conflict(format!(
            "the task {} is not final",
            task.uid
        )));
    }
    Ok(TaskRecord {
        batch_uid: None,
        inline_payload: None,
        payload: None,
        ..task.clone()
    })
}

/// The payload of a task that is final, if it still has one.
pub(crate) fn kept_payload(task: &TaskRecord) -> Option<KeptPayload> {
    let bytes = match (&task.payload, &task.inline_payload) {
        (Some(PayloadRef::File { bytes, .. }), _) => *bytes,
        (None, Some(inline)) => inline.len() as u64,
        (None, None) => return None,
    };
    let finished_at = task.finished_at.filter(|_| task.status.is_final())?;
    Some(KeptPayload {
        task: task.uid,
        finished_at,
        bytes,
        file: task.payload.clone(),
    })
}

/// The task matches the filter. A task without an index, batch or moment does not match a filter
/// that speaks of one.
pub(crate) fn task_matches(task: &TaskRecord, filter: &TaskFilter) -> bool {
    fn among<T: PartialEq>(wanted: Option<&[T]>, value: Option<&T>) -> bool {
        wanted.is_none_or(|wanted| value.is_some_and(|value| wanted.contains(value)))
    }
    let index_uid = task.index_uid.as_ref().map(|uid| uid.as_str().to_owned());
    among(filter.uids.as_deref(), Some(&task.uid.0))
        && among(
            filter.batch_uids.as_deref(),
            task.batch_uid.map(|uid| uid.0).as_ref(),
        )
        && among(
            filter.canceled_by.as_deref(),
            task.canceled_by.map(|uid| uid.0).as_ref(),
        )
        && among(filter.types.as_deref(), Some(&task.operation.kind()))
        && among(filter.statuses.as_deref(), Some(&task.status))
        && among(filter.index_uids.as_deref(), index_uid.as_ref())
        && filter.index_patterns.as_ref().is_none_or(|patterns| {
            let is_matched = |uid: &String| patterns.iter().any(|p| is_index_matched(p, uid));
            index_uid.as_ref().is_some_and(is_matched)
        })
        && is_between(
            filter.after_enqueued_at,
            filter.before_enqueued_at,
            Some(task.enqueued_at),
        )
        && is_between(
            filter.after_started_at,
            filter.before_started_at,
            task.started_at,
        )
        && is_between(
            filter.after_finished_at,
            filter.before_finished_at,
            task.finished_at,
        )
}

/// Exchanges two names in a task's index; `false` if it has neither.
pub(crate) fn exchange_uid(uid: &mut Option<IndexUid>, names: &(IndexUid, IndexUid)) -> bool {
    let other = match uid.as_ref() {
        Some(uid) if *uid == names.0 => &names.1,
        Some(uid) if *uid == names.1 => &names.0,
        _ => return false,
    };
    *uid = Some(other.clone());
    true
}

/// Exchanges two names in what an index swap shows; `false` if nothing changed.
pub(crate) fn exchange_details(
    operation: &Operation,
    details: &mut Value,
    names: &(IndexUid, IndexUid),
) -> bool {
    let mut is_changed = false;
    if !matches!(operation, Operation::SwapIndexes { .. }) {
        return is_changed;
    }
    let swaps = details.get_mut("swaps").and_then(Value::as_array_mut);
    let pairs = swaps.into_iter().flatten();
    let shown = pairs.filter_map(|pair| pair.get_mut("indexes").and_then(Value::as_array_mut));
    for name in shown.flatten() {
        let other = match name.as_str() {
            Some(text) if text == names.0.as_str() => &names.1,
            Some(text) if text == names.1.as_str() => &names.0,
            _ => continue,
        };
        *name = Value::from(other.as_str());
        is_changed = true;
    }
    is_changed
}

/// The moment lies between two exclusive bounds; one that is not there lies between none.
fn is_between(after: Option<i64>, before: Option<i64>, moment: Option<Timestamp>) -> bool {
    if after.is_none() && before.is_none() {
        return true;
    }
    let Some(moment) = moment else { return false };
    let nanos = moment.unix_timestamp_nanos();
    after.is_none_or(|after| nanos > i128::from(after))
        && before.is_none_or(|before| nanos < i128::from(before))
}

/// The batch matches the filter: for each thing it speaks of, one of the batch's tasks that are in
/// sight does. The moments of start and end are the batch's own; *canceled by* means the batch of
/// that cancelation.
pub(crate) fn batch_matches(
    batch: &BatchRecord,
    tasks: &[&TaskRecord],
    filter: &TaskFilter,
) -> bool {
    let any = |part: TaskFilter| tasks.iter().any(|task| task_matches(task, &part));
    let none = TaskFilter::default;
    let parts = [
        filter.index_patterns.is_some().then(none),
        filter.uids.clone().map(|uids| TaskFilter {
            uids: Some(uids),
            ..none()
        }),
        filter.canceled_by.clone().map(|uids| TaskFilter {
            uids: Some(uids),
            types: Some(vec![TaskKind::TaskCancelation]),
            statuses: Some(vec![TaskStatus::Succeeded]),
            ..none()
        }),
        filter.types.clone().map(|types| TaskFilter {
            types: Some(types),
            ..none()
        }),
        filter.statuses.clone().map(|statuses| TaskFilter {
            statuses: Some(statuses),
            ..none()
        }),
        filter.index_uids.clone().map(|index_uids| TaskFilter {
            index_uids: Some(index_uids),
            ..none()
        }),
        (filter.before_enqueued_at.is_some() || filter.after_enqueued_at.is_some()).then(|| {
            TaskFilter {
                before_enqueued_at: filter.before_enqueued_at,
                after_enqueued_at: filter.after_enqueued_at,
                ..none()
            }
        }),
    ];
    let own = filter.batch_uids.as_ref();
    own.is_none_or(|uids| uids.contains(&batch.uid.0))
        && is_between(
            filter.after_started_at,
            filter.before_started_at,
            Some(batch.started_at),
        )
        && is_between(
            filter.after_finished_at,
            filter.before_finished_at,
            batch.finished_at,
        )
        && parts.into_iter().flatten().all(|part| {
            any(TaskFilter {
                index_patterns: filter.index_patterns.clone(),
                ..part
            })
        })
}

/// The batch as it is listed, with those of its tasks (in log order) that are in sight.
pub(crate) fn batch_info(
    batch: &BatchRecord,
    tasks: &[&TaskRecord],
    patterns: Option<&[String]>,
) -> BatchInfo {
    let sight = TaskFilter {
        index_patterns: patterns.map(<[String]>::to_vec),
        ..TaskFilter::default()
    };
    let mut summary = BatchSummary::default();
    for task in tasks.iter().filter(|task| task_matches(task, &sight)) {
        let index_uid = task.index_uid.as_ref().map(|uid| uid.as_str());
        summary.add(task.status, task.operation.kind(), index_uid, &task.details);
    }
    let deliveries = batch.deliveries.values();
    BatchInfo {
        uid: batch.uid,
        started_at: batch.started_at,
        finished_at: batch.finished_at,
        node_count: batch.deliveries.len() as u64,
        applied_count: deliveries.filter(|delivery| delivery.is_applied).count() as u64,
        summary,
    }
}

/// The batch still needs work: its tasks are not final, or some node has not applied it.
pub(crate) fn is_open(batch: &BatchRecord) -> bool {
    !batch.is_done
        || batch
            .deliveries
            .values()
            .any(|delivery| !delivery.is_applied)
}

/// The conflict of a change that speaks of what is not there.
pub(crate) fn missing(what: &str, name: impl std::fmt::Display) -> StoreError {
    StoreError::Conflict(format!("there is no {what} {name}"))
}

/// The conflict of a change that adds what is there.
pub(crate) fn taken(what: &str, name: impl std::fmt::Display) -> StoreError {
    StoreError::Conflict(format!("there is a {what} {name} already"))
}

/// What an attempt to take the lease comes to. [`LeaseOutcome::Held`] is to be written.
pub(crate) fn acquire_lease(
    current: Option<Lease>,
    holder: &str,
    now: Timestamp,
    expires_at: Timestamp,
) -> LeaseOutcome {
    let held = |epoch| Lease {
        holder: Some(holder.to_owned()),
        epoch,
        expires_at,
    };
    match current {
        None => LeaseOutcome::Held(held(LeaseEpoch(1))),
        Some(lease) if !lease.is_live(now) => {
            LeaseOutcome::Held(held(LeaseEpoch(lease.epoch.0 + 1)))
        }
        Some(lease) if lease.holder.as_deref() == Some(holder) => {
            LeaseOutcome::Held(held(lease.epoch))
        }
        Some(lease) => LeaseOutcome::Taken(lease),
    }
}

/// The lease after a renewal.
pub(crate) fn renew_lease(
    current: Option<Lease>,
    holder: &str,
    epoch: LeaseEpoch,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<Lease, StoreError> {
    match current {
        Some(lease) if lease.is_live(now) && is_term(&lease, holder, epoch) => Ok(Lease {
            expires_at,
            ..lease
        }),
        _ => Err(StoreError::Conflict(format!(
            "the term {} of `{holder}` is not the live one",
            epoch.0
        ))),
    }
}

/// The lease after a release, if that changes it.
pub(crate) fn release_lease(
    current: Option<Lease>,
    holder: &str,
    epoch: LeaseEpoch,
) -> Option<Lease> {
    let lease = current.filter(|lease| is_term(lease, holder, epoch))?;
    Some(Lease {
        holder: None,
        ..lease
    })
}

fn is_term(lease: &Lease, holder: &str, epoch: LeaseEpoch) -> bool {
    lease.epoch == epoch && lease.holder.as_deref() == Some(holder)
}

/// The record of a new job.
pub(crate) fn new_job(job: NewJob, now: Timestamp) -> JobRecord {
    JobRecord {
        id: job.id,
        kind: job.kind,
        params: job.params,
        state: JobState::Queued,
        claim: None,
        progress: Value::Null,
        error: None,
        created_at: now,
        updated_at: now,
    }
}

/// Anybody may claim the job.
pub(crate) fn is_claimable(job: &JobRecord, now: Timestamp) -> bool {
    match job.state {
        JobState::Queued => true,
        JobState::Running => job
            .claim
            .as_ref()
            .is_none_or(|claim| claim.expires_at <= now),
        JobState::Succeeded | JobState::Failed | JobState::Canceled => false,
    }
}

/// The job once `holder` claimed it.
pub(crate) fn claim_job(
    job: JobRecord,
    holder: &str,
    now: Timestamp,
    expires_at: Timestamp,
) -> JobRecord {
    let claim = Some(JobClaim {
        holder: holder.to_owned(),
        expires_at,
    });
    JobRecord {
        state: JobState::Running,
        claim,
        updated_at: now,
        ..job
    }
}

/// The job once its claim was extended.
pub(crate) fn renew_job(
    job: JobRecord,
    holder: &str,
    progress: Value,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<JobRecord, StoreError> {
    check_claim(&job, holder, now)?;
    Ok(JobRecord {
        progress,
        ..claim_job(job, holder, now, expires_at)
    })
}

/// The job once it ended.
pub(crate) fn finish_job(
    job: JobRecord,
    holder: &str,
    end: JobEnd,
    now: Timestamp,
) -> Result<JobRecord, StoreError> {
    check_claim(&job, holder, now)?;
    let (state, error) = match end {
        JobEnd::Succeeded => (JobState::Succeeded, None),
        JobEnd::Failed(error) => (JobState::Failed, Some(error)),
    };
    Ok(JobRecord {
        state,
        error,
        updated_at: now,
        ..job
    })
}

/// The job once it was withdrawn; unchanged if it has ended.
pub(crate) fn cancel_job(job: JobRecord, now: Timestamp) -> JobRecord {
    if job.state.is_final() {
        return job;
    }
    JobRecord {
        state: JobState::Canceled,
        updated_at: now,
        ..job
    }
}

/// Refuses to forget a job that has not ended.
pub(crate) fn check_removable(job: &JobRecord) -> Result<(), StoreError> {
    if job.state.is_final() {
        return Ok(());
    }
    Err(StoreError::Conflict(format!(
        "the job `{}` has not ended",
        job.id
    )))
}

fn check_claim(job: &JobRecord, holder: &str, now: Timestamp) -> Result<(), StoreError> {
    let is_ours = job.state == JobState::Running
        && job
            .claim
            .as_ref()
            .is_some_and(|claim| claim.holder == holder && now < claim.expires_at);
    if is_ours {
        return Ok(());
    }
    Err(StoreError::Conflict(format!(
        "`{holder}` has no live claim on the job `{}`",
        job.id
    )))
}

/// What is kept of a session, given what was kept before.
pub(crate) fn merge_session(
    old: Option<SessionRecord>,
    new: SessionRecord,
    now: Timestamp,
) -> SessionRecord {
    let old_min_task = old
        .filter(|old| now < old.expires_at)
        .and_then(|old| old.min_task);
    SessionRecord {
        min_task: old_min_task.max(new.min_task),
        ..new
    }
}

/// The next state of an alias, given its latest one (`None`: it never was).
pub(crate) fn change_alias(
    latest: Option<&AliasChange>,
    target: Option<AliasTarget>,
    expected: Option<u64>,
    now: Timestamp,
) -> Result<AliasChange, StoreError> {
    let found = latest
        .filter(|latest| latest.target.is_some())
        .map_or(0, |latest| latest.version);
    if let Some(expected) = expected
        && expected != found
    {
        return Err(StoreError::Conflict(format!(
            "the alias has version {found}, not {expected}"
        )));
    }
    let version = latest.map_or(0, |latest| latest.version) + 1;
    Ok(AliasChange {
        version,
        target,
        changed_at: now,
    })
}
