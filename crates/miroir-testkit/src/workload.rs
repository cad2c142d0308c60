//! Writes as a client sends them, and the model that says what they must lead to.

use crate::{Client, Reply, Rng};
use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A payload past this is kept as a file of its own, not inside the log.
const LARGE_PAYLOAD_BYTES: usize = 64 * 1024;

/// One write to one index. Documents have `id` as their key.
#[derive(Debug, Clone)]
pub enum Write {
    /// Creates the index.
    Create,
    /// Deletes the index.
    Drop,
    /// Changes settings.
    Settings(Value),
    /// Adds or replaces documents.
    Add(Vec<Value>),
    /// Adds or updates documents, field by field.
    Update(Vec<Value>),
    /// Deletes one document.
    DeleteOne(u64),
    /// Deletes some documents.
    DeleteSome(Vec<u64>),
    /// Deletes the documents whose `group` is this.
    DeleteGroup(u64),
    /// Deletes all documents.
    DeleteAll,
}

/// What became of sending a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was accepted as the task with this uid.
    Accepted(u64),
    /// No answer came: it happened whole or not at all.
    Unknown,
}

/// The documents of one index, as the writes so far have left them; `None` without the index.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Model {
    documents: Option<BTreeMap<u64, Value>>,
}

impl Model {
    /// The documents by their id; `None` when there is no index.
    #[must_use]
    pub fn documents(&self) -> Option<&BTreeMap<u64, Value>> {
        self.documents.as_ref()
    }

    /// Takes in a write that was done.
    pub fn apply(&mut self, write: &Write) {
        if matches!(write, Write::Drop) {
            self.documents = None;
            return;
        }
        // Whatever else comes first creates the index; scripts delete nothing before that.
        let documents = self.documents.get_or_insert_default();
        match write {
            Write::Create | Write::Settings(_) | Write::Drop => {}
            Write::Add(added) => {
                for document in added {
                    documents.insert(id_of(document), document.clone());
                }
            }
            Write::Update(added) => {
                for document in added {
                    let stored = documents
                        .entry(id_of(document))
                        .or_insert_with(|| json!({}));
                    merge(stored, document);
                }
            }
            Write::DeleteOne(id) => {
                documents.remove(id);
            }
            Write::DeleteSome(ids) => documents.retain(|id, _| !ids.contains(id)),
            Write::DeleteGroup(group) => {
                documents.retain(|_, document| document["group"] != *group);
            }
            Write::DeleteAll => documents.clear(),
        }
    }
}

/// Sends a write, once.
///
/// # Errors
/// When it is answered, but not with 202.
pub fn send_write(client: &Client, index: &str, write: &Write) -> Result<Outcome> {
    let base = format!("/indexes/{index}");
    let documents = format!("{base}/documents");
    let reply: Result<Reply> = match write {
        Write::Create => client.post("/indexes", &json!({ "uid": index, "primaryKey": "id" })),
        Write::Drop => client.delete(&base),
        Write::Settings(settings) => client.patch(&format!("{base}/settings"), settings),
        Write::Add(added) => client.post(&documents, &json!(added)),
        Write::Update(added) => client.put(&documents, &json!(added)),
        Write::DeleteOne(id) => client.delete(&format!("{documents}/{id}")),
        Write::DeleteSome(ids) => client.post(&format!("{documents}/delete-batch"), &json!(ids)),
        Write::DeleteGroup(group) => {
            let filter = json!({ "filter": format!("group = {group}") });
            client.post(&format!("{documents}/delete"), &filter)
        }
        Write::DeleteAll => client.delete(&documents),
    };
    match reply {
        Ok(reply) if reply.status == 202 => Ok(Outcome::Accepted(reply.accepted()?)),
        Ok(reply) => bail!("{write:?} was answered {}: {}", reply.status, reply.body),
        // The connection broke: the proxy died before, while or after it took the write.
        Err(_) => Ok(Outcome::Unknown),
    }
}

/// Writes of every kind, the same for the same seed, all of which succeed when done in order.
#[must_use]
pub fn write_script(seed: u64) -> Vec<Write> {
    let mut rng = Rng::of(&[seed, 99]);
    let mut script = vec![
        Write::Create,
        Write::Settings(json!({
            "filterableAttributes": ["group"], "sortableAttributes": ["version"],
            "rankingRules": ["words", "typo", "proximity", "attribute", "sort", "exactness"],
        })),
        Write::Add((1..=30).map(|id| document(&mut rng, id, 1, 40)).collect()),
        Write::Add(large(&mut rng)),
        Write::Update((10..=20).map(|id| patch(&mut rng, id, 2)).collect()),
        Write::DeleteSome(vec![3, 4, 115]),
        Write::DeleteGroup(5),
    ];
    // What a client that writes one document at a time sends.
    for step in 0..8 {
        let id = rng.between(1, 60) as u64;
        script.push(match step % 4 {
            0 | 1 => Write::Add(vec![document(&mut rng, id, 3, 20)]),
            2 => Write::Update(vec![patch(&mut rng, id, 4)]),
            _ => Write::DeleteOne(id),
        });
    }
    script.push(Write::Settings(json!({ "stopWords": ["the"] })));
    script.push(Write::Update(
        (25..=45).map(|id| patch(&mut rng, id, 5)).collect(),
    ));
    if rng.chance(30) {
        script.push(Write::DeleteAll);
        script.push(Write::Add(
            (1..=9).map(|id| document(&mut rng, id, 6, 20)).collect(),
        ));
    }
    if rng.chance(30) {
        script.push(Write::Drop);
        script.push(Write::Create);
        script.push(Write::Settings(
            json!({ "filterableAttributes": ["group"] }),
        ));
        script.push(Write::Add(
            (1..=12).map(|id| document(&mut rng, id, 7, 20)).collect(),
        ));
    }
    script
}

