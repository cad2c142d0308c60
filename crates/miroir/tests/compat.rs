//! The same requests to one Meilisearch and to Miroir over three: are the answers the same?
//!
//! The scenarios lie in `compat/*.json`. Each is a list of steps, one request a step:
//!
//! - `send`: method and path; `{task:2}` stands for the uid of the third task of the scenario;
//! - `json`, or `text` with its content type in `type`: the body; `gzip` compresses it;
//! - `headers`: further headers; `see`: headers of the answer that must be the same too (the
//!   content type always must);
//! - `unlike`: parts of the outcome that legitimately differ, each with the reason;
//! - `unsupported`, with the reason: Miroir answers 501, and the one Meilisearch is not asked.
//!
//! A write is waited for, and its task compared as well. Compared are status, content type and the
//! whole JSON; [`MASKED`] names what no two servers have in common. `"masterKey": true` runs a
//! scenario on servers that have one.
//!
//! With `MIROIR_TEST_NODE` the one Meilisearch is a real server, and every word counts. Without, it
//! is the bundled node: then statuses, codes and the shape of answers are compared, not the words of
//! messages. That node is no full likeness of Meilisearch: where a step is marked
//! `"bundled": false`, its answer is not that of the Meilisearch that Miroir follows, so the step is
//! sent but not compared. A scenario that is marked so is about what that node does not have, and is
//! for real servers only.
//!
//! Each step makes one mistake at most: of two, Miroir may name the other one.

#![expect(clippy::unwrap_used, reason = "a step that fails shall fail its test")]

use miroir_testkit::{
    Answer, Body, Client, Cluster, ClusterOptions, Http, NodeOptions, NodeProcess, PATIENCE,
    Programs, ProxyOptions, ProxyProcess, Request, poll,
};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

const NODES: u32 = 3;
const SHARDS: u32 = 8;
const MASTER_KEY: &str = "MASTER_KEY_OF_TESTS";
/// More differences than this would not be read.
const SHOWN_MAX: usize = 60;

/// Members that no two servers have in common: their values are compared only as null or not.
const MASKED: &[&str] = &[
    // Moments and lengths of time.
    "enqueuedAt",
    "startedAt",
    "finishedAt",
    "createdAt",
    "updatedAt",
    "lastUpdate",
    "lastUpdatedAt",
    "duration",
    "processingTimeMs",
    "performanceDetails",
    // Made anew for each request, each query and each batch.
    "requestUid",
    "queryUid",
    "batchUid",
    // Bytes on disk: three nodes hold two copies, with reserved fields.
    "databaseSize",
    "usedDatabaseSize",
    "rawDocumentDbSize",
    "avgDocumentSize",
    "internalDatabaseSizes",
    // Which program answers.
    "commitSha",
    "commitDate",
    "pkgVersion",
];

/// Members that hold the uid of a task: compared as the position of that task in the scenario.
const TASK_UIDS: &[&str] = &["uid", "taskUid", "from", "next", "canceledBy"];

/// The uid of no task.
const NO_TASK: u64 = u64::MAX;

/// One server and the tasks that a scenario made on it.
struct Side {
    http: Http,
    task_uids: Vec<u64>,
}

impl Side {
    fn new(client: &Client) -> Self {
        // Without a key of its own: a scenario shows the one it means.
        Self {
            http: Http::new(client.http().address(), None),
            task_uids: Vec::new(),
        }
    }

