//! Rendering a template over a document, as an embedder would get it: `POST /render-template`.
//!
//! A node renders. The template of an embedder is the same on all nodes of its index, a document
//! lies on those of one shard: where both are asked for, the template is fetched first and then
//! rendered where the document is. Loops over a document's fields pass the reserved ones by, and
//! what is shown of a template is what the client set; see `settings::guarded`.

use crate::engine::Engine;
use crate::error::EngineError;
use crate::features::CHAT_COMPLETIONS;
use crate::port::{NodeError, NodeRead};
use crate::reads::ReadKind;
use crate::scatter::Scatter;
use crate::state::{IndexEntry, Snapshot};
use bytes::Bytes;
use miroir_core::cover::CoverPart;
use miroir_core::hash::{document_hash, shard_of};
use miroir_core::id::{IndexUid, ShardId};
use miroir_core::settings::{ChatSetting, guarded_value, revealed_value};
use serde_json::{Value, json};
use std::num::NonZeroU32;

const PATH: &str = "/render-template";

impl Engine {
    /// What `body`, the client's request, comes to: `{template, rendered}`. All that may be wrong
    /// with its form is the nodes' to say.
    ///
    /// # Errors
    /// [`EngineError::Client`] for an index that does not exist, [`EngineError::Refused`],
    /// [`EngineError::Unavailable`].
    pub async fn render(&self, mut body: Value) -> Result<Value, EngineError> {
        let snapshot = self.shared().snapshot.load_full();
        let has_chats = self.has_feature(CHAT_COMPLETIONS);
        let mut template_entry = named_index(&snapshot, &body, "template", has_chats)?;
        let input_entry = named_index(&snapshot, &body, "input", has_chats)?;
        if has_chats && let Some(inline) = chat_template(&body, template_entry) {
            // Nodes do not have it.
            body["template"] = inline;
            template_entry = None;
        }
        let id = body.pointer("/input/id").and_then(Value::as_str);
        let id = id.map(str::to_owned);
        for (part, entry) in [("template", template_entry), ("input", input_entry)] {
            if let Some(entry) = entry {
                body[part]["indexUid"] = json!(entry.record.physical.as_str());
            }
        }
        let (Some(entry), Some(id)) = (input_entry, id) else {
            return match template_entry.or(input_entry) {
                Some(entry) => self.render_on(&snapshot, entry, ShardId(0), &body).await,
                None => self.render_anywhere(&snapshot, &body).await,
            };
        };
        if names_template(&body)
            && let Some(of_template) = template_entry
        {
            let alone = json!({"template": body["template"]});
            let fetched = self.ask(&snapshot, of_template, ShardId(0), &alone).await?;
            body["template"] = as_inline(&body["template"], &fetched, of_template);
        } else if let Some(inline) = body.pointer_mut("/template/inline") {
            *inline = guarded_value(inline);
        }
        let shard_count = NonZeroU32::new(entry.record.shard_count).unwrap_or(NonZeroU32::MIN);
        let shard = shard_of(&id, shard_count);
        self.render_on(&snapshot, entry, shard, &body).await
    }

    async fn render_on(
        &self,
        snapshot: &Snapshot,
        entry: &IndexEntry,
        shard: ShardId,
        body: &Value,
    ) -> Result<Value, EngineError> {
        self.ask(snapshot, entry, shard, body).await.map(shown)
    }

    /// The answer of a node that holds the shard.
    async fn ask(
        &self,
        snapshot: &Snapshot,
        entry: &IndexEntry,
        shard: ShardId,
        body: &Value,
    ) -> Result<Value, EngineError> {
        let body = Bytes::from(body.to_string());
        let scatter = Scatter {
            shared: self.shared(),
            snapshot,
            entry,
            shards: Some(&[shard]),
            affinity: document_hash(entry.record.uid.as_str()),
            kind: ReadKind::Get,
            request: |_: &CoverPart| NodeRead::Raw {
                path: PATH.to_owned(),
                body: Some(body.clone()),
            },
        };
        let answers = scatter.gather().await?;
        read(answers.first().map_or(&[][..], |answer| &answer.body[..]))
    }

