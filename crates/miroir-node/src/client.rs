//! The engine's port to nodes, over HTTP.

use crate::error::garbled;
use crate::http::Http;
use crate::nodes::{Endpoint, Endpoints, NodeAddress};
use crate::request::{from_read, from_write};
use crate::tasks;
use ::http::StatusCode;
use async_trait::async_trait;
use bytes::Bytes;
use miroir_core::id::{NodeId, NodeTaskUid};
use miroir_engine::port::{NodeClient, NodeError, NodeRead, NodeTask, NodeTaskQuery, NodeWrite};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Talks to nodes over HTTP/1.1 with kept connections.
#[derive(Debug)]
pub struct HttpNodeClient {
    http: Http,
    /// Held only to look up or to swap.
    endpoints: RwLock<Endpoints>,
}

impl HttpNodeClient {
    /// A client of these nodes. Nothing is sent yet: an address that cannot work answers each call
    /// with [`NodeError::Unreachable`] and the reason.
    #[must_use]
    pub fn new(nodes: Vec<NodeAddress>) -> Self {
        Self {
            http: Http::new(),
            endpoints: RwLock::new(Endpoints::new(nodes)),
        }
    }

    /// Replaces all nodes. Calls under way end as they began.
    pub fn set_nodes(&self, nodes: Vec<NodeAddress>) {
        let endpoints = Endpoints::new(nodes);
        *self
            .endpoints
            .write()
            .unwrap_or_else(PoisonError::into_inner) = endpoints;
        self.http.close_idle();
    }

    fn change(&self, change: impl FnOnce(&mut Endpoints)) {
        let mut endpoints = self
            .endpoints
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        change(&mut endpoints);
    }

    fn endpoint(&self, node: &NodeId) -> Option<Arc<Endpoint>> {
        let endpoints = self
            .endpoints
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        endpoints.get(node)
    }
}

fn unknown(node: &NodeId) -> NodeError {
    let cause = "there is no node of this name".to_owned();
    NodeError::Unreachable {
        node: node.clone(),
        cause,
    }
}

#[async_trait]
impl NodeClient for HttpNodeClient {
    async fn read(
        &self,
        node: &NodeId,
        read: NodeRead,
        timeout: Duration,
    ) -> Result<Bytes, NodeError> {
        let Some(endpoint) = self.endpoint(node) else {
            return Err(unknown(node));
        };
        self.http
            .send_read(node, &endpoint, from_read(read), timeout)
            .await
    }

    async fn read_stranger(
        &self,
        url: &str,
        read: NodeRead,
        timeout: Duration,
    ) -> Result<Bytes, NodeError> {
        let id = NodeId::new(url);
        let endpoint = {
            let endpoints = self
                .endpoints
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            endpoints.stranger(url)
        };
        self.http
            .send_read(&id, &endpoint, from_read(read), timeout)
            .await
    }

    async fn submit(
        &self,
        node: &NodeId,
        write: NodeWrite,
        timeout: Duration,
    ) -> Result<NodeTaskUid, NodeError> {
        let Some(endpoint) = self.endpoint(node) else {
            return Err(unknown(node));
        };
        let body = self
            .http
            .send_write(node, &endpoint, from_write(write), timeout)
            .await?;
        tasks::parse_summary(&body)
            .map_err(|cause| garbled(node, StatusCode::ACCEPTED, cause, &body))
    }

    fn admit(&self, node: &NodeId, url: &str) {
        self.change(|endpoints| endpoints.admit(node, url));
    }

    fn retire(&self, node: &NodeId) {
        self.change(|endpoints| endpoints.retire(node));
    }

    async fn fetch_tasks(
        &self,
        node: &NodeId,
        query: NodeTaskQuery,
        timeout: Duration,
    ) -> Result<Vec<NodeTask>, NodeError> {
        let Some(endpoint) = self.endpoint(node) else {
            return Err(unknown(node));
        };
        let limit = query.limit as usize;
        let pages = async {
            let mut found = Vec::new();
            for request in tasks::requests(&query) {
                let body = self
                    .http
                    .send_read(node, &endpoint, request, timeout)
                    .await?;
                let page = tasks::parse(&body)
                    .map_err(|cause| garbled(node, StatusCode::OK, cause, &body))?;
                found.extend(page);
                if found.len() >= limit {
                    break;
                }
            }
            found.truncate(limit);
            Ok(found)
        };
        // One request is bounded already; this bounds the sum of several.
        match tokio::time::timeout(timeout, pages).await {
            Ok(outcome) => outcome,
            Err(_) => Err(NodeError::UnknownOutcome {
                node: node.clone(),
                cause: format!("the task list did not come within {timeout:?}"),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
