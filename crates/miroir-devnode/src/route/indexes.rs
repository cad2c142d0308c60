//! Indexes: list, create, show, change, remove, swap.

use crate::clock::to_rfc3339;
use crate::error::ApiError;
use crate::http::object::wrong_type;
use crate::http::{Call, Object, check_index_uid};
use crate::route::{Answer, accepted, ok, page};
use crate::store::IndexRow;
use crate::task::{Submission, Swap, Work};
use axum::extract::Path;
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub(super) async fn list(call: Call) -> Answer {
    let permit = call.authorize("indexes.get", None)?;
    let query = call.query(&["offset", "limit"])?;
    let offset = query.usize_or("offset", 0, "invalid_index_offset")?;
    let limit = query.usize_or("limit", 20, "invalid_index_limit")?;
    let indexes = call.shared.store.get_indexes();
    let visible = indexes
        .values()
        .filter(|index| permit.covers(&index.uid))
        .map(view);
    Ok(ok(page(visible.collect(), offset, limit)))
}

pub(super) async fn create(mut call: Call) -> Answer {
    let permit = call.authorize("indexes.create", None)?;
    let body = call.take_json().await?;
    let object = Object::root(&body, &["uid", "primaryKey"])?;
    let uid = object.required_string("uid", "missing_index_uid", "invalid_index_uid")?;
    check_index_uid(&uid).map_err(|error| error.inside("Invalid value at `.uid`: "))?;
    let primary_key = object.string("primaryKey", "invalid_index_primary_key")?;
    permit.check(&uid)?;
    let submission = Submission::on_index(&uid, Work::IndexCreation { primary_key });
    Ok(accepted(&call.shared.submit(submission).await?))
}

pub(super) async fn show(Path(uid): Path<String>, call: Call) -> Answer {
    call.authorize("indexes.get", Some(&uid))?;
    check_index_uid(&uid)?;
    Ok(ok(view(&call.shared.index(&uid)?)))
}

pub(super) async fn update(Path(uid): Path<String>, mut call: Call) -> Answer {
    let permit = call.authorize("indexes.update", Some(&uid))?;
    check_index_uid(&uid)?;
    let body = call.take_json().await?;
    let object = Object::root(&body, &["primaryKey", "uid", "createdAt", "updatedAt"])?;
    for (field, code) in [
        ("createdAt", "immutable_index_created_at"),
        ("updatedAt", "immutable_index_updated_at"),
    ] {
        if object.contains(field) {
            return Err(ApiError::new(
                code,
                format!("Immutable field `{field}`: expected one of `primaryKey`, `uid`"),
            ));
        }
    }
    let primary_key = object.string("primaryKey", "invalid_index_primary_key")?;
    // `null` asks for nothing, like a field that is not there.
    let primary_key = primary_key.map(Some);
    let new_uid = object.string("uid", "invalid_index_uid")?;
    if let Some(new_uid) = &new_uid {
        check_index_uid(new_uid).map_err(|error| error.inside("Invalid value at `.uid`: "))?;
        permit.check(new_uid)?;
    }
    let submission = Submission::on_index(
        &uid,
        Work::IndexUpdate {
            primary_key,
            new_uid,
        },
    );
    Ok(accepted(&call.shared.submit(submission).await?))
}

pub(super) async fn delete(Path(uid): Path<String>, call: Call) -> Answer {
    call.authorize("indexes.delete", Some(&uid))?;
    check_index_uid(&uid)?;
    let submission = Submission::on_index(&uid, Work::IndexDeletion);
    Ok(accepted(&call.shared.submit(submission).await?))
}

pub(super) async fn swap(mut call: Call) -> Answer {
    let permit = call.authorize("indexes.swap", None)?;
    let body = call.take_json().await?;
    let Value::Array(items) = &body else {
        return Err(wrong_type("", "an array", &body, "bad_request"));
    };
    let mut swaps = Vec::new();
    let mut seen = BTreeSet::new();
    for (item_idx, item) in items.iter().enumerate() {
        let swap = read_swap(item, item_idx)?;
        for uid in &swap.indexes {
            permit.check(uid)?;
            if !seen.insert(uid.clone()) {
                return Err(ApiError::new(
                    "invalid_swap_duplicate_index_found",
                    format!(
                        "Indexes must be declared only once during a swap. `{uid}` was specified \
                         several times."
                    ),
                ));
            }
        }
        swaps.push(swap);
    }
    let submission = Submission::global(Work::IndexSwap { swaps });
    Ok(accepted(&call.shared.submit(submission).await?))
}

fn read_swap(item: &Value, item_idx: usize) -> Result<Swap, ApiError> {
    let object = Object::at(
        item,
        format!("[{item_idx}]"),
        "bad_request",
        &["indexes", "rename"],
    )?;
    object.required("indexes", "missing_swap_indexes")?;
    let indexes = object
        .strings("indexes", "invalid_swap_indexes")?
        .unwrap_or_default();
    for (uid_idx, uid) in indexes.iter().enumerate() {
        check_index_uid(uid).map_err(|error| {
            let error = error.recoded("invalid_index_uid", "invalid_swap_indexes");
            error.inside(&format!(
                "Invalid value at `[{item_idx}].indexes[{uid_idx}]`: "
            ))
        })?;
    }
    let rename = object.boolean_or("rename", false, "invalid_swap_rename")?;
    let pair: Result<[String; 2], _> = indexes.try_into();
    let indexes = pair.map_err(|indexes: Vec<String>| {
        ApiError::new(
            "invalid_swap_indexes",
            format!(
                "Two indexes must be given for each swap. The list `{}` contains {} indexes.",
                json!(indexes),
                indexes.len()
            ),
        )
    })?;
    Ok(Swap { indexes, rename })
}

fn view(index: &IndexRow) -> Value {
    json!({
        "uid": index.uid,
        "createdAt": to_rfc3339(index.created_at),
        "updatedAt": to_rfc3339(index.updated_at),
        "primaryKey": index.primary_key,
    })
}
