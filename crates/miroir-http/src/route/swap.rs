//! `POST /swap-indexes`.

use super::accept;
use crate::app::AppState;
use crate::error::ApiError;
use crate::extract::{JsonBody, Permit};
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use miroir_api::error::ResponseError;
use miroir_api::index::invalid_index_uid;
use miroir_api::swap::{Swap, read_swaps};
use miroir_core::id::IndexUid;
use miroir_core::task::{IndexSwap, Operation};
use miroir_engine::engine::Write;

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/swap-indexes", post(swap))
}

async fn swap(
    permit: Permit,
    State(app): State<AppState>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let swaps = read_swaps(&body, |uid| permit.require(uid))?;
    let swaps: Result<Vec<IndexSwap>, ResponseError> = swaps.into_iter().map(index_swap).collect();
    let write = Write {
        index_uid: None,
        operation: Operation::SwapIndexes { swaps: swaps? },
        payload: None,
        custom_metadata: None,
    };
    accept(&app.engine, write).await
}

fn index_swap(swap: Swap) -> Result<IndexSwap, ResponseError> {
    let uid = |name: String| IndexUid::new(name).map_err(|error| invalid_index_uid(&error.0));
    Ok(IndexSwap {
        indexes: (uid(swap.indexes.0)?, uid(swap.indexes.1)?),
        rename: swap.rename,
    })
}
