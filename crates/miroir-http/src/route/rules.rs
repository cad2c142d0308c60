//! `/dynamic-search-rules`: documents that searches show at fixed places.

use super::accept;
use crate::app::{App, AppState};
use crate::error::{ApiError, unsupported};
use crate::extract::{CustomMetadata, JsonBody, PathId, Permit, Query};
use crate::response::Json;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{StatusCode, header};
use miroir_api::error::ResponseError;
use miroir_api::index::{invalid_uid_reason, is_index_uid};
use miroir_api::rule::{read_listing, read_update, rule_not_found, rules_not_enabled};
use miroir_core::rules::{Rule, RuleListing, RuleUpdate, has_filter_condition};
use miroir_core::task::Operation;
use miroir_engine::EngineError;
use miroir_engine::engine::Write;
use miroir_engine::rules::DYNAMIC_SEARCH_RULES;
use serde_json::{Value, json};

/// How Meilisearch names the writing routes to those who have not switched rules on.
const WRITING: &str = "Using the `/dynamic-search-rules` routes";

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/dynamic-search-rules", post(list).delete(clear))
        .route(
            "/dynamic-search-rules/{id}",
            get(show).patch(change).delete(remove),
        )
}

fn check(app: &App, asked: &str) -> Result<(), ResponseError> {
    match app.engine.has_feature(DYNAMIC_SEARCH_RULES) {
        true => Ok(()),
        false => Err(rules_not_enabled(asked)),
    }
}

/// The answer to a path that can name no rule: that of Meilisearch is no JSON.
fn no_such_path(uid: &str) -> Option<Response> {
    let plain = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (!is_index_uid(uid))
        .then(|| (StatusCode::NOT_FOUND, plain, invalid_uid_reason(uid)).into_response())
}

async fn list(
    _: Permit,
    State(app): State<AppState>,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>, ApiError> {
    let asked = read_listing(&body)?;
    check(&app, "Calling the `POST /dynamic-search-rules` route")?;
    let (offset, limit) = (asked.offset, asked.limit);
    let listing = RuleListing {
        offset,
        limit,
        query: asked.query,
        active: asked.active,
    };
    let page = app.engine.rules().list(&listing).map_err(|_| {
        unsupported("A listing of rules by several words, or by words of a script without spaces,")
    })?;
    Ok(Json(json!({
        "results": page.rules, "offset": offset, "limit": limit, "total": page.total,
    })))
}

async fn show(
    _: Permit,
    PathId(uid): PathId,
    State(app): State<AppState>,
) -> Result<Response, ApiError> {
    if let Some(answer) = no_such_path(&uid) {
        return Ok(answer);
    }
    check(
        &app,
        "Calling the `GET /dynamic-search-rules/{:ruleUid}` route",
    )?;
    let rules = app.engine.rules();
    let rule: &Rule = rules.get(&uid).ok_or_else(|| rule_not_found(&uid))?;
    Ok(Json(json!(rule)).into_response())
}

async fn change(
    _: Permit,
    PathId(uid): PathId,
    State(app): State<AppState>,
    Query(CustomMetadata(custom_metadata)): Query<CustomMetadata>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    if let Some(answer) = no_such_path(&uid) {
        return Ok(answer);
    }
    let update = Value::Object(read_update(&body)?);
    check(&app, WRITING)?;
    if has_filter_condition(&update) {
        let what = "The condition `filter` of dynamic search rules";
        return Err(unsupported(what).into());
    }
    let update: RuleUpdate = serde_json::from_value(update)
        .map_err(|error| EngineError::Answer(format!("a rule cannot be read: {error}")))?;
    let operation = Operation::UpdateRule {
        rule_uid: uid,
        update: Box::new(update),
    };
    accept(&app.engine, write(operation, custom_metadata)).await
}

async fn remove(
    _: Permit,
    PathId(uid): PathId,
    State(app): State<AppState>,
    Query(CustomMetadata(custom_metadata)): Query<CustomMetadata>,
) -> Result<Response, ApiError> {
    if let Some(answer) = no_such_path(&uid) {
        return Ok(answer);
    }
    check(&app, WRITING)?;
    let operation = Operation::DeleteRule { rule_uid: uid };
    accept(&app.engine, write(operation, custom_metadata)).await
}

async fn clear(
    _: Permit,
    State(app): State<AppState>,
    Query(CustomMetadata(custom_metadata)): Query<CustomMetadata>,
) -> Result<Response, ApiError> {
    check(&app, WRITING)?;
    accept(&app.engine, write(Operation::ClearRules, custom_metadata)).await
}

fn write(operation: Operation, custom_metadata: Option<String>) -> Write {
    Write {
        index_uid: None,
        operation,
        payload: None,
        custom_metadata,
    }
}
