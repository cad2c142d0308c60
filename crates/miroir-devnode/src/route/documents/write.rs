//! Documents in: additions, updates, deletions.

use crate::error::ApiError;
use crate::http::object::wrong_type;
use crate::http::{Call, Object, Query, check_index_uid, document_id, invalid_document_id_text};
use crate::payload::Format;
use crate::route::{Answer, accepted};
use crate::shared::Shared;
use crate::task::{Method, Submission, Work};
use axum::extract::Path;
use serde_json::Value;
use std::sync::Arc;
use uuid::Uuid;

pub(crate) async fn replace(Path(uid): Path<String>, call: Call) -> Answer {
    add(uid, call, Method::Replace).await
}

pub(crate) async fn update(Path(uid): Path<String>, call: Call) -> Answer {
    add(uid, call, Method::Update).await
}

async fn add(uid: String, mut call: Call, method: Method) -> Answer {
    let permit = call.authorize("documents.add", Some(&uid))?;
    check_index_uid(&uid)?;
    let query = call.query(&[
        "primaryKey",
        "csvDelimiter",
        "customMetadata",
        "skipCreation",
    ])?;
    let primary_key = query.string("primaryKey");
    let skip_creation = skip_creation(&query)?;
    let custom_metadata = query.string("customMetadata");
    let format = Format::of_request(&call.headers, query.get("csvDelimiter"))?;
    let bytes = call.take_bytes().await?;
    call.shared.delay_submission().await;
    let allow_creation = permit.may_create(&uid);
    let task = call.shared.blocking(move |shared| {
        let documents = format.read(&bytes)?;
        let file = format!("{}.ndjson", Uuid::new_v4().simple());
        let path = shared.payload_path(&file);
        std::fs::write(&path, &documents.bytes).map_err(io_error)?;
        let work = Work::Documents {
            method,
            file,
            documents: documents.count,
            bytes: documents.bytes.len() as u64,
            primary_key,
            skip_creation,
            allow_creation,
        };
        let submission = Submission::on_index(&uid, work).with_metadata(custom_metadata);
        shared.submit_now(submission).inspect_err(|_error| {
            // No task will ever need it; if this fails too, the next start removes it.
            let _ = std::fs::remove_file(&path);
        })
    });
    Ok(accepted(&task.await?))
}

pub(crate) async fn delete_all(Path(uid): Path<String>, call: Call) -> Answer {
    let query = begin_deletion(&uid, &call)?;
    submit(&uid, &call.shared, &query, Work::DeleteAll).await
}

pub(crate) async fn delete_one(Path((uid, id)): Path<(String, String)>, call: Call) -> Answer {
    let query = begin_deletion(&uid, &call)?;
    let value = Value::String(id);
    let id = document_id(&value)
        .ok_or_else(|| ApiError::new("invalid_document_id", invalid_document_id_text(&value)))?;
    submit(
        &uid,
        &call.shared,
        &query,
        Work::DeleteByIds { ids: vec![id] },
    )
    .await
}

pub(crate) async fn delete_batch(Path(uid): Path<String>, mut call: Call) -> Answer {
    let query = begin_deletion(&uid, &call)?;
    let body = call.take_json().await?;
    let Value::Array(values) = body else {
        return Err(wrong_type("", "an array", &body, "bad_request"));
    };
    // What is no text becomes its text; an id that no document can have matches none.
    let ids = values.into_iter().map(|value| match value {
        Value::String(id) => id,
        other => other.to_string(),
    });
    let work = Work::DeleteByIds { ids: ids.collect() };
    submit(&uid, &call.shared, &query, work).await
}

pub(crate) async fn delete_by_filter(Path(uid): Path<String>, mut call: Call) -> Answer {
    let query = begin_deletion(&uid, &call)?;
    let body = call.take_json().await?;
    let object = Object::root(&body, &["filter"])?;
    object.required("filter", "missing_document_filter")?;
    let filter = object.filter("filter", "invalid_document_filter")?;
    let is_empty = match &filter {
        None => true,
        Some(Value::String(text)) => text.trim().is_empty(),
        Some(Value::Array(parts)) => parts.is_empty(),
        Some(_) => false,
    };
    let Some(filter) = filter.filter(|_| !is_empty) else {
        return Err(ApiError::new(
            "invalid_document_filter",
            "Sending an empty filter is forbidden.",
        ));
    };
    submit(&uid, &call.shared, &query, Work::DeleteByFilter { filter }).await
}

pub(crate) async fn edit(Path(uid): Path<String>, call: Call) -> Answer {
    call.authorize("documents.add", Some(&uid))?;
    Err(ApiError::new(
        "feature_not_enabled",
        "Using the documents edit route requires enabling the `edit documents by function` \
         experimental feature, which this development stand-in does not have.",
    ))
}

fn begin_deletion(uid: &str, call: &Call) -> Result<Query, ApiError> {
    call.authorize("documents.delete", Some(uid))?;
    check_index_uid(uid)?;
    call.query(&["customMetadata"])
}

async fn submit(uid: &str, shared: &Arc<Shared>, query: &Query, work: Work) -> Answer {
    let custom_metadata = query.string("customMetadata");
    let submission = Submission::on_index(uid, work).with_metadata(custom_metadata);
    Ok(accepted(&shared.submit(submission).await?))
}

fn skip_creation(query: &Query) -> Result<bool, ApiError> {
    match query
        .get("skipCreation")
        .map(str::to_ascii_lowercase)
        .as_deref()
    {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(ApiError::new(
            "invalid_skip_creation",
            format!(
                "Invalid value in parameter `skipCreation`: could not parse `{other}` as a \
                 boolean, expected either `true` or `false`"
            ),
        )),
    }
}

fn io_error(error: std::io::Error) -> ApiError {
    if error.kind() == std::io::ErrorKind::StorageFull {
        return ApiError::new(
            "no_space_left_on_device",
            "There is no more space left on the device. Consider increasing the size of the \
             disk/partition.",
        );
    }
    ApiError::internal(error)
}
