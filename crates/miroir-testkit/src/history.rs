//! What is written to both sides before their answers are compared: not one load, but a history.

use crate::{Client, Corpus, Variant};
use anyhow::Result;
use serde_json::{Value, json};

/// When a writer goes on to its next write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// When the task has succeeded. A server then makes no batches of its own, in which documents
    /// would be numbered otherwise.
    EachTask,
    /// At once; tasks are waited for at the end.
    AtEnd,
}

/// Sets an index up and writes `document_count` documents in several steps: additions, partial
/// updates, replacements of earlier documents, one document twice in a payload, and deletions if
/// the variant asks for them.
///
/// # Errors
/// When a write is refused or does not succeed.
pub fn load(
    client: &Client,
    index: &str,
    variant: &Variant,
    corpus: &Corpus,
    document_count: u64,
    pace: Pace,
) -> Result<()> {
    let mut writer = Writer {
        client,
        index,
        pace,
        pending: Vec::new(),
    };
    let (first, second) = (document_count * 2 / 5, document_count * 7 / 10);
    let whole = |numbers: &mut dyn Iterator<Item = u64>, version| -> Value {
        numbers
            .map(|number| corpus.document(number, version))
            .collect()
    };
    let key = corpus.key_field();
    // `id` is recognised as the key by its name, `sku` is not.
    let documents = format!("documents?primaryKey={key}");
    let unnamed = if key == "id" {
        "documents"
    } else {
        documents.as_str()
    };

    writer.write("PATCH", "settings", &variant.settings)?;
    writer.write("POST", unnamed, &whole(&mut (0..first), 0))?;
    writer.write("POST", &documents, &whole(&mut (first..second), 0))?;
    let updates = (0..second).step_by(7).map(|number| corpus.patch(number, 1));
    writer.write("PUT", "documents", &updates.collect())?;
    // Replacements of old documents stand between new ones, and some documents come twice.
    let mut mixed = Vec::new();
    for number in second..document_count {
        mixed.push(corpus.document(number, 0));
        if number % 5 == 0 {
            mixed.push(corpus.document(number - second, 1));
        }
        if number % 17 == 0 {
            mixed.push(corpus.document(number, 1));
        }
    }
    writer.write("POST", "documents", &Value::Array(mixed))?;
    let replaced = whole(&mut (3..document_count).step_by(11), 2);
    writer.write("POST", "documents", &replaced)?;
    if variant.deletes {
        let keys: Value = (1..document_count)
            .step_by(13)
            .map(|number| corpus.key(number))
            .collect();
        writer.write("POST", "documents/delete-batch", &keys)?;
        writer.write(
            "POST",
            "documents/delete",
            &json!({ "filter": "rating = 5 AND year < 2015" }),
        )?;
        let one = corpus.key(2);
        let one = one.as_str().map_or_else(|| one.to_string(), str::to_owned);
        writer.accept(
            client
                .delete(&format!("/indexes/{index}/documents/{one}"))?
                .accepted()?,
        )?;
    }
    writer.finish()
}

struct Writer<'a> {
    client: &'a Client,
    index: &'a str,
    pace: Pace,
    pending: Vec<u64>,
}

impl Writer<'_> {
    fn write(&mut self, method: &str, path: &str, body: &Value) -> Result<()> {
        let path = format!("/indexes/{}/{path}", self.index);
        let uid = self.client.call(method, &path, Some(body))?.accepted()?;
        self.accept(uid)
    }

    fn accept(&mut self, uid: u64) -> Result<()> {
        match self.pace {
            Pace::EachTask => self.client.wait_succeeded(uid).map(drop),
            Pace::AtEnd => {
                self.pending.push(uid);
                Ok(())
            }
        }
    }

    fn finish(self) -> Result<()> {
        self.pending
            .iter()
            .try_for_each(|uid| self.client.wait_succeeded(*uid).map(drop))
    }
}