    /// The answer of any node: nothing in the request belongs to an index.
    async fn render_anywhere(
        &self,
        snapshot: &Snapshot,
        body: &Value,
    ) -> Result<Value, EngineError> {
        let shared = self.shared();
        let body = Bytes::from(body.to_string());
        let mut failure = EngineError::Unavailable {
            shards: Vec::new(),
            cause: "no node is up".to_owned(),
        };
        let readable = snapshot.nodes.iter().filter(|(_, view)| view.is_readable());
        for (node, _) in readable {
            let ask = NodeRead::Raw {
                path: PATH.to_owned(),
                body: Some(body.clone()),
            };
            let timeout = shared.config.search_timeout;
            match shared.ports.nodes.read(node, ask, timeout).await {
                Ok(body) => return read(&body).map(shown),
                Err(NodeError::Refused { status, body, .. }) => {
                    return Err(EngineError::Refused { status, body });
                }
                Err(error) => failure = error.into(),
            }
        }
        Err(failure)
    }
}

/// The index that a part of the request names, if it names one by a name that can be one.
fn named_index<'s>(
    snapshot: &'s Snapshot,
    body: &Value,
    part: &str,
    has_chats: bool,
) -> Result<Option<&'s IndexEntry>, EngineError> {
    let name = body.get(part).and_then(|part| part.get("indexUid"));
    let Some(uid) = name
        .and_then(Value::as_str)
        .and_then(|name| IndexUid::new(name).ok())
    else {
        return Ok(None);
    };
    if let Ok(entry) = snapshot.index(&uid) {
        return Ok(Some(entry));
    }
    let start = match part {
        "input" => "Cannot open index",
        _ if names_template(body) || (has_chats && is_of_chat(body)) => {
            "error while fetching template: cannot open index"
        }
        // Other templates that indexes have belong to features that are off, which is said first.
        _ => return Ok(None),
    };
    Err(EngineError::Client {
        code: "index_not_found",
        message: format!("{start} `{uid}`: Index `{uid}` not found."),
    })
}

/// Whether the template is one that an index has.
fn names_template(body: &Value) -> bool {
    let kind = body.pointer("/template/kind").and_then(Value::as_str);
    matches!(
        kind,
        Some("documentTemplate" | "indexingFragment" | "searchFragment")
    )
}

fn is_of_chat(body: &Value) -> bool {
    body.pointer("/template/kind") == Some(&json!("chatDocumentTemplate"))
}

/// The template by which an LLM is shown documents of an index, as one that is given with the
/// request; `None` for another template, or where the request says more, which is wrong.
fn chat_template(body: &Value, entry: Option<&IndexEntry>) -> Option<Value> {
    let entry = entry.filter(|_| is_of_chat(body))?;
    let mut members = body.get("template")?.as_object()?.keys();
    if !members.all(|name| {
        matches!(
            name.as_str(),
            "kind" | "indexUid" | "documentTemplateMaxBytes"
        )
    }) {
        return None;
    }
    let setting = ChatSetting::of(&entry.record.settings);
    Some(json!({"kind": "inlineDocumentTemplate", "inline": setting.template}))
}

/// A template that was fetched from an index, as one that is given with the request.
fn as_inline(asked: &Value, fetched: &Value, entry: &IndexEntry) -> Value {
    if asked.get("kind") != Some(&json!("documentTemplate")) {
        return json!({"kind": "inlineFragment", "inline": fetched.get("template")});
    }
    let embedder = asked.get("embedder").and_then(Value::as_str);
    let of_embedder = |name: &str| {
        let embedders = entry.record.settings.get("embedders")?;
        let embedder = embedders.get(embedder?)?;
        // Of one made of two, the one for documents has the template.
        let part = || embedder.get("indexingEmbedder")?.get(name);
        embedder.get(name).or_else(part)
    };
    let limit = asked
        .get("documentTemplateMaxBytes")
        .filter(|limit| !limit.is_null())
        .or_else(|| of_embedder("documentTemplateMaxBytes"));
    json!({
        "kind": "inlineDocumentTemplate",
        "inline": fetched.get("template"),
        "documentTemplateMaxBytes": limit,
    })
}

fn read(body: &[u8]) -> Result<Value, EngineError> {
    serde_json::from_slice(body).map_err(|error| EngineError::Answer(error.to_string()))
}

/// The answer with the template as the client set it.
fn shown(mut answer: Value) -> Value {
    if let Some(template) = answer.get_mut("template") {
        *template = revealed_value(template);
    }
    answer
}
