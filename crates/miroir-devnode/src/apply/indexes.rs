//! Index tasks: creation, settings, new names, deletion.

use super::{Target, Verdict, one_failed, succeeded};
use crate::batch::Batch;
use crate::error::ApiError;
use crate::shared::Shared;
use crate::store::{BatchEnd, IndexChange};
use crate::task::{QueuedTask, Swap, Work};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

pub(super) fn delete(shared: &Shared, batch: &Batch) -> Result<Verdict, ApiError> {
    let uid = batch.tasks[0].index_uid.as_deref().unwrap_or_default();
    let would_be_created = batch.tasks.iter().any(|task| {
        matches!(
            task.work,
            Work::Documents {
                allow_creation: true,
                ..
            }
        )
    });
    let row = match shared.store.get_index(uid) {
        Some(row) => row,
        None if would_be_created => {
            let tasks = batch
                .tasks
                .iter()
                .map(|task| succeeded(task, Some(0)))
                .collect();
            return Ok(BatchEnd {
                tasks,
                ..BatchEnd::default()
            }
            .into());
        }
        None => return Err(ApiError::index_not_found(uid)),
    };
    let stats = shared
        .engine
        .stats(&row.key)
        .map_err(|error| ApiError::of_batch(uid, error))?;
    let mut end = BatchEnd::default();
    for task in &batch.tasks {
        let count = match task.work {
            Work::IndexDeletion => stats.number_of_documents,
            _ => 0,
        };
        end.tasks.push(succeeded(task, Some(count)));
    }
    end.index_changes.push(IndexChange::Remove(uid.to_owned()));
    Ok(Verdict {
        end,
        dropped_keys: vec![row.key],
        files: Vec::new(),
    })
}

pub(super) fn change_settings(
    shared: &Shared,
    task: &QueuedTask,
    uid: &str,
    patch: &Map<String, Value>,
    allow_creation: bool,
) -> Result<Verdict, ApiError> {
    let target = Target::find_or_create(shared, uid, allow_creation)?;
    match shared.engine.apply_settings(&target.row.key, patch) {
        Ok(()) => {
            let index_changes = vec![target.changed(shared)?];
            let tasks = vec![succeeded(task, None)];
            Ok(BatchEnd {
                tasks,
                index_changes,
                ..BatchEnd::default()
            }
            .into())
        }
        Err(error) => {
            let end = one_failed(task, &ApiError::of_batch(uid, error));
            Ok(target.failed(end).into())
        }
    }
}

pub(super) fn create(
    shared: &Shared,
    task: &QueuedTask,
    uid: &str,
    primary_key: Option<&str>,
) -> Result<Verdict, ApiError> {
    if shared.store.get_index(uid).is_some() {
        return Err(ApiError::new(
            "index_already_exists",
            format!("Index `{uid}` already exists."),
        ));
    }
    let target = Target::create(shared, uid)?;
    if primary_key.is_some() {
        shared
            .engine
            .set_primary_key(&target.row.key, primary_key)
            .map_err(|error| ApiError::of_batch(uid, error))?;
    }
    let index_changes = vec![target.changed(shared)?];
    Ok(BatchEnd {
        tasks: vec![succeeded(task, None)],
        index_changes,
        ..BatchEnd::default()
    }
    .into())
}

pub(super) fn update(
    shared: &Shared,
    task: &QueuedTask,
    uid: &str,
    primary_key: Option<&Option<String>>,
    new_uid: Option<&str>,
) -> Result<Verdict, ApiError> {
    let target = Target::find_or_create(shared, uid, false)?;
    if let Some(new_uid) = new_uid
        && shared.store.get_index(new_uid).is_some()
    {
        return Err(name_is_taken(uid, new_uid));
    }
    if let Some(primary_key) = primary_key {
        shared
            .engine
            .set_primary_key(&target.row.key, primary_key.as_deref())
            .map_err(|error| ApiError::of_batch(uid, error))?;
    }
    let mut index_changes = vec![target.changed(shared)?];
    if let Some(new_uid) = new_uid {
        index_changes.push(IndexChange::Rename(uid.to_owned(), new_uid.to_owned()));
    }
    Ok(BatchEnd {
        tasks: vec![succeeded(task, None)],
        index_changes,
        ..BatchEnd::default()
    }
    .into())
}

pub(super) fn swap(
    shared: &Shared,
    task: &QueuedTask,
    swaps: &[Swap],
) -> Result<Verdict, ApiError> {
    let mut missing = BTreeSet::new();
    for Swap {
        indexes: [one, two],
        rename,
    } in swaps
    {
        let both = [(one, false), (two, *rename)];
        for (uid, is_new_name) in both {
            match shared.store.get_index(uid) {
                None if !is_new_name => {
                    missing.insert(uid.as_str());
                }
                Some(_) if is_new_name => return Err(name_is_taken(one, two)),
                _ => {}
            }
        }
    }
    match missing.iter().copied().collect::<Vec<_>>().as_slice() {
        [] => {}
        [one] => return Err(ApiError::index_not_found(one)),
        many => {
            let names: Vec<String> = many.iter().map(|uid| format!("`{uid}`")).collect();
            return Err(ApiError::new(
                "index_not_found",
                format!("Indexes {} not found.", names.join(", ")),
            ));
        }
    }
    let index_changes = swaps
        .iter()
        .map(
            |Swap {
                 indexes: [one, two],
                 rename,
             }| {
                if *rename {
                    IndexChange::Rename(one.clone(), two.clone())
                } else {
                    IndexChange::Swap(one.clone(), two.clone())
                }
            },
        )
        .collect();
    Ok(BatchEnd {
        tasks: vec![succeeded(task, None)],
        index_changes,
        ..BatchEnd::default()
    }
    .into())
}

fn name_is_taken(old: &str, new: &str) -> ApiError {
    ApiError::new(
        "index_already_exists",
        format!(
            "Cannot rename `{old}` to `{new}` as the index already exists. Hint: You can remove \
             `{new}` first and then do your remove."
        ),
    )
}
