//! Sends indexes to another Meilisearch (or Miroir) over its API, as one Meilisearch does: index,
//! settings, documents with their vectors. What becomes of the tasks it makes there is that
//! instance's business.

use super::documents::DocumentStream;
use super::port::{RemoteAnswer, RemoteMethod, RemoteRequest};
use super::{Failure, settings};
use crate::error::EngineError;
use crate::features::FOREIGN_KEYS;
use crate::foreign::foreign_refusal;
use crate::prepare::error_value;
use crate::refusal::reserved_filter;
use crate::state::{IndexEntry, Shared};
use bytes::Bytes;
use miroir_core::task::{ExportIndex, is_index_matched};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The bytes of documents sent at once when the client does not say. Far below what any instance
/// accepts by default.
const PAYLOAD_BYTES_DEFAULT: u64 = 24 * 1024 * 1024;
/// More is not kept in memory, whatever the client says: the documents are sent in more parts.
const PAYLOAD_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// One request, with a payload over a slow link.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a target that cannot take a request is asked again. Writes wait meanwhile.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where an export goes.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    /// Its address.
    pub(super) url: &'a str,
    /// The key to use there.
    pub(super) api_key: Option<&'a str>,
    /// The bytes of documents sent at once, if the client said.
    pub(super) payload_size: Option<u64>,
}

/// Sends every index that a pattern matches; returns what the task shows.
pub(super) async fn run(
    shared: &Shared,
    details: &Value,
    target: Target<'_>,
    wanted: &BTreeMap<String, ExportIndex>,
) -> Result<Value, Failure> {
    let snapshot = shared.snapshot.load_full();
    let mut sent = Map::new();
    for (uid, entry) in &snapshot.indexes {
        let found = wanted
            .iter()
            .find(|(pattern, _)| is_index_matched(pattern, uid.as_str()));
        let Some((_, how)) = found else { continue };
        let export = Export {
            shared,
            target,
            entry,
            how,
        };
        let matched = export.run().await?;
        shared.step("export.index").await;
        sent.insert(
            uid.to_string(),
            json!({
                "filter": how.filter,
                "overrideSettings": how.override_settings,
                "matchedDocuments": matched,
            }),
        );
    }
    let mut details = details.clone();
    details["indexes"] = Value::Object(sent);
    Ok(details)
}

/// One index on its way.
struct Export<'a> {
    shared: &'a Shared,
    target: Target<'a>,
    entry: &'a Arc<IndexEntry>,
    how: &'a ExportIndex,
}

