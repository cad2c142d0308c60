//! `/indexes/{uid}/documents`: reading, adding and deleting documents.

use super::accept;
use super::search::{USE_NETWORK, needs_network};
use crate::app::{App, AppState};
use crate::content_type::{check_json, document_format};
use crate::convert::documents_query;
use crate::error::ApiError;
use crate::extract::{CustomMetadata, Index, JsonBody, PathId, Permit, Query};
use crate::foreign::answer_foreign;
use crate::intake::{Taken, one_id, take_documents, take_ids};
use crate::multimodal;
use crate::partial::{marked_json, partial_wish};
use crate::response::ready_json;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use http::HeaderMap;
use miroir_api::document::{
    Addition, DocumentListing, DocumentView, read_deletion_filter, read_listing_body,
};
use miroir_api::edit::{read_context, read_edition};
use miroir_api::error::Code;
use miroir_api::feature::edit_not_enabled;
use miroir_api::filter::check_filter;
use miroir_core::id::IndexUid;
use miroir_core::task::{AdditionMethod, Operation};
use miroir_engine::engine::Write;
use miroir_engine::features::EDIT_BY_FUNCTION;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route(
            "/indexes/{uid}/documents",
            get(list).post(replace).put(update).delete(delete_all),
        )
        .route("/indexes/{uid}/documents/fetch", post(fetch))
        .route("/indexes/{uid}/documents/delete-batch", post(delete_batch))
        .route("/indexes/{uid}/documents/delete", post(delete_by_filter))
        .route("/indexes/{uid}/documents/edit", post(edit))
        .route(
            "/indexes/{uid}/documents/{id}",
            get(show).delete(delete_one),
        )
}

// --- Reading ----------------------------------------------------------------------------------

async fn list(
    _: Permit,
    Index(uid): Index,
    Query(listing): Query<DocumentListing>,
    State(app): State<AppState>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    read(&app, &uid, listing, &headers).await
}

async fn fetch(
    _: Permit,
    Index(uid): Index,
    State(app): State<AppState>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    read(&app, &uid, read_listing_body(&body)?, &headers).await
}

async fn read(
    app: &App,
    uid: &IndexUid,
    mut listing: DocumentListing,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    if listing.use_network.is_some() {
        return Err(needs_network(USE_NETWORK).into());
    }
    if let Some(filter) = &listing.filter {
        // A missing index is reported before a malformed filter.
        app.engine.index(uid)?;
        if check_filter(filter, Code::InvalidDocumentFilter)? {
            let code = Code::InvalidDocumentFilter.name();
            multimodal::check_filter(app, filter)?;
            app.engine.check_filter_fields(uid, filter, code)?;
        } else {
            listing.filter = None;
        }
    }
    if let Some(sort) = &listing.sort {
        let code = Code::InvalidDocumentSort.name();
        app.engine.check_sort_fields(uid, sort, code)?;
    }
    let wish = partial_wish(headers)?;
    let _place = app.searches.enter().await?;
    let code = Code::InvalidDocumentFilter;
    answer_foreign(app, uid, &mut listing.filter, code).await?;
    let answer = app
        .engine
        .documents_with(uid, documents_query(listing), wish)
        .await?;
    Ok(marked_json(answer.body, &answer.missing_shards))
}

async fn show(
    _: Permit,
    Index(uid): Index,
    PathId(id): PathId,
    Query(view): Query<DocumentView>,
    State(app): State<AppState>,
) -> Result<Response, ApiError> {
    let fields = view.fields.as_deref();
    Ok(ready_json(
        app.engine
            .document(&uid, &id, fields, view.retrieve_vectors)
            .await?,
    ))
}

// --- Adding -----------------------------------------------------------------------------------

async fn replace(
    permit: Permit,
    Index(uid): Index,
    Query(addition): Query<Addition>,
    State(app): State<AppState>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let method = AdditionMethod::Replace;
    add(&app, &permit, uid, addition, method, &headers, body).await
}

