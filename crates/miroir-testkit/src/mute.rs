//! A node that accepts everything, stores nothing and says that all went well.
//!
//! It speaks as much of the node API as Miroir needs to deliver documents, and counts what came.
//! With it a test pushes a gigabyte through a proxy without anybody indexing it.

use crate::http::{Head, read_body, read_head};
use anyhow::Result;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// A JSON body past this is counted and not understood.
const UNDERSTOOD_BYTES: usize = 1024 * 1024;
/// A fixed moment: nothing here happens at a time that matters.
const DATE: &str = "2024-01-01T00:00:00Z";

#[derive(Default)]
struct State {
    document_bytes: AtomicU64,
    document_lines: AtomicU64,
    largest_body_bytes: AtomicU64,
    stopped: AtomicBool,
    tasks: Mutex<Vec<Value>>,
    indexes: Mutex<BTreeMap<String, Value>>,
    settings: Mutex<BTreeMap<String, Value>>,
}

/// The running server. Dropping it stops it.
pub struct MuteNode {
    address: SocketAddr,
    state: Arc<State>,
    acceptor: Option<JoinHandle<()>>,
}

impl MuteNode {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let acceptor = thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stopped.load(Ordering::Relaxed) {
                    break;
                }
                let shared = Arc::clone(&shared);
                if let Ok(stream) = stream {
                    // Ends when the client closes, which it does when it is stopped.
                    thread::spawn(move || serve(stream, &shared));
                }
            }
        });
        Ok(Self {
            address,
            state,
            acceptor: Some(acceptor),
        })
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The bytes of all document payloads so far.
    #[must_use]
    pub fn document_bytes(&self) -> u64 {
        self.state.document_bytes.load(Ordering::Relaxed)
    }

    /// The lines of all document payloads so far: their documents, if they came as NDJSON.
    #[must_use]
    pub fn document_lines(&self) -> u64 {
        self.state.document_lines.load(Ordering::Relaxed)
    }

    /// The bytes of the largest single document payload.
    #[must_use]
    pub fn largest_body_bytes(&self) -> u64 {
        self.state.largest_body_bytes.load(Ordering::Relaxed)
    }
}

