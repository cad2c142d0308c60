//! Which tasks have to be carried out again, on top of what, and whether the log holds all of them.

use super::record::Base;
use super::refused;
use crate::error::EngineError;
use crate::kept;
use crate::port::{Store, TaskPage, TaskQuery, TaskRecord};
use crate::recover::parse_plan;
use miroir_core::id::{IndexUid, TaskUid};
use miroir_core::task::{Operation, TaskFilter, TaskKind, TaskStatus};
use std::collections::{BTreeMap, BTreeSet};

/// Tasks read at a time.
const PAGE: usize = 1000;

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    /// What it begins with.
    pub(super) base: Base,
    /// What changed it since, in order.
    pub(super) steps: Vec<TaskUid>,
    /// The size of the payloads of these.
    pub(super) bytes: u64,
}

/// The task up to which an index is wanted.
///
/// # Errors
/// [`EngineError::Client`] if the log does not know it.
pub(super) async fn check_known(store: &dyn Store, to: TaskUid) -> Result<(), EngineError> {
    match store.load_task(to).await? {
        Some(_) => Ok(()),
        None => Err(refused(format!("There is no task {to} in the log."))),
    }
}

/// Looks through the log for the whole history of an index, from the task that made it on.
///
/// # Errors
/// [`EngineError::Client`], in words for the operator: what is missing.
pub(super) async fn from_creation(
    store: &dyn Store,
    index: &IndexUid,
    to: TaskUid,
) -> Result<Plan, EngineError> {
    let name = name_now(store, index, to).await?;
    match history(store, &name, None, to).await? {
        History::Known(base, tasks) => complete(store, index, base, tasks, to).await,
        History::Rootless(task) => Err(refused(format!(
            "The log does not reach back to the creation of index `{index}`: the first task it \
             holds of it is {task}, and the index was there before."
        ))),
        History::None => Err(no_index(index, to)),
    }
}

/// Looks through the log for what became of an index after a dump was written. `base` is what the dump
/// holds of it, if anything.
///
/// # Errors
/// As [`from_creation`].
pub(super) async fn from_dump(
    store: &dyn Store,
    index: &IndexUid,
    behind: TaskUid,
    base: Option<Base>,
    to: TaskUid,
) -> Result<Plan, EngineError> {
    check_log(store, behind, to).await?;
    let name = name_now(store, index, to).await?;
    match history(store, &name, Some((behind, base)), to).await? {
        History::Known(base, tasks) => complete(store, index, base, tasks, to).await,
        History::Rootless(task) => Err(refused(format!(
            "The dump does not hold index `{index}`, which task {task} found."
        ))),
        History::None => Err(no_index(index, to)),
    }
}

/// The same plan once more, from what is stored of it.
///
/// # Errors
/// As [`from_creation`], if the log no longer holds it.
pub(super) async fn again(
    store: &dyn Store,
    index: &IndexUid,
    base: &Base,
    to: TaskUid,
) -> Result<Plan, EngineError> {
    let plan = match base {
        Base::Creation { .. } => from_creation(store, index, to).await?,
        Base::Dump { task, .. } => from_dump(store, index, *task, Some(base.clone()), to).await?,
    };
    if plan.base != *base {
        return Err(refused(format!(
            "The log no longer tells the same of index `{index}`."
        )));
    }
    Ok(plan)
}

fn no_index(index: &IndexUid, to: TaskUid) -> EngineError {
    EngineError::Client {
        code: "index_not_found",
        message: format!("There was no index `{index}` at task {to}."),
    }
}

/// The log holds all that is needed.
async fn complete(
    store: &dyn Store,
    index: &IndexUid,
    base: Base,
    tasks: Tasks,
    to: TaskUid,
) -> Result<Plan, EngineError> {
    let first = base.task();
    check_log(store, first, to).await?;
    let wanted: BTreeSet<TaskUid> = tasks.needing_payloads.iter().copied().collect();
    let kept = kept::walk(store, first, to).await?;
    let kept: BTreeMap<TaskUid, u64> = kept
        .into_iter()
        .filter(|payload| wanted.contains(&payload.task))
        .map(|payload| (payload.task, payload.bytes))
        .collect();
    if let Some(task) = wanted.iter().find(|task| !kept.contains_key(task)) {
        let lacking = format!("the documents of task {task} are no longer kept");
        return Err(refused(match &base {
            Base::Creation { .. } => format!(
                "The log does not reach back to the creation of index `{index}`: {lacking}. How \
                 long they are kept says `log_retention`."
            ),
            Base::Dump { uid, .. } => format!(
                "The log does not reach back to the dump {uid}: {lacking}. How long they are kept \
                 says `log_retention`."
            ),
        }));
    }
    Ok(Plan {
        base,
        steps: tasks.steps,
        bytes: kept.values().sum(),
    })
}

