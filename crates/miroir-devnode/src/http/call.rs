//! One request as a route sees it.

use crate::auth::Permit;
use crate::error::ApiError;
use crate::http::{Query, body};
use crate::shared::Shared;
use axum::body::Body;
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http::{HeaderMap, Uri};
use serde_json::Value;
use std::convert::Infallible;
use std::sync::Arc;

/// One request. The order of checks in a route: authorization, path and query, body.
pub(crate) struct Call {
    pub(crate) shared: Arc<Shared>,
    pub(crate) headers: HeaderMap,
    pub(crate) uri: Uri,
    body: Body,
}

impl FromRequest<Arc<Shared>> for Call {
    type Rejection = Infallible;

    async fn from_request(request: Request, state: &Arc<Shared>) -> Result<Self, Infallible> {
        let (parts, body) = request.into_parts();
        Ok(Self {
            shared: Arc::clone(state),
            headers: parts.headers,
            uri: parts.uri,
            body,
        })
    }
}

impl Call {
    /// Checks that the bearer may do `action`, on `index` where the route names one.
    pub(crate) fn authorize(
        &self,
        action: &'static str,
        index: Option<&str>,
    ) -> Result<Permit, ApiError> {
        self.shared.keys.authorize(&self.headers, action, index)
    }

    pub(crate) fn query(&self, known: &[&str]) -> Result<Query, ApiError> {
        Query::of(&self.uri, known)
    }

    /// The JSON body; it can be taken once.
    pub(crate) async fn take_json(&mut self) -> Result<Value, ApiError> {
        let body = std::mem::take(&mut self.body);
        body::read_json(
            &self.headers,
            body,
            self.shared.options.http_payload_size_limit,
        )
        .await
    }

    /// The decompressed body; it can be taken once.
    pub(crate) async fn take_bytes(&mut self) -> Result<Bytes, ApiError> {
        let body = std::mem::take(&mut self.body);
        body::read(
            &self.headers,
            body,
            self.shared.options.http_payload_size_limit,
        )
        .await
    }
}
