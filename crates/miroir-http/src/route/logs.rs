//! `/logs/*`: the proxy's own logs, followed and chosen while it runs.

use crate::app::{App, AppState};
use crate::error::{ApiError, unsupported};
use crate::extract::{JsonBody, Permit};
use crate::feature::Feature;
use crate::logs::{LogControl, LogMode, LogStream};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use futures::stream;
use http::{HeaderName, StatusCode};
use miroir_api::error::{Code, ResponseError};
use miroir_api::log::{Mode, read_stderr, read_stream};
use std::convert::Infallible;
use std::sync::Arc;

/// Tells a reverse proxy to pass lines on as they come.
const UNBUFFERED: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/logs/stream", post(follow).delete(end))
        .route("/logs/stderr", post(choose))
}

async fn follow(
    _: Permit,
    State(app): State<AppState>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let logs = control(&app);
    let request = read_stream(&body, |target| check(&app, target))?;
    Feature::LogsRoute.check(&app)?;
    let mode = match request.mode {
        Mode::Human => LogMode::Human,
        Mode::Json => LogMode::Json,
        Mode::Profile => return Err(unsupported("The mode `profile` of `/logs/stream`").into()),
    };
    let stream = logs?.open(&request.target, mode).ok_or_else(|| {
        ResponseError::new(
            Code::BadRequest,
            "The `/logs/stream` route is currently in use by someone else.",
        )
    })?;
    Ok(([UNBUFFERED], body_of(stream)).into_response())
}

/// The lines as they come; the stream is free again when the client has gone.
fn body_of(stream: LogStream) -> Body {
    Body::from_stream(stream::unfold(stream, |mut stream| async move {
        let line: Bytes = stream.lines.recv().await?;
        Some((Ok::<_, Infallible>(line), stream))
    }))
}

async fn end(_: Permit, State(app): State<AppState>) -> Result<StatusCode, ApiError> {
    Feature::LogsRoute.check(&app)?;
    control(&app)?.close();
    Ok(StatusCode::NO_CONTENT)
}

async fn choose(
    _: Permit,
    State(app): State<AppState>,
    JsonBody(body): JsonBody,
) -> Result<StatusCode, ApiError> {
    let target = read_stderr(&body, |target| check(&app, target))?;
    Feature::LogsRoute.check(&app)?;
    control(&app)?.set_stderr(&target);
    Ok(StatusCode::NO_CONTENT)
}

fn check(app: &App, target: &str) -> Result<(), String> {
    let logs = app.options.logs.as_ref();
    logs.map_or(Ok(()), |logs| logs.check(target))
}

fn control(app: &App) -> Result<Arc<dyn LogControl>, ResponseError> {
    let logs = app.options.logs.clone();
    logs.ok_or_else(|| unsupported("Following the logs of this process"))
}