/// The operation as it is written into the new index.
pub(super) fn repeated(operation: Operation) -> Operation {
    match operation {
        // Names are exchanged by the end of the rewind alone.
        Operation::UpdateIndex { primary_key, .. } => Operation::UpdateIndex {
            primary_key,
            new_uid: None,
        },
        // Should somebody remove what is being built, the rest of it must not stand as the whole.
        Operation::AddDocuments {
            method,
            primary_key,
            skip_creation,
            may_create_index: _,
            document_count,
        } => Operation::AddDocuments {
            method,
            primary_key,
            skip_creation,
            may_create_index: false,
            document_count,
        },
        Operation::UpdateSettings {
            settings, is_reset, ..
        } => Operation::UpdateSettings {
            settings,
            is_reset,
            may_create_index: false,
        },
        other => other,
    }
}

/// It comes with documents or ids.
pub(super) fn has_payload(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::AddDocuments { .. } | Operation::DeleteDocuments { .. }
    )
}

/// It came with some.
fn needs_payload(operation: &Operation) -> bool {
    match operation {
        Operation::AddDocuments { document_count, .. } => *document_count > 0,
        Operation::DeleteDocuments { id_count } => *id_count > 0,
        _ => false,
    }
}

/// It changed what the index holds.
fn is_step(operation: &Operation) -> bool {
    match operation {
        Operation::AddDocuments { .. }
        | Operation::DeleteDocuments { .. }
        | Operation::DeleteByFilter { .. }
        | Operation::DeleteAllDocuments
        | Operation::EditDocuments { .. }
        | Operation::UpdateSettings { .. } => true,
        Operation::UpdateIndex { primary_key, .. } => primary_key.is_some(),
        Operation::CreateIndex { .. }
        | Operation::DeleteIndex
        | Operation::SwapIndexes { .. }
        | Operation::CompactIndex
        | Operation::UpdateRule { .. }
        | Operation::DeleteRule { .. }
        | Operation::ClearRules
        | Operation::CancelTasks { .. }
        | Operation::DeleteTasks { .. }
        | Operation::CreateDump
        | Operation::CreateSnapshot
        | Operation::Export { .. } => false,
    }
}

async fn page(
    store: &dyn Store,
    filter: &TaskFilter,
    from: TaskUid,
) -> Result<TaskPage, EngineError> {
    let query = TaskQuery {
        filter: filter.clone(),
        from: Some(from),
        limit: PAGE,
        is_reversed: true,
    };
    Ok(store.list_tasks(query).await?)
}

/// The name under which the log now lists the tasks of the index that had this one at a task. Names
/// that were exchanged since took the tasks before with them.
async fn name_now(
    store: &dyn Store,
    index: &IndexUid,
    to: TaskUid,
) -> Result<IndexUid, EngineError> {
    let newest_first = exchanges_since(store, to).await?;
    let oldest_first = newest_first.iter().rev();
    Ok(oldest_first.fold(index.clone(), |name, pairs| exchanged(name, pairs)))
}

/// The name that an index had at one task, by the one that it had at a later one.
///
/// # Errors
/// The store failed.
pub(super) async fn name_then(
    store: &dyn Store,
    index: &IndexUid,
    later: TaskUid,
    earlier: TaskUid,
) -> Result<IndexUid, EngineError> {
    let now = name_now(store, index, later).await?;
    let newest_first = exchanges_since(store, earlier).await?;
    Ok(newest_first
        .iter()
        .fold(now, |name, pairs| exchanged(name, pairs)))
}

/// The pairs of names that were exchanged behind a task, the newest first.
async fn exchanges_since(
    store: &dyn Store,
    task: TaskUid,
) -> Result<Vec<Vec<(IndexUid, IndexUid)>>, EngineError> {
    let filter = TaskFilter {
        types: Some(vec![TaskKind::IndexSwap, TaskKind::IndexUpdate]),
        statuses: Some(vec![TaskStatus::Succeeded]),
        ..TaskFilter::default()
    };
    let mut exchanging = Vec::new();
    let mut from = Some(TaskUid(task.0.saturating_add(1)));
    while let Some(first) = from {
        let found = page(store, &filter, first).await?;
        from = found.next;
        exchanging.extend(found.tasks);
    }
    // A renaming is listed under its index's name of today: those behind it are undone, the newest
    // first, to learn the name of then.
    let mut newest_first: Vec<Vec<(IndexUid, IndexUid)>> = Vec::new();
    for task in exchanging.into_iter().rev() {
        let pairs = match (task.operation, task.index_uid) {
            (Operation::SwapIndexes { swaps }, _) => {
                swaps.into_iter().map(|swap| swap.indexes).collect()
            }
            (
                Operation::UpdateIndex {
                    new_uid: Some(new), ..
                },
                Some(listed),
            ) => {
                let then = newest_first
                    .iter()
                    .fold(listed, |name, pairs| exchanged(name, pairs));
                vec![(then, new)]
            }
            _ => continue,
        };
        newest_first.push(pairs);
    }
    Ok(newest_first)
}

