//! `POST /dumps` and `POST /export`: tasks that Miroir itself carries out.

use super::{accept, register};
use crate::app::AppState;
use crate::error::ApiError;
use crate::extract::{JsonBody, Permit};
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use http::StatusCode;
use miroir_api::export::read_body;
use miroir_core::task::{ExportIndex, Operation};
use miroir_engine::engine::Write;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/dumps", post(dump))
        .route("/snapshots", post(snapshot))
        .route("/export", post(export))
}

async fn snapshot(_: Permit, State(app): State<AppState>) -> Result<Response, ApiError> {
    accept(&app.engine, job(Operation::CreateSnapshot)).await
}

async fn dump(_: Permit, State(app): State<AppState>) -> Result<Response, ApiError> {
    accept(&app.engine, job(Operation::CreateDump)).await
}

/// Unlike other writes it is answered with 200.
async fn export(
    _: Permit,
    State(app): State<AppState>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let request = read_body(&body)?;
    let index = |index: miroir_api::export::IndexExport| ExportIndex {
        filter: index.filter,
        override_settings: index.override_settings,
    };
    let operation = Operation::Export {
        url: request.url,
        api_key: request.api_key,
        payload_size: request.payload_size,
        indexes: request
            .indexes
            .into_iter()
            .map(|(pattern, how)| (pattern, index(how)))
            .collect(),
    };
    register(&app.engine, job(operation), StatusCode::OK).await
}

fn job(operation: Operation) -> Write {
    Write {
        index_uid: None,
        operation,
        payload: None,
        custom_metadata: None,
    }
}