    fn send(&self, step: &Value) -> Answer {
        let (method, path) = step["send"].as_str().unwrap().split_once(' ').unwrap();
        let path = self.named_tasks(path);
        let mut headers: Vec<(String, String)> = Vec::new();
        for (name, value) in step["headers"].as_object().into_iter().flatten() {
            headers.push((name.clone(), value.as_str().unwrap().to_owned()));
        }
        let mut body = match (step.get("json"), step.get("text")) {
            (Some(json), _) => json.to_string().into_bytes(),
            (None, Some(text)) => text.as_str().unwrap().as_bytes().to_vec(),
            (None, None) => Vec::new(),
        };
        let content_type = match (step.get("type"), step.get("json")) {
            (Some(content_type), _) => content_type.as_str(),
            (None, Some(_)) => Some("application/json"),
            (None, None) => None,
        };
        if let Some(content_type) = content_type {
            headers.push(("content-type".to_owned(), content_type.to_owned()));
        }
        if step["gzip"] == true {
            headers.push(("content-encoding".to_owned(), "gzip".to_owned()));
            let level = flate2::Compression::fast();
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(&body).unwrap();
            body = encoder.finish().unwrap();
        }
        if method == "HEAD" {
            return send_head(self.http.address(), &path);
        }
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let body = if body.is_empty() {
            Body::Empty
        } else {
            Body::Bytes(&body)
        };
        let request = Request {
            method,
            path: &path,
            headers: &headers,
        };
        self.http.send(request, body).unwrap()
    }

    /// `path` with the uids of the tasks it names.
    fn named_tasks(&self, path: &str) -> String {
        let mut path = path.to_owned();
        for (at, uid) in self.task_uids.iter().enumerate() {
            path = path.replace(&format!("{{task:{at}}}"), &uid.to_string());
        }
        path
    }

    /// The final state of the newest task.
    fn wait(&self, step: &Value) -> Value {
        let uid = self.task_uids.last().unwrap();
        let mut ask = json!({"send": format!("GET /tasks/{uid}")});
        if let Some(key) = step["headers"].get("authorization") {
            ask["headers"] = json!({ "authorization": key });
        }
        poll("the end of a task", PATIENCE, || {
            let task = to_json(&self.send(&ask));
            let status = task["status"].as_str().unwrap_or_default();
            Ok(matches!(status, "succeeded" | "failed" | "canceled").then_some(task))
        })
        .unwrap()
    }

    /// What became of a step: answer and task, without what cannot be equal.
    fn outcome(&mut self, step: &Value) -> Value {
        let answer = self.send(step);
        let body = to_json(&answer);
        let mut outcome = json!({"status": answer.status});
        let see = step["see"].as_array().into_iter().flatten();
        let see = see.filter_map(Value::as_str).chain(["content-type"]);
        outcome["headers"] = see
            .map(|name| (name.to_owned(), json!(answer.header(name))))
            .collect::<Map<_, _>>()
            .into();
        if let Some(uid) = body.get("taskUid").and_then(Value::as_u64) {
            self.task_uids.push(uid);
            outcome["task"] = self.masked("", &self.wait(step));
        }
        outcome["body"] = self.masked("", &body);
        for (pointer, _) in step["unlike"].as_object().into_iter().flatten() {
            if let Some(part) = outcome.pointer_mut(pointer) {
                *part = Value::Null;
            } else if let Some((parent, name)) = pointer.rsplit_once('/') {
                // What only one of them has is made to be had by both.
                if let Some(Value::Object(parent)) = outcome.pointer_mut(parent) {
                    parent.insert(name.to_owned(), Value::Null);
                }
            }
        }
        outcome
    }

    fn masked(&self, name: &str, value: &Value) -> Value {
        match value {
            Value::Null => Value::Null,
            Value::Object(members) => members
                .iter()
                .map(|(name, value)| {
                    let value = match name.as_str() {
                        masked if MASKED.contains(&masked) && !value.is_null() => json!("masked"),
                        name => self.masked(name, value),
                    };
                    (name.clone(), value)
                })
                .collect::<Map<_, _>>()
                .into(),
            Value::Array(items) => items.iter().map(|item| self.masked(name, item)).collect(),
            Value::Number(number) if TASK_UIDS.contains(&name) => {
                let at = self
                    .task_uids
                    .iter()
                    .position(|uid| number.as_u64() == Some(*uid));
                at.map_or_else(|| value.clone(), |at| json!(format!("task {at}")))
            }
            Value::String(text) if matches!(name, "originalFilter" | "message") => {
                json!(self.without_task_uids(text))
            }
            other => other.clone(),
        }
    }

