//! `/webhooks`: where finished tasks are told.

use crate::app::AppState;
use crate::error::ApiError;
use crate::extract::{JsonBody, PathId, Permit};
use crate::response::Json;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderName, HeaderValue, StatusCode};
use miroir_api::error::{Code, ResponseError};
use miroir_api::webhook::{
    COUNT_MAX, HEADERS_MAX, WebhookBody, WebhookList, WebhookView, immutable_webhook, missing_url,
    read_body, read_uuid, too_many_headers, too_many_webhooks, webhook_not_found,
};
use miroir_engine::webhooks::Webhook;
use uuid::Uuid;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/webhooks", get(list).post(create))
        .route("/webhooks/{id}", get(show).patch(change).delete(remove))
}

async fn list(_: Permit, State(app): State<AppState>) -> Json<WebhookList> {
    let hooks = app.engine.webhooks();
    let views = hooks.iter().map(|(uuid, hook)| view(*uuid, hook));
    Json(WebhookList {
        results: views.collect(),
    })
}

async fn show(
    _: Permit,
    PathId(uuid): PathId,
    State(app): State<AppState>,
) -> Result<Json<WebhookView>, ApiError> {
    let uuid = read_uuid(&uuid)?;
    let hooks = app.engine.webhooks();
    let hook = hooks.get(&uuid).ok_or_else(|| webhook_not_found(uuid))?;
    Ok(Json(view(uuid, hook)))
}

async fn create(
    _: Permit,
    State(app): State<AppState>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let body = read_body(&body)?;
    let uuid = Uuid::new_v4();
    let headers = body.headers.flatten().unwrap_or_default();
    if headers.len() > HEADERS_MAX {
        return Err(too_many_headers(uuid).into());
    }
    let editable = app.engine.webhooks();
    if editable.keys().filter(|uuid| !uuid.is_nil()).count() >= COUNT_MAX {
        return Err(too_many_webhooks().into());
    }
    let headers = headers.into_iter();
    let hook = Webhook {
        url: body.url.flatten().ok_or_else(|| missing_url(uuid))?,
        headers: headers
            .map(|(name, value)| (name, value.unwrap_or_default()))
            .collect(),
    };
    check(uuid, &hook)?;
    let added = app.engine.add_webhook(uuid, hook, COUNT_MAX).await?;
    let hook = added.ok_or_else(too_many_webhooks)?;
    Ok((StatusCode::CREATED, Json(view(uuid, &hook))).into_response())
}

async fn change(
    _: Permit,
    PathId(uuid): PathId,
    State(app): State<AppState>,
    JsonBody(body): JsonBody,
) -> Result<Json<WebhookView>, ApiError> {
    let body = read_body(&body)?;
    let uuid = editable(&uuid)?;
    let changed = app
        .engine
        .change_webhook(uuid, |hook| {
            let hook = changed(uuid, hook, body)?;
            check(uuid, &hook)?;
            Ok::<_, ResponseError>(hook)
        })
        .await?;
    let hook = changed.ok_or_else(|| webhook_not_found(uuid))??;
    Ok(Json(view(uuid, &hook)))
}

async fn remove(
    _: Permit,
    PathId(uuid): PathId,
    State(app): State<AppState>,
) -> Result<StatusCode, ApiError> {
    let uuid = editable(&uuid)?;
    if app.engine.remove_webhook(uuid).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(webhook_not_found(uuid).into())
    }
}

/// The uid in the path, of a webhook that may be changed.
fn editable(text: &str) -> Result<Uuid, ResponseError> {
    let uuid = read_uuid(text)?;
    if uuid.is_nil() {
        return Err(immutable_webhook(uuid));
    }
    Ok(uuid)
}

/// The hook with what the body says.
fn changed(uuid: Uuid, mut hook: Webhook, body: WebhookBody) -> Result<Webhook, ResponseError> {
    if let Some(url) = body.url {
        hook.url = url.ok_or_else(|| missing_url(uuid))?;
    }
    match body.headers {
        None => {}
        Some(None) => hook.headers.clear(),
        Some(Some(headers)) => {
            for (name, value) in headers {
                match value {
                    Some(value) => hook.headers.insert(name, value),
                    None => hook.headers.remove(&name),
                };
            }
        }
    }
    Ok(hook)
}

/// Refuses what could not be sent.
fn check(uuid: Uuid, hook: &Webhook) -> Result<(), ResponseError> {
    if hook.url.is_empty() {
        return Err(missing_url(uuid));
    }
    if hook.headers.len() > HEADERS_MAX {
        return Err(too_many_headers(uuid));
    }
    let refuse = |message: String| ResponseError::new(Code::InvalidWebhookHeaders, message);
    for (name, value) in &hook.headers {
        HeaderName::from_bytes(name.as_bytes())
            .map_err(|error| refuse(format!("Invalid header name `{name}`: {error}")))?;
        HeaderValue::from_str(value)
            .map_err(|error| refuse(format!("Invalid header value `{name}`: {error}")))?;
    }
    if let Err(error) = url::Url::parse(&hook.url) {
        return Err(ResponseError::new(
            Code::InvalidWebhookUrl,
            format!("Invalid URL `{}`: {error}", hook.url),
        ));
    }
    Ok(())
}

fn view(uuid: Uuid, hook: &Webhook) -> WebhookView {
    WebhookView::new(uuid, hook.url.clone(), hook.headers.clone())
}
