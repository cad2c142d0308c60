//! `/indexes` and `/indexes/{uid}`.

use super::accept;
use crate::app::AppState;
use crate::convert::index_view;
use crate::error::ApiError;
use crate::extract::{Index, JsonBody, Permit, Query};
use crate::response::Json;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use miroir_api::index::{IndexView, Page, Paging, invalid_index_uid, read_change, read_creation};
use miroir_core::id::IndexUid;
use miroir_core::task::Operation;
use miroir_engine::engine::Write;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/indexes", get(list).post(create))
        .route("/indexes/{uid}", get(show).patch(change).delete(remove))
        .route("/indexes/{uid}/compact", post(compact))
}

async fn list(
    permit: Permit,
    Query(paging): Query<Paging>,
    State(app): State<AppState>,
) -> Json<Page<IndexView>> {
    let seen = app.engine.indexes().into_iter();
    let seen = seen.filter(|index| permit.covers(index.uid.as_str()));
    let indexes = seen.map(index_view).collect();
    Json(Page::cut(indexes, paging))
}

async fn show(
    _: Permit,
    Index(uid): Index,
    State(app): State<AppState>,
) -> Result<Json<IndexView>, ApiError> {
    Ok(Json(index_view(app.engine.index(&uid)?)))
}

async fn create(
    permit: Permit,
    State(app): State<AppState>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let creation = read_creation(&body)?;
    let uid = IndexUid::new(creation.uid).map_err(|error| invalid_index_uid(&error.0))?;
    permit.require(uid.as_str())?;
    let operation = Operation::CreateIndex {
        primary_key: creation.primary_key,
    };
    accept(&app.engine, index_write(uid, operation)).await
}

async fn change(
    _: Permit,
    Index(uid): Index,
    State(app): State<AppState>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let change = read_change(&body)?;
    let new_uid = change
        .uid
        .map(|uid| IndexUid::new(uid).map_err(|error| invalid_index_uid(&error.0)))
        .transpose()?;
    let operation = Operation::UpdateIndex {
        primary_key: change.primary_key,
        new_uid,
    };
    accept(&app.engine, index_write(uid, operation)).await
}

async fn remove(
    _: Permit,
    Index(uid): Index,
    State(app): State<AppState>,
) -> Result<Response, ApiError> {
    accept(&app.engine, index_write(uid, Operation::DeleteIndex)).await
}

async fn compact(
    _: Permit,
    Index(uid): Index,
    State(app): State<AppState>,
) -> Result<Response, ApiError> {
    accept(&app.engine, index_write(uid, Operation::CompactIndex)).await
}

fn index_write(uid: IndexUid, operation: Operation) -> Write {
    Write {
        index_uid: Some(uid),
        operation,
        payload: None,
        custom_metadata: None,
    }
}
