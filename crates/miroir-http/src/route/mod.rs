//! The routes of the Meilisearch API, one resource a file.

mod batches;
mod chats;
mod documents;
mod dumps;
mod facet_search;
mod features;
mod fields;
mod health;
mod indexes;
mod keys;
mod logs;
mod metrics;
mod multi_search;
mod render;
mod rules;
mod search;
mod settings;
mod similar;
mod stats;
mod swap;
mod tasks;
pub(crate) mod unsupported;
mod version;
mod webhooks;

use crate::app::AppState;
use crate::convert::summarized_task;
use crate::error::ApiError;
use crate::response::Json;
use axum::Router;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use miroir_engine::Engine;
use miroir_engine::engine::Write;

/// Every route that is served.
pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .merge(health::routes())
        .merge(version::routes())
        .merge(stats::routes())
        .merge(indexes::routes())
        .merge(documents::routes())
        .merge(settings::routes())
        .merge(search::routes())
        .merge(multi_search::routes())
        .merge(facet_search::routes())
        .merge(similar::routes())
        .merge(fields::routes())
        .merge(tasks::routes())
        .merge(keys::routes())
        .merge(swap::routes())
        .merge(features::routes())
        .merge(batches::routes())
        .merge(webhooks::routes())
        .merge(metrics::routes())
        .merge(logs::routes())
        .merge(dumps::routes())
        .merge(render::routes())
        .merge(rules::routes())
        .merge(chats::routes())
}

/// Appends a write to the log and answers with its task.
async fn register(engine: &Engine, write: Write, status: StatusCode) -> Result<Response, ApiError> {
    let task = engine.register(write).await?;
    Ok((status, Json(summarized_task(task))).into_response())
}

/// As [`register`], with the status nearly every write answers with.
async fn accept(engine: &Engine, write: Write) -> Result<Response, ApiError> {
    register(engine, write, StatusCode::ACCEPTED).await
}