fn exchanged(name: IndexUid, pairs: &[(IndexUid, IndexUid)]) -> IndexUid {
    pairs.iter().fold(name, |name, (first, second)| {
        if name == *first {
            second.clone()
        } else if name == *second {
            first.clone()
        } else {
            name
        }
    })
}

/// What changed an index, in order.
#[derive(Debug, Default)]
struct Tasks {
    steps: Vec<TaskUid>,
    needing_payloads: Vec<TaskUid>,
}

enum History {
    /// What it began with last, and what came then.
    Known(Base, Tasks),
    /// This task changed an index of whose making nothing is known.
    Rootless(TaskUid),
    /// There was no such index.
    None,
}

/// The tasks since the index was made last, or since a task behind which it was as given.
async fn history(
    store: &dyn Store,
    name: &IndexUid,
    since: Option<(TaskUid, Option<Base>)>,
    to: TaskUid,
) -> Result<History, EngineError> {
    let filter = TaskFilter {
        index_uids: Some(vec![name.as_str().to_owned()]),
        ..TaskFilter::default()
    };
    let first = match &since {
        Some((behind, _)) => TaskUid(behind.0.saturating_add(1)),
        None => TaskUid(0),
    };
    let mut base = since.and_then(|(_, base)| base);
    let mut tasks = Tasks::default();
    let mut rootless = None;
    let mut from = Some(first);
    while let Some(first) = from {
        let found = page(store, &filter, first).await?;
        from = found.next;
        for task in found.tasks {
            if task.uid > to {
                from = None;
                break;
            }
            let has_ended_well = task.status == TaskStatus::Succeeded;
            if has_ended_well && task.operation == Operation::DeleteIndex {
                base = None;
                rootless = None;
                tasks = Tasks::default();
                continue;
            }
            if base.is_none() && rootless.is_none() {
                if makes_index(store, &task).await? {
                    base = Some(Base::Creation {
                        task: task.uid,
                        primary_key: match &task.operation {
                            Operation::CreateIndex { primary_key } => primary_key.clone(),
                            _ => None,
                        },
                    });
                } else if has_ended_well {
                    rootless = Some(task.uid);
                }
            }
            if base.is_some() && has_ended_well && is_step(&task.operation) {
                tasks.steps.push(task.uid);
                if needs_payload(&task.operation) {
                    tasks.needing_payloads.push(task.uid);
                }
            }
        }
    }
    Ok(match (base, rootless) {
        (Some(base), _) => History::Known(base, tasks),
        (None, Some(task)) => History::Rootless(task),
        (None, None) => History::None,
    })
}

/// The index was made by the batch of this task: also by one that failed then.
async fn makes_index(store: &dyn Store, task: &TaskRecord) -> Result<bool, EngineError> {
    let is_done = matches!(task.status, TaskStatus::Succeeded | TaskStatus::Failed);
    let Some(uid) = task.batch_uid.filter(|_| is_done) else {
        // Brought along by a dump, or withdrawn.
        return Ok(false);
    };
    let Some(batch) = store.load_batch(uid).await? else {
        return Ok(false);
    };
    if batch.plan.is_null() {
        return Ok(false);
    }
    Ok(parse_plan(&batch)?.creation.is_some())
}

/// Every entry from the first to the last is in the log and has ended: one that was deleted may have
/// been of this index.
async fn check_log(store: &dyn Store, first: TaskUid, to: TaskUid) -> Result<(), EngineError> {
    let mut expected = first;
    let mut from = Some(first);
    while let Some(next) = from {
        let found = page(store, &TaskFilter::default(), next).await?;
        from = found.next;
        for task in found.tasks {
            if expected > to {
                return Ok(());
            }
            if task.uid != expected {
                return Err(refused(format!(
                    "Task {expected} is no longer in the log: it was deleted, and may have changed \
                     the index."
                )));
            }
            if !task.status.is_final() {
                return Err(refused(format!("Task {expected} has not ended yet.")));
            }
            expected = TaskUid(expected.0 + 1);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(name: &str) -> IndexUid {
        IndexUid::new(name).expect("a valid uid")
    }

    #[test]
    fn names_that_trade_places_are_followed() {
        let pairs = [(uid("a"), uid("b")), (uid("b"), uid("c"))];
        assert_eq!(exchanged(uid("a"), &pairs), uid("c"));
        assert_eq!(exchanged(uid("b"), &pairs), uid("a"));
        assert_eq!(exchanged(uid("x"), &pairs), uid("x"));
    }
}