    /// Every number that is the uid of a task of the scenario, as the position of that task.
    fn without_task_uids(&self, text: &str) -> String {
        let mut out = String::new();
        let mut digits = String::new();
        // A blank at the end closes the last number.
        for c in text.chars().chain([' ']) {
            if c.is_ascii_digit() {
                digits.push(c);
                continue;
            }
            let uid = digits.parse().ok();
            match self.task_uids.iter().position(|task| Some(*task) == uid) {
                Some(at) => write!(out, "(task {at})").unwrap(),
                None => out.push_str(&digits),
            }
            digits.clear();
            out.push(c);
        }
        out.pop();
        out
    }
}

/// The answer to a `HEAD`, which says how long the body is and sends none.
fn send_head(address: SocketAddr, path: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "HEAD {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let headers = lines.filter_map(|line| line.split_once(": "));
    Answer {
        status: status.parse().unwrap(),
        headers: headers
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect(),
        body: body.as_bytes().to_vec(),
    }
}

/// The body as JSON; text that is none as a string, nothing as null.
fn to_json(answer: &Answer) -> Value {
    let mut body = answer.body.clone();
    if answer.header("content-encoding") == Some("gzip") {
        body = Vec::new();
        flate2::read::GzDecoder::new(&answer.body[..])
            .read_to_end(&mut body)
            .unwrap();
    }
    if body.is_empty() {
        return Value::Null;
    }
    let text = || json!(String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).unwrap_or_else(|_| text())
}

/// Takes out the words of messages: the bundled node's differ from those of the Meilisearch that
/// Miroir follows.
fn without_words(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(text) if name == "message" => "words".clone_into(text),
                    value => without_words(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(without_words),
        _ => {}
    }
}

/// Where two values differ, one line each: path, the one Meilisearch's value, Miroir's.
fn differences(path: &str, single: &Value, miroir: &Value, lines: &mut Vec<String>) {
    match (single, miroir) {
        (Value::Object(a), Value::Object(b)) => {
            let added = b.keys().filter(|name| !a.contains_key(*name));
            for name in a.keys().chain(added) {
                let of = |side: &Map<String, Value>| side.get(name).cloned();
                let (a, b) = (of(a), of(b));
                if a.is_none() || b.is_none() {
                    let show =
                        |side: Option<Value>| side.map_or("absent".into(), |v| v.to_string());
                    lines.push(format!("{path}/{name}: {} ≠ {}", show(a), show(b)));
                } else if let (Some(a), Some(b)) = (a, b) {
                    differences(&format!("{path}/{name}"), &a, &b, lines);
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                differences(&format!("{path}/{at}"), a, b, lines);
            }
        }
        _ if single == miroir => {}
        _ => lines.push(format!("{path}: {single} ≠ {miroir}")),
    }
}

/// Runs the scenarios of one file that ask for a master key, or those that do not.
fn compare_file(file: &str, single: &Client, miroir: &Client, real: bool, keyed: bool) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compat");
    let text = fs::read_to_string(folder.join(format!("{file}.json"))).unwrap();
    let scenarios: Value = serde_json::from_str(&text).unwrap();
    let mut report = String::new();
    let mut shown = 0;
    for scenario in scenarios["scenarios"].as_array().unwrap() {
        if (scenario["masterKey"] == true) != keyed {
            continue;
        }
        if !real && scenario["bundled"] == false {
            continue;
        }
        let (mut single, mut miroir) = (Side::new(single), Side::new(miroir));
        for (at, step) in scenario["steps"].as_array().unwrap().iter().enumerate() {
            if step["unsupported"].is_string() {
                let answer = miroir.send(step);
                if answer.status != 501 {
                    let (send, status) = (&step["send"], answer.status);
                    writeln!(report, "{file}: {send} is answered {status}: compare it").unwrap();
                }
                continue;
            }
            let mut left = single.outcome(step);
            let mut right = miroir.outcome(step);
            // Where only one of them took a write, the next tasks still have equal positions.
            let task_count = single.task_uids.len().max(miroir.task_uids.len());
            single.task_uids.resize(task_count, NO_TASK);
            miroir.task_uids.resize(task_count, NO_TASK);
            if !real {
                if step["bundled"] == false {
                    continue;
                }
                without_words(&mut left);
                without_words(&mut right);
            }
            let mut lines = Vec::new();
            differences("", &left, &right, &mut lines);
            if !lines.is_empty() && shown < SHOWN_MAX {
                shown += 1;
                let sent = step
                    .get("json")
                    .or(step.get("text"))
                    .unwrap_or(&Value::Null);
                let (name, send) = (&scenario["name"], &step["send"]);
                writeln!(report, "{file}, {name}, step {at}: {send} {sent}").unwrap();
                for line in lines {
                    writeln!(report, "    {line}").unwrap();
                }
            }
        }
    }
    report
}

