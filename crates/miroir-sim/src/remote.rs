//! Another instance, as far as exports need one.

use async_trait::async_trait;
use bytes::Bytes;
use miroir_engine::job::port::{
    RemoteAnswer, RemoteClient, RemoteFailure, RemoteMethod, RemoteRequest,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::time::Duration;

/// It accepts everything and notes it.
#[derive(Default)]
pub struct Remote {
    state: Mutex<State>,
}

#[derive(Default)]
pub struct State {
    /// Method and path of each request, and its body.
    pub requests: Vec<(String, Value)>,
    /// Documents in the order in which they came.
    pub documents: Vec<Value>,
    /// The index is there already.
    pub has_index: bool,
    /// So many requests are answered with 503 first.
    pub busy: u32,
    /// Every write is refused.
    pub is_closed: bool,
    /// No answer ever comes.
    pub is_silent: bool,
}

impl Remote {
    pub fn on<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock())
    }

    /// Methods and paths so far.
    pub fn requests(&self) -> Vec<String> {
        self.on(|state| {
            state
                .requests
                .iter()
                .map(|(name, _)| name.clone())
                .collect()
        })
    }
}

#[async_trait]
impl RemoteClient for Remote {
    async fn send(
        &self,
        request: RemoteRequest,
        _: Duration,
    ) -> Result<RemoteAnswer, RemoteFailure> {
        if self.on(|state| state.is_silent) {
            std::future::pending::<()>().await;
        }
        let path = request.url.trim_start_matches("http://other.invalid");
        let error = |code: &str| json!({"message": "m", "code": code, "type": "t", "link": "l"});
        let (status, body) = self.on(|state| {
            if state.busy > 0 {
                state.busy -= 1;
                return (503, error("internal"));
            }
            let (name, body) = match &request.method {
                RemoteMethod::Get if state.has_index => return (200, json!({})),
                RemoteMethod::Get => return (404, error("index_not_found")),
                RemoteMethod::Post(body) => ("POST", parse(body)),
                RemoteMethod::Patch(body) => ("PATCH", parse(body)),
                RemoteMethod::PostDocuments(body) => {
                    let lines = body.split(|byte| *byte == b'\n');
                    let lines = lines.filter(|line| !line.is_empty());
                    let documents: Vec<Value> = lines.map(parse).collect();
                    state.documents.extend(documents.clone());
                    ("SEND", json!(documents.len()))
                }
            };
            if state.is_closed {
                return (403, error("invalid_api_key"));
            }
            state.requests.push((format!("{name} {path}"), body));
            (202, json!({"taskUid": 1}))
        });
        Ok(RemoteAnswer {
            status,
            body: Bytes::from(body.to_string()),
        })
    }
}

fn parse(bytes: impl AsRef<[u8]>) -> Value {
    serde_json::from_slice(bytes.as_ref()).expect("JSON")
}
