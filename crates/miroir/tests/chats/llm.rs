//! An LLM that says what the last words of its user tell it to, and keeps what it was told.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// A server on loopback.
pub(crate) struct Llm {
    pub(crate) address: SocketAddr,
    told: Arc<Mutex<Vec<Value>>>,
    /// Conversations that it was waiting in when the other side went.
    left: Arc<AtomicUsize>,
}

impl Llm {
    /// Serves until the test's process ends.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let left = Arc::new(AtomicUsize::new(0));
        let (kept, counted) = (Arc::clone(&told), Arc::clone(&left));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (kept, counted) = (Arc::clone(&kept), Arc::clone(&counted));
                thread::spawn(move || serve(stream, &kept, &counted));
            }
        });
        Self {
            address,
            told,
            left,
        }
    }

    /// Whether somebody went whom it was waiting for.
    pub(crate) fn has_ended(&self) -> bool {
        self.left.load(Ordering::SeqCst) > 0
    }

    /// What it was told since the last time: path, credentials and body of each request.
    pub(crate) fn take(&self) -> Vec<Value> {
        std::mem::take(&mut self.told.lock().unwrap())
    }
}

/// Answers one request and closes the connection.
fn serve(stream: TcpStream, told: &Mutex<Vec<Value>>, left: &AtomicUsize) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut out = stream;
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let (mut length, mut seen) = (0, json!({}));
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            name @ ("authorization"
            | "api-key"
            | "openai-organization"
            | "openai-project"
            | "openai-beta"
            | "accept"
            | "content-type") => seen[name] = json!(value),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body: Value = serde_json::from_slice(&body).ok()?;
    told.lock()
        .ok()?
        .push(json!({"path": path, "headers": seen, "body": body}));
    answer(&mut out, body["messages"].as_array()?, left)
}

fn answer(out: &mut TcpStream, messages: &[Value], left: &AtomicUsize) -> Option<()> {
    let user = messages.iter().rfind(|message| message["role"] == "user")?;
    let words = user["content"].as_str()?;
    if let Some(status) = words.strip_prefix("status ") {
        return whole(out, status, refusal().as_bytes());
    }
    match words {
        "page" => return whole(out, "500", b"<html>"),
        "no stream" => return whole(out, "200", refusal().as_bytes()),
        _ => {}
    }
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    out.write_all(head.as_bytes()).ok()?;
    let was_answered = messages.last()?["role"] == "tool";
    let calls = words.strip_prefix("search ").filter(|_| !was_answered);
    if let Some(calls) = calls {
        let calls: Vec<Value> = serde_json::from_str(calls).ok()?;
        call(out, &calls)?;
        return event(out, "[DONE]");
    }
    match words {
        "again and again" => {
            call(
                out,
                &[json!({"index_uid": "movies", "q": "ali", "filter": ""})],
            )?;
            return event(out, "[DONE]");
        }
        "rubbish" => return event(out, "{rubbish"),
        "half" => return event(out, &piece(json!({"content": "hal"}), Value::Null)),
        "parts" => {
            let parts = json!([{"type": "reference"}, {"type": "text", "text": "in parts"}]);
            event(out, &piece(json!({"content": parts}), Value::Null))?;
        }
        "wait" => {
            event(out, &piece(json!({"content": "wait"}), Value::Null))?;
            // Until the other side closes.
            let _ = out.read(&mut [0]);
            left.fetch_add(1, Ordering::SeqCst);
            return None;
        }
        _ => {}
    }
    event(
        out,
        &piece(json!({"role": "assistant", "content": ""}), Value::Null),
    )?;
    event(out, &piece(json!({"content": "Hello"}), Value::Null))?;
    event(out, &piece(json!({"content": " \"you\"\n"}), Value::Null))?;
    event(out, &piece(json!({}), json!("stop")))?;
    let mut usage = json!({"id": "c", "object": "o", "created": 1, "model": "m", "choices": []});
    usage["usage"] = json!({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3});
    event(out, &usage.to_string())?;
    event(out, "[DONE]")
}

/// Calls the search, the arguments in two parts.
fn call(out: &mut TcpStream, calls: &[Value]) -> Option<()> {
    event(
        out,
        &piece(json!({"role": "assistant", "content": null}), Value::Null),
    )?;
    for (index, call) in calls.iter().enumerate() {
        let arguments = call
            .as_str()
            .map_or_else(|| call.to_string(), str::to_owned);
        let (first, second) = arguments.split_at(4);
        let function = json!({"name": "_meiliSearchInIndex", "arguments": first});
        let part = json!({
            "index": index, "id": format!("call_{index}"), "type": "function",
            "function": function,
        });
        event(out, &piece(json!({"tool_calls": [part]}), Value::Null))?;
        let part = json!({"index": index, "function": {"arguments": second}});
        event(out, &piece(json!({"tool_calls": [part]}), Value::Null))?;
    }
    event(out, &piece(json!({}), json!("tool_calls")))
}

fn piece(delta: Value, finish: Value) -> String {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
    let piece = json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000,
        "model": "m", "choices": [choice],
    });
    piece.to_string()
}

fn event(out: &mut TcpStream, data: &str) -> Option<()> {
    write!(out, "data: {data}\n\n").ok()?;
    out.flush().ok()
}

fn refusal() -> String {
    let error = json!({
        "message": "not today", "type": "invalid_request_error", "param": null, "code": "bad",
    });
    json!({ "error": error }).to_string()
}

fn whole(out: &mut TcpStream, status: &str, body: &[u8]) -> Option<()> {
    let length = body.len();
    write!(
        out,
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n"
    )
    .ok()?;
    out.write_all(body).ok()
}
