//! A server between Miroir and a node that adds a filter to every search.
//!
//! With it a test puts documents on a node that Miroir knows nothing of: what Miroir asks is
//! narrowed on its way, and all else passes unchanged.

use crate::Request;
use crate::http::{Body, Http, read_body, read_head};
use anyhow::Result;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{self, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

/// Headers that belong to a connection and not to what is said on it.
const HOP_HEADERS: &[&str] = &["host", "connection", "content-length", "transfer-encoding"];

/// The running server. Dropping it stops it.
pub struct Relay {
    address: SocketAddr,
    is_stopped: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Relay {
    /// Starts one before `node` that ANDs `filter` to each search.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn start(node: SocketAddr, filter: &str) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let is_stopped = Arc::new(AtomicBool::new(false));
        let (stopped, filter) = (Arc::clone(&is_stopped), filter.to_owned());
        let acceptor = thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let filter = filter.clone();
                if let Ok(stream) = stream {
                    // Ends when the client closes, which it does when it is stopped.
                    thread::spawn(move || serve(stream, node, &filter));
                }
            }
        });
        Ok(Self {
            address,
            is_stopped,
            acceptor: Some(acceptor),
        })
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        // The acceptor looks at the flag when the next connection comes: this one.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn serve(stream: TcpStream, node: SocketAddr, filter: &str) {
    let _ = stream.set_nodelay(true);
    let http = Http::new(node, None);
    let mut reader = BufReader::with_capacity(256 * 1024, stream);
    while let Ok(answer) = answer(&mut reader, &http, filter) {
        if reader.get_mut().write_all(&answer).is_err() {
            return;
        }
    }
}

/// Reads one request, sends it on and returns the bytes of the answer.
fn answer(reader: &mut BufReader<TcpStream>, http: &Http, filter: &str) -> io::Result<Vec<u8>> {
    let head = read_head(reader)?;
    let mut body = Vec::new();
    read_body(reader, &head, |part| body.extend_from_slice(part))?;
    let mut words = head.first_line.split_ascii_whitespace();
    let method = words.next().unwrap_or_default();
    let path = words.next().unwrap_or_default();
    if method == "POST" && path.ends_with("/search") {
        narrow(&mut body, filter);
    }
    let headers: Vec<(&str, &str)> = head
        .headers
        .iter()
        .filter(|(name, _)| !HOP_HEADERS.contains(&name.as_str()))
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let request = Request {
        method,
        path,
        headers: &headers,
    };
    let sent = if body.is_empty() {
        Body::Empty
    } else {
        Body::Bytes(&body)
    };
    let answer = http.send(request, sent)?;
    let mut text = format!("HTTP/1.1 {} Relayed\r\n", answer.status);
    for (name, value) in &answer.headers {
        if !HOP_HEADERS.contains(&name.as_str()) {
            let _ = write!(text, "{name}: {value}\r\n");
        }
    }
    let _ = write!(text, "content-length: {}\r\n\r\n", answer.body.len());
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(&answer.body);
    Ok(bytes)
}

/// ANDs a filter to that of a search; a body that is no search passes as it is.
fn narrow(body: &mut Vec<u8>, filter: &str) {
    let Ok(Value::Object(mut search)) = serde_json::from_slice(body) else {
        return;
    };
    let narrowed = match search.remove("filter") {
        None | Some(Value::Null) => json!(filter),
        Some(Value::Array(mut parts)) => {
            parts.push(json!(filter));
            Value::Array(parts)
        }
        Some(other) => json!([other, filter]),
    };
    search.insert("filter".to_owned(), narrowed);
    *body = Value::Object(search).to_string().into_bytes();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_is_narrowed_whatever_its_filter() {
        for (sent, expected) in [
            (json!({"q": "a"}), json!({"q": "a", "filter": "x = 1"})),
            (
                json!({"filter": "a = 1"}),
                json!({"filter": ["a = 1", "x = 1"]}),
            ),
            (
                json!({"filter": ["a = 1", ["b = 2"]]}),
                json!({"filter": ["a = 1", ["b = 2"], "x = 1"]}),
            ),
        ] {
            let mut body = sent.to_string().into_bytes();
            narrow(&mut body, "x = 1");
            let found: Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(found, expected);
        }
    }
}