/// Runs the open scenarios of these files, in this order, on a pair of its own.
fn check(files: &[&str]) {
    let programs = Programs::new(env!("CARGO_BIN_EXE_miroir"));
    let real = programs.has_real_nodes();
    let single = NodeProcess::start(&programs.node, NodeOptions::default()).unwrap();
    let cluster = Cluster::start(&programs, &ClusterOptions::new(NODES, 2, SHARDS)).unwrap();
    let mut report = String::new();
    for file in files {
        report += &compare_file(file, single.client(), cluster.client(), real, false);
    }
    assert!(report.is_empty(), "one Meilisearch ≠ Miroir:\n{report}");
}

#[test]
fn indexes_and_the_service_answer_as_one_meilisearch() {
    check(&["indexes", "service", "keys"]);
}

#[test]
fn documents_are_added_read_and_deleted_as_on_one_meilisearch() {
    check(&["documents_add", "documents_read", "documents_delete"]);
}

#[test]
fn settings_are_checked_and_shown_as_on_one_meilisearch() {
    check(&["settings"]);
}

#[test]
fn embedders_are_checked_and_searched_as_on_one_meilisearch() {
    check(&["embedders"]);
}

#[test]
fn searches_are_answered_and_refused_as_by_one_meilisearch() {
    check(&["search"]);
}

#[test]
fn federated_searches_and_facets_are_those_of_one_meilisearch() {
    check(&["federated", "spellings"]);
}

#[test]
fn foreign_documents_are_shown_and_asked_for_as_by_one_meilisearch() {
    check(&["foreign"]);
}

#[test]
fn templates_are_rendered_as_by_one_meilisearch() {
    check(&["templates"]);
}

#[test]
fn rules_pin_documents_as_on_one_meilisearch() {
    check(&["rules"]);
}

#[test]
fn indexes_are_swapped_and_compacted_as_on_one_meilisearch() {
    check(&["swaps"]);
}

#[test]
fn features_are_switched_and_documents_edited_as_on_one_meilisearch() {
    check(&["features", "editing"]);
}

#[test]
fn tasks_are_listed_canceled_and_deleted_as_on_one_meilisearch() {
    check(&["tasks", "dumps"]);
}

#[test]
fn batches_webhooks_and_features_that_are_off_answer_as_on_one_meilisearch() {
    check(&["batches", "webhooks", "gated"]);
}

#[test]
fn chats_are_set_up_as_on_one_meilisearch() {
    check(&["chats"]);
}

#[test]
fn bodies_that_are_none_are_refused_as_by_one_meilisearch() {
    check(&["malformed"]);
}

#[test]
fn a_master_key_locks_as_on_one_meilisearch() {
    let programs = Programs::new(env!("CARGO_BIN_EXE_miroir"));
    let locked = NodeOptions {
        master_key: Some(MASTER_KEY.to_owned()),
        ..NodeOptions::default()
    };
    let single = NodeProcess::start(&programs.node, locked).unwrap();
    let nodes: Vec<NodeProcess> = (0..NODES)
        .map(|_| NodeProcess::start(&programs.node, NodeOptions::default()).unwrap())
        .collect();
    let options = ProxyOptions {
        shards: SHARDS,
        master_key: Some(MASTER_KEY.to_owned()),
        ..ProxyOptions::over(nodes.iter().map(NodeProcess::url))
    };
    let proxy = ProxyProcess::start(&programs, options).unwrap();
    proxy.wait_ready().unwrap();
    let real = programs.has_real_nodes();
    let report = compare_file("keys", single.client(), proxy.client(), real, true);
    assert!(report.is_empty(), "one Meilisearch ≠ Miroir:\n{report}");
}
