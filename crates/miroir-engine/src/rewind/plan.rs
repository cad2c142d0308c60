//! Which tasks have to be carried out again, and whether the log holds all of them.

use super::refused;
use crate::error::EngineError;
use crate::kept;
use crate::port::{Store, TaskPage, TaskQuery, TaskRecord};
use crate::recover::parse_plan;
use miroir_core::id::{IndexUid, TaskUid};
use miroir_core::task::{Operation, TaskFilter, TaskKind, TaskStatus};
use std::collections::BTreeSet;

/// Tasks read at a time.
const PAGE: usize = 1000;

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    /// The task that made the index.
    pub(super) first: TaskUid,
    /// The primary key with which it was made, if it was made by itself.
    pub(super) primary_key: Option<String>,
    /// What changed it, in order.
    pub(super) steps: Vec<TaskUid>,
}

/// Looks through the log.
///
/// # Errors
/// [`EngineError::Client`], in words for the operator: what is missing.
pub(super) async fn make(
    store: &dyn Store,
    index: &IndexUid,
    to: TaskUid,
) -> Result<Plan, EngineError> {
    if store.load_task(to).await?.is_none() {
        return Err(refused(format!("There is no task {to} in the log.")));
    }
    let name = name_now(store, index, to).await?;
    let (plan, needing_payloads) = history(store, index, &name, to).await?;
    check_log(store, plan.first, to).await?;
    let kept = kept::walk(store, plan.first, to).await?;
    let kept: BTreeSet<TaskUid> = kept.into_iter().map(|payload| payload.task).collect();
    if let Some(task) = needing_payloads.iter().find(|task| !kept.contains(task)) {
        return Err(refused(format!(
            "The log does not reach back to the creation of index `{index}`: the documents of task \
             {task} are no longer kept. How long they are kept says `log_retention`."
        )));
    }
    Ok(plan)
}

/// The operation as it is written into the new index.
pub(super) fn again(operation: Operation) -> Operation {
    match operation {
        // Names are exchanged by the end of the rewind alone.
        Operation::UpdateIndex { primary_key, .. } => Operation::UpdateIndex {
            primary_key,
            new_uid: None,
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
        | Operation::CancelTasks { .. }
        | Operation::DeleteTasks { .. }
        | Operation::CreateDump
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
    let filter = TaskFilter {
        types: Some(vec![TaskKind::IndexSwap, TaskKind::IndexUpdate]),
        statuses: Some(vec![TaskStatus::Succeeded]),
        ..TaskFilter::default()
    };
    let mut exchanging = Vec::new();
    let mut from = Some(TaskUid(to.0.saturating_add(1)));
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
    let oldest_first = newest_first.iter().rev();
    Ok(oldest_first.fold(index.clone(), |name, pairs| exchanged(name, pairs)))
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

/// The tasks since the index was made last, and those of them whose payloads are needed.
async fn history(
    store: &dyn Store,
    index: &IndexUid,
    name: &IndexUid,
    to: TaskUid,
) -> Result<(Plan, Vec<TaskUid>), EngineError> {
    let filter = TaskFilter {
        index_uids: Some(vec![name.as_str().to_owned()]),
        ..TaskFilter::default()
    };
    let mut plan: Option<Plan> = None;
    let mut needing_payloads = Vec::new();
    // A task that changed an index of whose making the log does not tell.
    let mut rootless = None;
    let mut from = Some(TaskUid(0));
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
                plan = None;
                rootless = None;
                needing_payloads.clear();
                continue;
            }
            if plan.is_none() && rootless.is_none() {
                if makes_index(store, &task).await? {
                    plan = Some(Plan {
                        first: task.uid,
                        primary_key: match &task.operation {
                            Operation::CreateIndex { primary_key } => primary_key.clone(),
                            _ => None,
                        },
                        steps: Vec::new(),
                    });
                } else if has_ended_well {
                    rootless = Some(task.uid);
                }
            }
            if let Some(plan) = &mut plan
                && has_ended_well
                && is_step(&task.operation)
            {
                plan.steps.push(task.uid);
                if needs_payload(&task.operation) {
                    needing_payloads.push(task.uid);
                }
            }
        }
    }
    match (plan, rootless) {
        (Some(plan), _) => Ok((plan, needing_payloads)),
        (None, Some(task)) => Err(refused(format!(
            "The log does not reach back to the creation of index `{index}`: the first task it \
             holds of it is {task}, and the index was there before."
        ))),
        (None, None) => Err(EngineError::Client {
            code: "index_not_found",
            message: format!("There was no index `{index}` at task {to}."),
        }),
    }
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
