//! Extractors: each reads one part of a request and refuses in Meilisearch's shape.
//!
//! Axum runs them in the order of a handler's arguments, so the order of checks (who asks, path,
//! query string, body) is the order in which a handler lists them.

use crate::app::AppState;
pub(crate) use crate::auth::permit::Permit;
use crate::auth::route::need_of;
use crate::auth::{Asked, authorize};
use crate::body::BodyReader;
use crate::content_type::check_json;
use crate::error::ApiError;
use crate::gate::Place;
use axum::extract::{FromRequest, FromRequestParts, MatchedPath, RawPathParams, Request};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::request::Parts;
use miroir_api::document::{Addition, DocumentListing, DocumentView};
use miroir_api::error::{Code, ResponseError};
use miroir_api::index::{Paging, invalid_index_uid};
use miroir_api::task::TaskListing;
use miroir_api::{document, index, task};
use miroir_core::id::IndexUid;
use serde_json::Value;

impl FromRequestParts<AppState> for Permit {
    type Rejection = ApiError;

    /// Decides by the route's line in the table, before anything else of the request is read.
    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        let route = parts.extensions.get::<MatchedPath>().cloned();
        let path = route.as_ref().map(MatchedPath::as_str).unwrap_or_default();
        let index = if path.contains("{uid}") {
            // A name that is no text is no index's, so that only a key for all indexes passes it.
            let uid = path_param(parts, app, "uid").await;
            Some(uid.unwrap_or_else(|_| char::REPLACEMENT_CHARACTER.to_string()))
        } else {
            None
        };
        let header = parts.headers.get(AUTHORIZATION);
        let asked = Asked {
            authorization: header.map(|value| value.to_str().unwrap_or_default()),
            need: need_of(&parts.method, path),
            index: index.as_deref(),
        };
        Ok(authorize(asked, &app.keys, &app.engine)?)
    }
}

/// The `{uid}` of the path.
pub(crate) struct Index(pub(crate) IndexUid);

impl<S: Send + Sync> FromRequestParts<S> for Index {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let uid = path_param(parts, state, "uid").await?;
        let uid = IndexUid::new(uid).map_err(|error| invalid_index_uid(&error.0))?;
        Ok(Self(uid))
    }
}

/// The `{id}` of the path: a document id, a task uid.
pub(crate) struct PathId(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        path_param(parts, state, "id").await.map(Self)
    }
}

/// One parameter of the path, decoded.
async fn path_param<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
    wanted: &str,
) -> Result<String, ApiError> {
    let params = RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|_| {
            ResponseError::new(
                Code::BadRequest,
                "The path of the request is not valid UTF-8.",
            )
        })?;
    let param = params.iter().find(|(name, _)| *name == wanted);
    Ok(param.map(|(_, value)| value.to_owned()).unwrap_or_default())
}

/// What a query string can be read as.
pub(crate) trait FromQuery: Sized {
    /// Reads the query string, without its `?`.
    fn read(raw: &str) -> Result<Self, ResponseError>;
}

/// The query string, read.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: FromQuery, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        Ok(Self(T::read(parts.uri.query().unwrap_or_default())?))
    }
}

/// The `customMetadata` of a route that has no other parameter.
pub(crate) struct CustomMetadata(pub(crate) Option<String>);

impl FromQuery for CustomMetadata {
    fn read(raw: &str) -> Result<Self, ResponseError> {
        document::read_custom_metadata(raw).map(Self)
    }
}

impl FromQuery for Paging {
    fn read(raw: &str) -> Result<Self, ResponseError> {
        index::read_paging(raw)
    }
}

impl FromQuery for Addition {
    fn read(raw: &str) -> Result<Self, ResponseError> {
        document::read_addition(raw)
    }
}

impl FromQuery for DocumentListing {
    fn read(raw: &str) -> Result<Self, ResponseError> {
        document::read_listing_parameters(raw)
    }
}

impl FromQuery for DocumentView {
    fn read(raw: &str) -> Result<Self, ResponseError> {
        document::read_view(raw)
    }
}

impl FromQuery for TaskListing {
    fn read(raw: &str) -> Result<Self, ResponseError> {
        task::read_listing(raw)
    }
}

/// The body of a JSON route.
pub(crate) struct JsonBody(pub(crate) Value);

impl FromRequest<AppState> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &AppState) -> Result<Self, ApiError> {
        // The place is kept until the body is read: what comes of it is larger still.
        let (bytes, _place) = collect_json(request, app).await?;
        Ok(Self(parse_json(&bytes)?))
    }
}

/// The body of a JSON route, not read yet.
pub(crate) struct JsonBytes(pub(crate) Bytes);

impl FromRequest<AppState> for JsonBytes {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &AppState) -> Result<Self, ApiError> {
        let (bytes, _place) = collect_json(request, app).await?;
        if bytes.is_empty() {
            return Err(missing_payload("json").into());
        }
        Ok(Self(bytes))
    }
}

/// A body that says that it is JSON, and its place among the large ones if it is one.
async fn collect_json(
    request: Request,
    app: &AppState,
) -> Result<(Bytes, Option<Place>), ApiError> {
    let (parts, body) = request.into_parts();
    check_json(&parts.headers)?;
    let reader = BodyReader::new(&parts.headers, body, app.options.http_payload_size_limit)?;
    reader.collect(&app.large_bodies).await
}

/// Parses a whole JSON body.
pub(crate) fn parse_json(bytes: &[u8]) -> Result<Value, ResponseError> {
    if bytes.is_empty() {
        return Err(missing_payload("json"));
    }
    serde_json::from_slice(bytes).map_err(malformed_json)
}

/// The body is empty.
pub(crate) fn missing_payload(format: &str) -> ResponseError {
    ResponseError::new(
        Code::MissingPayload,
        format!("A {format} payload is missing."),
    )
}

/// The body is no JSON, for this cause.
pub(crate) fn malformed_json(cause: impl std::fmt::Display) -> ResponseError {
    ResponseError::new(
        Code::MalformedPayload,
        format!("The json payload provided is malformed. `{cause}`."),
    )
}