impl Drop for MuteNode {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::Relaxed);
        // The acceptor looks at the flag when the next connection comes: this one.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn serve(stream: TcpStream, state: &State) {
    let mut reader = BufReader::with_capacity(256 * 1024, stream);
    while !state.stopped.load(Ordering::Relaxed) {
        let Ok(head) = read_head(&mut reader) else {
            return;
        };
        let Ok((status, body)) = answer(&mut reader, &head, state) else {
            return;
        };
        let body = if status == 204 {
            String::new()
        } else {
            body.to_string()
        };
        let text = format!(
            "HTTP/1.1 {status} Mute\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        if reader.get_mut().write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

fn answer(
    reader: &mut BufReader<TcpStream>,
    head: &Head,
    state: &State,
) -> io::Result<(u16, Value)> {
    let mut words = head.first_line.split_ascii_whitespace();
    let (method, target) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let segments: Vec<&str> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .collect();
    let is_documents = matches!(
        (method, &segments[..]),
        ("POST" | "PUT", ["indexes", _, "documents"])
    );

    let (mut bytes, mut lines, mut kept) = (0_u64, 0_u64, Vec::new());
    read_body(reader, head, |part| {
        bytes += part.len() as u64;
        if is_documents {
            lines += part.iter().filter(|byte| **byte == b'\n').count() as u64;
        } else if kept.len() < UNDERSTOOD_BYTES {
            kept.extend_from_slice(part);
        }
    })?;
    if is_documents {
        state.document_bytes.fetch_add(bytes, Ordering::Relaxed);
        state.document_lines.fetch_add(lines, Ordering::Relaxed);
        state.largest_body_bytes.fetch_max(bytes, Ordering::Relaxed);
    }
    let body = serde_json::from_slice(&kept).unwrap_or(Value::Null);
    Ok(respond(state, method, &segments, query, &body))
}

fn respond(
    state: &State,
    method: &str,
    segments: &[&str],
    query: &str,
    body: &Value,
) -> (u16, Value) {
    let page = json!({ "results": [], "offset": 0, "limit": 20, "total": 0 });
    match (method, segments) {
        ("GET", ["health"]) => (200, json!({ "status": "available" })),
        ("GET", ["version"]) => (
            200,
            json!({ "commitSha": "mute", "commitDate": DATE, "pkgVersion": "1.50.0" }),
        ),
        ("GET", ["stats"]) => (
            200,
            json!({ "databaseSize": 0, "usedDatabaseSize": 0, "lastUpdate": null, "indexes": {} }),
        ),
        ("GET", ["tasks"]) => (200, list_tasks(state, query)),
        ("GET", ["tasks", uid]) => {
            let tasks = state.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            match uid.parse::<usize>().ok().and_then(|uid| tasks.get(uid)) {
                Some(task) => (200, task.clone()),
                None => not_found("task_not_found"),
            }
        }
        ("GET", ["experimental-features"]) | ("PATCH", ["experimental-features"]) => {
            (200, json!({}))
        }
        ("GET", ["keys" | "webhooks"]) => (200, page),
        ("GET", ["indexes"]) => {
            let indexes = state.indexes.lock().unwrap_or_else(PoisonError::into_inner);
            let results: Vec<&Value> = indexes.values().collect();
            let total = results.len();
            (
                200,
                json!({ "results": results, "offset": 0, "limit": total, "total": total }),
            )
        }
        ("GET", ["indexes", uid]) => {
            let indexes = state.indexes.lock().unwrap_or_else(PoisonError::into_inner);
            indexes
                .get(*uid)
                .map_or_else(|| not_found("index_not_found"), |i| (200, i.clone()))
        }
        ("GET", ["indexes", uid, "settings"]) => {
            let settings = state
                .settings
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            (
                200,
                settings.get(*uid).cloned().unwrap_or_else(|| json!({})),
            )
        }
        ("GET", ["indexes", _, "stats"]) => (
            200,
            json!({ "numberOfDocuments": 0, "isIndexing": false, "fieldDistribution": {} }),
        ),
        ("GET", ["indexes", _, "documents"]) | ("POST", ["indexes", _, "documents", "fetch"]) => {
            (200, page)
        }
        ("GET", ["indexes", _, "documents", _]) => not_found("document_not_found"),
        ("POST", ["indexes", _, "search"]) => (
            200,
            json!({
                "hits": [], "query": "", "processingTimeMs": 0, "limit": 20, "offset": 0,
                "estimatedTotalHits": 0
            }),
        ),
        ("POST" | "PUT" | "PATCH" | "DELETE", _) => {
            (202, accept(state, method, segments, query, body))
        }
        _ => not_found("not_found"),
    }
}

fn not_found(code: &str) -> (u16, Value) {
    (
        404,
        json!({ "message": code, "code": code, "type": "invalid_request", "link": "" }),
    )
}

/// Makes a task that has succeeded already and notes what later reads ask for.
fn accept(state: &State, method: &str, segments: &[&str], query: &str, body: &Value) -> Value {
    let (kind, index) = match (method, segments) {
        ("POST", ["indexes"]) => ("indexCreation", body["uid"].as_str().map(str::to_owned)),
        ("PATCH", ["indexes", uid]) => ("indexUpdate", Some((*uid).to_owned())),
        ("DELETE", ["indexes", uid]) => ("indexDeletion", Some((*uid).to_owned())),
        (_, ["indexes", uid, "settings", ..]) => ("settingsUpdate", Some((*uid).to_owned())),
        ("POST" | "PUT", ["indexes", uid, "documents"]) => {
            ("documentAdditionOrUpdate", Some((*uid).to_owned()))
        }
        (_, ["indexes", uid, ..]) => ("documentDeletion", Some((*uid).to_owned())),
        (_, ["swap-indexes"]) => ("indexSwap", None),
        _ => ("taskDeletion", None),
    };
    if let Some(uid) = &index {
        let mut indexes = state.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        if kind == "indexDeletion" {
            indexes.remove(uid);
        } else {
            indexes.entry(uid.clone()).or_insert_with(
                || json!({ "uid": uid, "createdAt": DATE, "updatedAt": DATE, "primaryKey": "id" }),
            );
        }
        if kind == "settingsUpdate" {
            let mut settings = state
                .settings
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let stored = settings.entry(uid.clone()).or_insert_with(|| json!({}));
            if let (Some(stored), Some(new)) = (stored.as_object_mut(), body.as_object()) {
                stored.extend(new.clone());
            }
        }
    }
    let mut tasks = state.tasks.lock().unwrap_or_else(PoisonError::into_inner);
    let uid = tasks.len();
    let mut task = json!({
        "uid": uid, "batchUid": uid, "indexUid": index, "status": "succeeded", "type": kind,
        "canceledBy": null, "details": {}, "error": null, "duration": "PT0S",
        "enqueuedAt": DATE, "startedAt": DATE, "finishedAt": DATE,
    });
    let mut summary = json!({
        "taskUid": uid, "indexUid": index, "status": "enqueued", "type": kind, "enqueuedAt": DATE,
    });
    if let Some(metadata) = parameter(query, "customMetadata") {
        task["customMetadata"] = json!(metadata);
        summary["customMetadata"] = json!(metadata);
    }
    tasks.push(task);
    summary
}

/// The tasks that `uids`, `from`, `reverse` and `limit` select.
fn list_tasks(state: &State, query: &str) -> Value {
    let number = |name| parameter(query, name).and_then(|text| text.parse::<usize>().ok());
    let uids: Option<Vec<usize>> = parameter(query, "uids")
        .map(|text| text.split(',').filter_map(|uid| uid.parse().ok()).collect());
    let indexes: Option<Vec<String>> =
        parameter(query, "indexUids").map(|text| text.split(',').map(str::to_owned).collect());
    // Every task here has succeeded.
    let wants_succeeded = parameter(query, "statuses")
        .is_none_or(|text| text.split(',').any(|status| status == "succeeded"));
    let reverse = parameter(query, "reverse").is_some_and(|text| text == "true");
    let limit = number("limit").unwrap_or(20);
    let tasks = state.tasks.lock().unwrap_or_else(PoisonError::into_inner);
    let mut matching: Vec<usize> = (0..tasks.len())
        .filter(|uid| uids.as_ref().is_none_or(|uids| uids.contains(uid)))
        .filter(|uid| {
            indexes.as_ref().is_none_or(|indexes| {
                tasks[*uid]["indexUid"]
                    .as_str()
                    .is_some_and(|i| indexes.iter().any(|o| o == i))
            })
        })
        .filter(|_| wants_succeeded)
        .collect();
    let total = matching.len();
    if !reverse {
        matching.reverse();
    }
    if let Some(from) = number("from") {
        matching.retain(|uid| if reverse { *uid >= from } else { *uid <= from });
    }
    let next = matching.get(limit).copied();
    matching.truncate(limit);
    let results: Vec<&Value> = matching.iter().map(|uid| &tasks[*uid]).collect();
    let from = matching.first();
    json!({ "results": results, "total": total, "limit": limit, "from": from, "next": next })
}

/// The decoded value of a query parameter.
fn parameter(query: &str, name: &str) -> Option<String> {
    let pair = query
        .split('&')
        .find(|pair| pair.split('=').next() == Some(name))?;
    let value = pair.split_once('=').map_or("", |(_, value)| value);
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Body, Client};

    #[test]
    fn a_mute_node_counts_streamed_documents_and_reports_success() {
        let node = MuteNode::start().unwrap();
        let client = Client::new(node.address, None);
        let mut produce =
            |out: &mut dyn Write| (0..1000).try_for_each(|id| writeln!(out, "{{\"id\":{id}}}"));
        let path = "/indexes/a/documents?primaryKey=id&customMetadata=e%3A7+x";
        let headers = [("content-type", "application/x-ndjson")];
        let reply = client
            .send_as("POST", path, &headers, Body::Stream(&mut produce))
            .unwrap();
        let task = client.wait_succeeded(reply.accepted().unwrap()).unwrap();
        assert_eq!(task["customMetadata"], "e:7 x");
        assert_eq!(node.document_lines(), 1000);
        assert_eq!(node.document_bytes(), node.largest_body_bytes());
        assert_eq!(client.get("/indexes/a").unwrap().status, 200);
        assert_eq!(client.tasks().unwrap().len(), 1);
    }
}