async fn update(
    permit: Permit,
    Index(uid): Index,
    Query(addition): Query<Addition>,
    State(app): State<AppState>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let method = AdditionMethod::Update;
    add(&app, &permit, uid, addition, method, &headers, body).await
}

async fn add(
    app: &App,
    permit: &Permit,
    uid: IndexUid,
    addition: Addition,
    method: AdditionMethod,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let format = document_format(headers, addition.csv_delimiter)?;
    let Taken { payload, count } = take_documents(app, headers, body, format).await?;
    let operation = Operation::AddDocuments {
        method,
        primary_key: addition.primary_key,
        skip_creation: addition.skip_creation,
        may_create_index: permit.may_create(uid.as_str()),
        document_count: count,
    };
    let write = Write {
        index_uid: Some(uid),
        operation,
        payload: Some(payload),
        custom_metadata: addition.custom_metadata,
    };
    accept(&app.engine, write).await
}

// --- Deleting ---------------------------------------------------------------------------------

async fn delete_all(
    _: Permit,
    Index(uid): Index,
    Query(CustomMetadata(custom_metadata)): Query<CustomMetadata>,
    State(app): State<AppState>,
) -> Result<Response, ApiError> {
    let write = Write {
        index_uid: Some(uid),
        operation: Operation::DeleteAllDocuments,
        payload: None,
        custom_metadata,
    };
    accept(&app.engine, write).await
}

async fn delete_one(
    _: Permit,
    Index(uid): Index,
    PathId(id): PathId,
    Query(CustomMetadata(custom_metadata)): Query<CustomMetadata>,
    State(app): State<AppState>,
) -> Result<Response, ApiError> {
    accept(&app.engine, deletion(uid, one_id(&id), custom_metadata)).await
}

async fn delete_batch(
    _: Permit,
    Index(uid): Index,
    Query(CustomMetadata(custom_metadata)): Query<CustomMetadata>,
    State(app): State<AppState>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    check_json(&headers)?;
    let taken = take_ids(&app, &headers, body).await?;
    accept(&app.engine, deletion(uid, taken, custom_metadata)).await
}

fn deletion(uid: IndexUid, taken: Taken, custom_metadata: Option<String>) -> Write {
    Write {
        index_uid: Some(uid),
        operation: Operation::DeleteDocuments {
            id_count: taken.count,
        },
        payload: Some(taken.payload),
        custom_metadata,
    }
}

async fn delete_by_filter(
    _: Permit,
    Index(uid): Index,
    Query(CustomMetadata(custom_metadata)): Query<CustomMetadata>,
    State(app): State<AppState>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let filter = read_deletion_filter(&body)?;
    let code = Code::InvalidDocumentFilter.name();
    multimodal::check_filter(&app, &filter)?;
    app.engine.check_filter_syntax(&filter, code).await?;
    app.engine.refuse_foreign(&filter, "")?;
    let write = Write {
        index_uid: Some(uid),
        operation: Operation::DeleteByFilter { filter },
        payload: None,
        custom_metadata,
    };
    accept(&app.engine, write).await
}

// --- Editing ----------------------------------------------------------------------------------

async fn edit(
    _: Permit,
    Index(uid): Index,
    Query(CustomMetadata(custom_metadata)): Query<CustomMetadata>,
    State(app): State<AppState>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let edition = read_edition(&body)?;
    if !app.engine.has_feature(EDIT_BY_FUNCTION) {
        return Err(edit_not_enabled().into());
    }
    let filter = edition.filter.as_ref();
    // Nodes know nothing of it, so they are not asked about such a filter.
    let foreign = filter.filter(|filter| app.engine.is_foreign_filter(filter));
    app.engine
        .check_edit(&uid, &edition.function, filter.xor(foreign))
        .await?;
    if let Some(filter) = foreign {
        app.engine
            .refuse_foreign(filter, &format!("Index `{uid}`: "))?;
    }
    let write = Write {
        index_uid: Some(uid),
        operation: Operation::EditDocuments {
            filter: edition.filter,
            context: read_context(edition.context)?,
            function: edition.function,
        },
        payload: None,
        custom_metadata,
    };
    accept(&app.engine, write).await
}