fn document(rng: &mut Rng, id: u64, version: u64, text_bytes: usize) -> Value {
    let mut text = String::with_capacity(text_bytes);
    while text.len() < text_bytes {
        let word = *rng.pick(&["the ", "north ", "wind ", "sun ", "cloak ", "traveller "]);
        text.push_str(word);
    }
    json!({ "id": id, "group": id % 7, "version": version, "text": text })
}

fn patch(rng: &mut Rng, id: u64, version: u64) -> Value {
    // An update can add a document too, which must then have a group.
    json!({ "id": id, "group": id % 7, "version": version, "mark": rng.below(1000) })
}

fn large(rng: &mut Rng) -> Vec<Value> {
    let count = 90;
    (100..100 + count)
        .map(|id| document(rng, id, 1, LARGE_PAYLOAD_BYTES * 2 / count as usize))
        .collect()
}

fn id_of(document: &Value) -> u64 {
    document["id"].as_u64().unwrap_or_default()
}

fn merge(stored: &mut Value, update: &Value) {
    let empty = Map::new();
    if let Some(stored) = stored.as_object_mut() {
        stored.extend(update.as_object().unwrap_or(&empty).clone());
    }
}

/// All documents of an index, by their id.
///
/// # Errors
/// When they cannot be read, or one id comes twice.
pub fn stored_documents(client: &Client, index: &str) -> Result<BTreeMap<u64, Value>> {
    let reply = client
        .get(&format!("/indexes/{index}/documents?limit=100000"))?
        .ok()?;
    let results = reply["results"]
        .as_array()
        .context("a document list without results")?;
    let mut documents = BTreeMap::new();
    for document in results {
        let id = document["id"].as_u64().context("a document without id")?;
        if documents.insert(id, document.clone()).is_some() {
            bail!("document {id} of {index} is listed twice");
        }
    }
    anyhow::ensure!(
        reply["total"] == documents.len(),
        "{index} lists {} documents and says {}",
        documents.len(),
        reply["total"]
    );
    Ok(documents)
}

impl Model {
    /// Checks that an index holds exactly the documents of the model, each visible once: in the
    /// list, in a search and in the counts.
    ///
    /// # Errors
    /// The first thing that is not so.
    pub fn check(&self, client: &Client, index: &str) -> Result<()> {
        let Some(expected) = &self.documents else {
            let status = client.get(&format!("/indexes/{index}"))?.status;
            anyhow::ensure!(
                status == 404,
                "{index} shall not exist and answers {status}"
            );
            return Ok(());
        };
        let stored = stored_documents(client, index)?;
        for id in expected.keys().chain(stored.keys()) {
            let (left, right) = (expected.get(id), stored.get(id));
            anyhow::ensure!(
                left == right,
                "document {id} of {index}: expected {left:?}, stored {right:?}"
            );
        }
        let found = client.search(index, &json!({ "limit": 1000 }))?.ok()?;
        let hits = found["hits"].as_array().context("an answer without hits")?;
        let mut ids: Vec<u64> = hits.iter().map(id_of).collect();
        ids.sort_unstable();
        let wanted: Vec<u64> = expected.keys().copied().collect();
        anyhow::ensure!(
            ids == wanted,
            "a search of {index} shows {ids:?} and not {wanted:?}"
        );
        let stats = client.get(&format!("/indexes/{index}/stats"))?.ok()?;
        anyhow::ensure!(
            stats["numberOfDocuments"] == expected.len(),
            "{index} holds {} documents and counts {}",
            expected.len(),
            stats["numberOfDocuments"]
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_follows_additions_updates_and_deletions() {
        let mut model = Model::default();
        assert_eq!(model.documents(), None);
        model.apply(&Write::Add(vec![
            json!({"id": 1, "group": 1}),
            json!({"id": 2, "group": 2}),
        ]));
        model.apply(&Write::Update(vec![json!({"id": 1, "mark": 3})]));
        model.apply(&Write::DeleteGroup(2));
        let expected = BTreeMap::from([(1, json!({"id": 1, "group": 1, "mark": 3}))]);
        assert_eq!(model.documents(), Some(&expected));
        model.apply(&Write::Drop);
        assert_eq!(model.documents(), None);
    }

    #[test]
    fn a_script_has_a_payload_too_large_for_the_log() {
        let largest = write_script(1)
            .iter()
            .filter_map(|write| match write {
                Write::Add(documents) => Some(json!(documents).to_string().len()),
                _ => None,
            })
            .max();
        assert!(largest > Some(LARGE_PAYLOAD_BYTES));
    }
}
