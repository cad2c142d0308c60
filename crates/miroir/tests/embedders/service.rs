//! A service that embeds: a small server, whose vectors are made of the words of a text.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

const DIMENSIONS: usize = 8;
/// A text with this word cannot be embedded.
pub(crate) const IMPOSSIBLE: &str = "impossible";

/// The service: its address, and every text it was given.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    texts: Arc<Mutex<Vec<String>>>,
}

impl Service {
    /// Serves until the test's process ends.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let texts = Arc::new(Mutex::new(Vec::new()));
        let given = Arc::clone(&texts);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let given = Arc::clone(&given);
                thread::spawn(move || serve(stream, &given));
            }
        });
        Self { address, texts }
    }

    pub(crate) fn settings(&self) -> Value {
        let url = format!("http://{}/embed", self.address);
        let rest = json!({
            "source": "rest", "url": url, "dimensions": DIMENSIONS,
            "request": {"texts": ["{{text}}", "{{..}}"]},
            "response": {"vectors": ["{{embedding}}", "{{..}}"]},
        });
        let mut titled = rest.clone();
        titled["documentTemplate"] = json!("about {{ doc.title }}");
        let mut listed = rest.clone();
        listed["documentTemplate"] =
            json!("{%- for f in fields -%} {{ f.name }}: {{ f.value }}; {%- endfor -%}");
        json!({"whole": rest, "titled": titled, "listed": listed})
    }

    /// An embedder that is asked with pieces of JSON instead of a text.
    fn by_pieces(&self, indexing: Value, search: Value) -> Value {
        json!({
            "source": "rest", "url": format!("http://{}/embed", self.address),
            "dimensions": DIMENSIONS,
            "request": {"pieces": ["{{fragment}}", "{{..}}"]},
            "response": {"vectors": ["{{embedding}}", "{{..}}"]},
            "indexingFragments": indexing, "searchFragments": search,
        })
    }

    /// Embedders of fragments, and one made of two.
    pub(crate) fn other_settings(&self) -> Value {
        // Its fields come in any order.
        let whole = "{% for p in doc %}.{% endfor %} {{ doc.text }}";
        let several = self.by_pieces(
            json!({
                "title": {"value": {"text": "{{ doc.title }}"}},
                "whole": {"value": {"list": [whole]}},
            }),
            json!({
                "words": {"value": {"text": "{{ q }}"}},
                "picture": {"value": {"of": "{{ media.about }}"}},
            }),
        );
        let one = self.by_pieces(
            json!({"title": {"value": "{{ doc.title }}"}}),
            json!({"both": {"value": "{{ q }} {{ media.about }}"}}),
        );
        let plain = self.settings()["whole"].clone();
        let two = json!({
            "source": "composite", "searchEmbedder": plain, "indexingEmbedder": plain,
        });
        json!({"several": several, "one": one, "two": two})
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.texts.lock().unwrap())
    }
}

/// Answers the requests of one connection, one after the other.
fn serve(stream: TcpStream, given: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let body: Value = serde_json::from_slice(&body).ok()?;
        let texts: Vec<String> = match &body["pieces"] {
            Value::Array(pieces) => pieces.iter().map(Value::to_string).collect(),
            _ => serde_json::from_value(body["texts"].clone()).ok()?,
        };
        let (status, answer) = if texts.iter().any(|text| text.contains(IMPOSSIBLE)) {
            ("400 Bad Request", json!({"error": "it cannot be embedded"}))
        } else {
            let vectors: Vec<Vec<f64>> = texts.iter().map(|text| vector_of(text)).collect();
            ("200 OK", json!({ "vectors": vectors }))
        };
        given.lock().ok()?.extend(texts);
        let answer = answer.to_string();
        let length = answer.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n\
             {answer}"
        )
        .ok()?;
    }
}

/// A vector that tells texts apart by their words; no two words count the same.
fn vector_of(text: &str) -> Vec<f64> {
    let mut vector = vec![0.125; DIMENSIONS];
    for word in text.split(|c: char| !c.is_alphanumeric()) {
        for (at, byte) in word.bytes().enumerate() {
            let sum = usize::from(byte) * (at + 3);
            vector[sum % DIMENSIONS] += 0.25 + f64::from(byte) / 97.0;
        }
    }
    vector
}
