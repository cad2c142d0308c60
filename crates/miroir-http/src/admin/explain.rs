//! Why a shard is where it is, and how a search would be carried out.

use crate::app::AppState;
use crate::convert::search_request;
use crate::error::ApiError;
use crate::extract::{Index, JsonBody, PathId, Permit};
use crate::response::Json;
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use miroir_api::admin::{QueryExplanation, ShardExplanation};
use miroir_api::error::{Code, ResponseError};
use miroir_api::search::read_body;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/_miroir/indexes/{uid}/shards/{id}", get(shard))
        .route("/_miroir/indexes/{uid}/explain", post(query))
}

async fn shard(
    _: Permit,
    Index(uid): Index,
    PathId(id): PathId,
    State(app): State<AppState>,
) -> Result<Json<ShardExplanation>, ApiError> {
    let shard = id.parse().map_err(|_| {
        ResponseError::new(
            Code::BadRequest,
            format!("`{id}` is not the number of a shard."),
        )
    })?;
    Ok(Json(app.engine.explain_shard(&uid, shard).await?))
}

async fn query(
    _: Permit,
    Index(uid): Index,
    State(app): State<AppState>,
    JsonBody(body): JsonBody,
) -> Result<Json<QueryExplanation>, ApiError> {
    let request = search_request(read_body(&body)?);
    Ok(Json(app.engine.explain_search(&uid, request).await?))
}
