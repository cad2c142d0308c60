//! Hidden documents that teach every node the words of the whole index.
//!
//! A prototype, to measure what it would bring and cost: the words of all documents, written to
//! each node behind Miroir's back under a shard tag that no shard has, and kept out of every search
//! by a [`Relay`](crate::Relay).

use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Words in one hidden document: far below the positions that a server indexes of a field, eight
/// of which lie between two elements of a list.
const WORDS_IN_A_DOCUMENT: usize = 2_000;
/// A tag that no shard of a small index has.
const TAG: &str = "⋕⋕⋕⋕";

/// What keeps the hidden documents out of a search.
#[must_use]
pub fn lexicon_filter() -> String {
    format!("NOT _miroir_shard = \"{TAG}\"")
}

/// Every word of the documents' texts, each once.
///
/// Split where ASCII has a separator; the nodes' own tokenizer does the rest.
#[must_use]
pub fn words_of<'a>(documents: impl IntoIterator<Item = &'a Value>) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for document in documents {
        collect(document, &mut words);
    }
    words
}

fn collect(value: &Value, words: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            let is_separator = |c: char| c.is_ascii_punctuation() || c.is_whitespace();
            let parts = text.split(is_separator).filter(|part| !part.is_empty());
            words.extend(parts.map(str::to_ascii_lowercase));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, words)),
        Value::Object(members) => members.values().for_each(|member| collect(member, words)),
        _ => {}
    }
}

/// The hidden documents that hold these words in the searchable field `field`.
#[must_use]
pub fn lexicon_documents(words: &BTreeSet<String>, key_field: &str, field: &str) -> Vec<Value> {
    let words: Vec<&String> = words.iter().collect();
    words
        .chunks(WORDS_IN_A_DOCUMENT)
        .enumerate()
        .map(|(number, part)| {
            let mut document = Map::new();
            document.insert(
                key_field.to_owned(),
                json!(format!("_miroir_words_{number}")),
            );
            document.insert(field.to_owned(), json!(part));
            document.insert("_miroir_shard".to_owned(), json!(TAG));
            Value::Object(document)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_comes_once_and_no_document_is_too_long() {
        let documents = [
            json!({"t": "Red tea, red", "n": [1, "green"]}),
            json!({"o": {"p": "tea"}}),
        ];
        let words = words_of(&documents);
        let found: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(found, ["green", "red", "tea"]);
        let many = (0..4_500).map(|number| format!("w{number}")).collect();
        let lengths: Vec<usize> = lexicon_documents(&many, "id", "t")
            .iter()
            .filter_map(|document| document["t"].as_array().map(Vec::len))
            .collect();
        assert_eq!(lengths, [2_000, 2_000, 500]);
    }
}
