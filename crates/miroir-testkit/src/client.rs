//! The Meilisearch API as a test writes it: JSON in, JSON out, tasks waited for.

use crate::http::{Answer, Body, Http, Request};
use crate::{PATIENCE, poll};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::net::SocketAddr;

/// An answer, with its body as JSON.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body; `null` if it was empty.
    pub body: Value,
}

impl Reply {
    /// The body of an answer in the 200s.
    ///
    /// # Errors
    /// Any other status, with the body.
    pub fn ok(self) -> Result<Value> {
        ensure!(
            (200..300).contains(&self.status),
            "answered {}: {}",
            self.status,
            self.body
        );
        Ok(self.body)
    }

    /// The error code in the body, if there is one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.body.get("code").and_then(Value::as_str)
    }

    /// The uid of the task that this answer accepted.
    ///
    /// # Errors
    /// Any other status than 202, or no uid.
    pub fn accepted(self) -> Result<u64> {
        ensure!(
            self.status == 202,
            "answered {} and not 202: {}",
            self.status,
            self.body
        );
        self.body["taskUid"]
            .as_u64()
            .with_context(|| format!("no taskUid in {}", self.body))
    }
}

/// A client of one node or proxy.
#[derive(Debug, Clone)]
pub struct Client {
    http: Http,
}

impl Client {
    /// A client of `address` that shows `key`, if given.
    #[must_use]
    pub fn new(address: SocketAddr, key: Option<&str>) -> Self {
        Self {
            http: Http::new(address, key),
        }
    }

    /// The HTTP client below.
    #[must_use]
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// Its base URL, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.http.address())
    }

    /// Sends one request, with `body` as JSON if there is one.
    ///
    /// # Errors
    /// When no answer came, or its body is not JSON.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Reply> {
        let bytes = body.map(Value::to_string);
        let (headers, body): (&[_], _) = match &bytes {
            Some(bytes) => (
                &[("content-type", "application/json")],
                Body::Bytes(bytes.as_bytes()),
            ),
            None => (&[], Body::Empty),
        };
        let answer = self
            .http
            .send(
                Request {
                    method,
                    path,
                    headers,
                },
                body,
            )
            .with_context(|| format!("{method} {}{path}", self.url()))?;
        to_reply(answer).with_context(|| format!("{method} {}{path}", self.url()))
    }

    /// Sends documents in another form than JSON.
    ///
    /// # Errors
    /// When no answer came, or its body is not JSON.
    pub fn send_as(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Body<'_>,
    ) -> Result<Reply> {
        to_reply(self.http.send(
            Request {
                method,
                path,
                headers,
            },
            body,
        )?)
    }

    /// `GET path`.
    ///
    /// # Errors
    /// When no JSON answer came.
    pub fn get(&self, path: &str) -> Result<Reply> {
        self.call("GET", path, None)
    }

    /// `POST path` with a JSON body.
    ///
    /// # Errors
    /// When no JSON answer came.
    pub fn post(&self, path: &str, body: &Value) -> Result<Reply> {
        self.call("POST", path, Some(body))
    }

    /// `PUT path` with a JSON body.
    ///
    /// # Errors
    /// When no JSON answer came.
    pub fn put(&self, path: &str, body: &Value) -> Result<Reply> {
        self.call("PUT", path, Some(body))
    }

    /// `PATCH path` with a JSON body.
    ///
    /// # Errors
    /// When no JSON answer came.
    pub fn patch(&self, path: &str, body: &Value) -> Result<Reply> {
        self.call("PATCH", path, Some(body))
    }

    /// `DELETE path`.
    ///
    /// # Errors
    /// When no JSON answer came.
    pub fn delete(&self, path: &str) -> Result<Reply> {
        self.call("DELETE", path, None)
    }

    /// `POST /indexes/{index}/search`.
    ///
    /// # Errors
    /// When no JSON answer came.
    pub fn search(&self, index: &str, query: &Value) -> Result<Reply> {
        self.post(&format!("/indexes/{index}/search"), query)
    }

    /// Returns the task once it is final, whatever its outcome.
    ///
    /// # Errors
    /// When it does not get there in time or cannot be read.
    pub fn wait_task(&self, uid: u64) -> Result<Value> {
        let path = format!("/tasks/{uid}");
        poll(
            &format!("the end of task {uid} at {}", self.url()),
            PATIENCE,
            || {
                let task = self.get(&path)?.ok()?;
                Ok(is_final(&task).then_some(task))
            },
        )
    }

    /// Returns the task once it has succeeded.
    ///
    /// # Errors
    /// When it ends otherwise, or not in time.
    pub fn wait_succeeded(&self, uid: u64) -> Result<Value> {
        let task = self.wait_task(uid)?;
        if task["status"] != "succeeded" {
            bail!("task {uid} ended as {task}");
        }
        Ok(task)
    }

    /// Sends a write and waits until it has succeeded.
    ///
    /// # Errors
    /// When it is refused or fails.
    pub fn write(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let uid = self.call(method, path, body)?.accepted()?;
        self.wait_succeeded(uid)
    }

    /// All tasks, in the order of their uids.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn tasks(&self) -> Result<Vec<Value>> {
        // Newest first, page by page: a write that comes meanwhile does not shift what follows.
        let mut tasks = Vec::new();
        let mut from = String::new();
        loop {
            let mut page = self.get(&format!("/tasks?limit=500{from}"))?.ok()?;
            let next = page["next"].as_u64();
            let results = page["results"]
                .as_array_mut()
                .context("a task list without results")?;
            tasks.append(results);
            match next {
                Some(next) => from = format!("&from={next}"),
                None => break,
            }
        }
        tasks.reverse();
        Ok(tasks)
    }
}

/// Whether a task will not change any more.
fn is_final(task: &Value) -> bool {
    matches!(
        task["status"].as_str(),
        Some("succeeded" | "failed" | "canceled")
    )
}

fn to_reply(answer: Answer) -> Result<Reply> {
    let body = if answer.body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&answer.body).with_context(|| {
            format!(
                "{} with {:?}",
                answer.status,
                String::from_utf8_lossy(&answer.body)
            )
        })?
    };
    Ok(Reply {
        status: answer.status,
        headers: answer.headers,
        body,
    })
}