impl Export<'_> {
    /// Returns how many documents matched.
    async fn run(&self) -> Result<u64, Failure> {
        let record = &self.entry.record;
        if let Some(filter) = &self.how.filter
            && let Some(message) = reserved_filter(filter, record, true)
        {
            let error = error_value("invalid_document_filter", message);
            return Err(Failure::Client(error));
        }
        if let Some(filter) = &self.how.filter
            && self.shared.features.is_on(FOREIGN_KEYS)
            && let Some(reason) = foreign_refusal(filter)
        {
            let message = format!("Index `{}`: {reason}", record.uid);
            let error = error_value("invalid_document_filter", message);
            return Err(Failure::Client(error));
        }
        let mut documents =
            DocumentStream::new(self.shared, self.entry.clone(), self.how.filter.clone());
        // A wrong filter is found before anything is made over there.
        let mut next = match documents.next().await {
            Err(EngineError::Refused { body, .. }) => {
                return Err(Failure::Client(of_index(body, record.uid.as_str())));
            }
            first => first?,
        };

        let exists = self.exists().await?;
        let key = &record.primary_key;
        if !exists {
            let body = json!({"uid": record.uid.as_str(), "primaryKey": key});
            self.post("/indexes", RemoteMethod::Post(to_bytes(&body)))
                .await?;
        } else if self.how.override_settings {
            let body = json!({ "primaryKey": key });
            self.post_below("", RemoteMethod::Patch(to_bytes(&body)))
                .await?;
        }
        let mut settings = settings::revealed(self.shared, self.entry).await?;
        // A server on which they are off takes none.
        if !self.shared.features.is_on(FOREIGN_KEYS) {
            settings.shift_remove(FOREIGN_KEYS);
        }
        let embedders = settings::fragment_embedders(&settings);
        if !exists || self.how.override_settings {
            let body = to_bytes(&Value::Object(settings));
            self.post_below("/settings", RemoteMethod::Patch(body))
                .await?;
        }

        let limit = self.target.payload_size.unwrap_or(PAYLOAD_BYTES_DEFAULT);
        let limit = limit.clamp(1, PAYLOAD_BYTES_MAX) as usize;
        let mut payload: Vec<u8> = Vec::new();
        while let Some(document) = next {
            let document = settings::fix_vectors(document, &embedders)
                .map_err(|error| EngineError::Answer(error.to_string()))?;
            // One document at least, even if it is larger.
            if !payload.is_empty() && payload.len() + document.len() > limit {
                self.send(std::mem::take(&mut payload)).await?;
            }
            payload.extend_from_slice(&document);
            payload.push(b'\n');
            next = documents.next().await?;
        }
        if !payload.is_empty() {
            self.send(payload).await?;
        }
        Ok(documents.matched())
    }

    async fn send(&self, payload: Vec<u8>) -> Result<(), Failure> {
        let method = RemoteMethod::PostDocuments(Bytes::from(payload));
        self.post_below("/documents", method).await?;
        self.shared.step("export.sent").await;
        Ok(())
    }

    /// The target has an index of that name.
    async fn exists(&self) -> Result<bool, Failure> {
        let path = format!("/indexes/{}", self.entry.record.uid);
        let answer = self.request(&path, RemoteMethod::Get).await?;
        match error_of(&answer) {
            None => Ok(true),
            Some(error) if error["code"] == "index_not_found" => Ok(false),
            Some(error) => Err(Failure::Client(refusal(&error))),
        }
    }

    async fn post_below(&self, path: &str, method: RemoteMethod) -> Result<(), Failure> {
        let path = format!("/indexes/{}{path}", self.entry.record.uid);
        self.post(&path, method).await
    }

    async fn post(&self, path: &str, method: RemoteMethod) -> Result<(), Failure> {
        let answer = self.request(path, method).await?;
        match error_of(&answer) {
            None => Ok(()),
            Some(error) => Err(Failure::Client(refusal(&error))),
        }
    }

    /// Sends a request until it is answered with more than "not now". All of them may be repeated:
    /// documents are whole and replace what is there.
    async fn request(&self, path: &str, method: RemoteMethod) -> Result<RemoteAnswer, Failure> {
        let clock = &self.shared.ports.clock;
        let request = RemoteRequest {
            method,
            url: format!("{}{path}", self.target.url.trim_end_matches('/')),
            api_key: self.target.api_key.map(str::to_owned),
        };
        let given_up = clock.monotonic() + PATIENCE;
        let mut attempt = 0;
        loop {
            let remotes = &self.shared.ports.remotes;
            let outcome = remotes.send(request.clone(), REQUEST_TIMEOUT).await;
            let is_worth_it = match &outcome {
                Ok(answer) => matches!(answer.status, 408 | 429 | 500 | 502 | 503 | 504),
                Err(failure) => failure.is_transient,
            };
            if !is_worth_it || clock.monotonic() >= given_up {
                return outcome
                    .map_err(|failure| Failure::Client(error_value("internal", failure.cause)));
            }
            tracing::debug!(url = request.url, attempt, "an export waits for its target");
            clock.sleep(delay(attempt)).await;
            attempt += 1;
        }
    }
}

/// Half a second at first, then longer and longer, up to a minute.
fn delay(attempt: u32) -> Duration {
    let doubled = 500u64.saturating_mul(1 << attempt.min(7));
    Duration::from_millis(doubled.min(60_000))
}

fn to_bytes(body: &Value) -> Bytes {
    Bytes::from(body.to_string())
}

/// The error object of an answer that is no success.
fn error_of(answer: &RemoteAnswer) -> Option<Value> {
    if (200..300).contains(&answer.status) {
        return None;
    }
    let found = serde_json::from_slice::<Value>(&answer.body).ok();
    let found = found.filter(|error| error.get("code").is_some_and(Value::is_string));
    Some(found.unwrap_or_else(|| {
        json!({
            "message": format!("the target answered {} without saying why", answer.status),
            "code": "internal",
            "type": "internal",
            "link": "",
        })
    }))
}

/// A node's refusal, with the index that it is about.
fn of_index(mut error: Value, uid: &str) -> Value {
    let message = error.get("message").and_then(Value::as_str);
    let prefix = format!("Index `{uid}`: ");
    if let Some(message) = message.filter(|message| !message.starts_with(&prefix)) {
        error["message"] = Value::from(format!("{prefix}{message}"));
    }
    error
}

/// What the task says of an error of the target's.
fn refusal(error: &Value) -> Value {
    let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
    let (code, message) = (text("code"), text("message"));
    error_value(
        "internal",
        format!(
            "Failed to export documents to remote server {code} ({}): {message} <{}>",
            text("type"),
            text("link")
        ),
    )
}
