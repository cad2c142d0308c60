//! Documents out: one, some, all.

use crate::error::ApiError;
use crate::http::object::check_filter;
use crate::http::{Call, Object, check_index_uid, document_id, invalid_document_id_text};
use crate::route::search::filter_of;
use crate::route::{Answer, ok};
use axum::extract::Path;
use miroir_devnode_engine::FetchQuery;
use serde_json::{Value, json};

/// Documents shown when no limit is given.
const DEFAULT_LIMIT: usize = 20;

pub(crate) async fn show(Path((uid, id)): Path<(String, String)>, call: Call) -> Answer {
    call.authorize("documents.get", Some(&uid))?;
    check_index_uid(&uid)?;
    let query = call.query(&["fields", "retrieveVectors"])?;
    let fields = query.csv_or_star("fields");
    let retrieve_vectors = query.boolean("retrieveVectors", "invalid_document_retrieve_vectors")?;
    let document = call.shared.blocking(move |shared| {
        let index = shared.index(&uid)?;
        let found = shared
            .engine
            .get_document(&index.key, &id, fields.as_deref(), retrieve_vectors)
            .map_err(|error| ApiError::of_read(&uid, error))?;
        found.ok_or_else(|| {
            ApiError::new("document_not_found", format!("Document `{id}` not found."))
        })
    });
    Ok(ok(document.await?))
}

pub(crate) async fn list(Path(uid): Path<String>, call: Call) -> Answer {
    call.authorize("documents.get", Some(&uid))?;
    check_index_uid(&uid)?;
    let query = call.query(&[
        "offset",
        "limit",
        "fields",
        "retrieveVectors",
        "ids",
        "filter",
        "sort",
        "useNetwork",
    ])?;
    query.boolean("useNetwork", "invalid_document_use_network")?;
    let ids = query
        .csv_or_star("ids")
        .map(|ids| ids.into_iter().map(Value::String).collect());
    let fetch = FetchQuery {
        ids: check_ids(ids)?,
        filter: query.get("filter").map(filter_of),
        sort: query.sort("sort"),
        fields: query.csv_or_star("fields"),
        offset: query.usize_or("offset", 0, "invalid_document_offset")?,
        limit: query.usize_or("limit", DEFAULT_LIMIT, "invalid_document_limit")?,
        retrieve_vectors: query.boolean("retrieveVectors", "invalid_document_retrieve_vectors")?,
    };
    answer(uid, call, fetch).await
}

pub(crate) async fn fetch(Path(uid): Path<String>, mut call: Call) -> Answer {
    call.authorize("documents.get", Some(&uid))?;
    check_index_uid(&uid)?;
    let body = call.take_json().await?;
    let object = Object::root(
        &body,
        &[
            "offset",
            "limit",
            "fields",
            "retrieveVectors",
            "ids",
            "filter",
            "sort",
            "useNetwork",
        ],
    )?;
    object.boolean_or("useNetwork", false, "invalid_document_use_network")?;
    let filter = object.get("filter");
    let fetch = FetchQuery {
        ids: check_ids(object.array("ids", "invalid_document_ids")?.cloned())?,
        filter: filter
            .map(|value| check_filter(value, "invalid_document_filter"))
            .transpose()?,
        sort: object.strings("sort", "invalid_document_sort")?,
        fields: object.strings("fields", "invalid_document_fields")?,
        offset: object.usize_or("offset", 0, "invalid_document_offset")?,
        limit: object.usize_or("limit", DEFAULT_LIMIT, "invalid_document_limit")?,
        retrieve_vectors: object.boolean_or(
            "retrieveVectors",
            false,
            "invalid_document_retrieve_vectors",
        )?,
    };
    answer(uid, call, fetch).await
}

async fn answer(uid: String, call: Call, fetch: FetchQuery) -> Answer {
    call.shared.delay_search().await;
    let (offset, limit) = (fetch.offset, fetch.limit);
    let found = call.shared.blocking(move |shared| {
        let index = shared.index(&uid)?;
        shared
            .engine
            .fetch_documents(&index.key, &fetch)
            .map_err(|error| ApiError::of_read(&uid, error))
    });
    let (results, total) = found.await?;
    Ok(ok(
        json!({ "results": results, "offset": offset, "limit": limit, "total": total }),
    ))
}

fn check_ids(ids: Option<Vec<Value>>) -> Result<Option<Vec<String>>, ApiError> {
    let Some(ids) = ids else { return Ok(None) };
    let check = |(id_idx, value): (usize, &Value)| {
        document_id(value).ok_or_else(|| {
            let text = invalid_document_id_text(value);
            ApiError::new(
                "invalid_document_ids",
                format!("In `.ids[{id_idx}]`: {text}"),
            )
        })
    };
    ids.iter()
        .enumerate()
        .map(check)
        .collect::<Result<_, _>>()
        .map(Some)
}
