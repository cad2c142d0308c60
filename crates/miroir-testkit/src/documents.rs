//! Generated documents: texts, numbers with ties, and every awkward kind of value.

use crate::{Rng, Vocabulary};
use serde_json::{Map, Value, json};

/// First names and surnames; each author is one of each.
const FIRST: &[&str] = &["Élodie", "Jürgen", "Maria", "Sven", "Noël", "Ana"];
const LAST: &[&str] = &[
    "Marchand",
    "Müller",
    "Rossi",
    "Ångström",
    "O'Neil",
    "de la Cruz",
];
/// One spelling each: a facet of these has one answer whatever the shards.
const CATEGORIES: &[&str] = &[
    "Books", "Bücher", "Garden", "Music", "Tools", "Émaux", "zinc",
];
/// Spellings of few values: facets and sorts see `red` in all of the first three.
const LABELS: &[&str] = &[
    "red", "Red", " RED", "Blue", "blue", "été", "ÉTÉ", "grün", "10", "9",
];
const COLOURS: &[&str] = &["black", "white", "rosé", "teal"];
/// Centres of clusters of places, far apart.
const PLACES: &[(f64, f64)] = &[
    (48.85, 2.35),
    (40.71, -74.0),
    (-33.87, 151.2),
    (35.68, 139.7),
    (0.3, 6.7),
    (64.1, -21.9),
    (-54.8, -68.3),
    (59.9, 179.5),
];
/// Degrees around a centre: wide enough that two places within a metre of the same distance from
/// anywhere are rare, as a server counts those as equally far.
const CLUSTER_DEGREES: f64 = 5.0;

/// The kind of primary key of a corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStyle {
    /// `"id": 12`.
    Number,
    /// `"sku": "p-12"`.
    Text,
}

/// A source of documents: the same number and version give the same document.
#[derive(Debug, Clone)]
pub struct Corpus {
    seed: u64,
    key: KeyStyle,
    vocabulary: Vocabulary,
    tags: Vec<String>,
}

impl Corpus {
    /// A corpus over a language of its own.
    #[must_use]
    pub fn new(seed: u64, key: KeyStyle, word_count: usize) -> Self {
        let vocabulary = Vocabulary::new(seed, word_count);
        // Tags are words that texts use too, from the middle of the language.
        let tags = vocabulary
            .words()
            .iter()
            .skip(40)
            .step_by(7)
            .take(30)
            .cloned()
            .collect();
        Self {
            seed,
            key,
            vocabulary,
            tags,
        }
    }

    /// The language of its texts.
    #[must_use]
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The tags that documents carry.
    #[must_use]
    pub fn tags(&self) -> &[String] {
        &self.tags
    }

    /// The categories that documents carry, one spelling each.
    #[must_use]
    pub fn categories(&self) -> &'static [&'static str] {
        CATEGORIES
    }

    /// The labels that documents carry, several spellings of each.
    #[must_use]
    pub fn labels(&self) -> &'static [&'static str] {
        LABELS
    }

    /// Where documents lie.
    #[must_use]
    pub fn places(&self) -> &'static [(f64, f64)] {
        PLACES
    }

    /// The field that holds the primary key.
    #[must_use]
    pub fn key_field(&self) -> &'static str {
        match self.key {
            KeyStyle::Number => "id",
            KeyStyle::Text => "sku",
        }
    }

    /// The primary key of document `number`.
    #[must_use]
    pub fn key(&self, number: u64) -> Value {
        match self.key {
            KeyStyle::Number => json!(number),
            KeyStyle::Text => json!(format!("p-{number}")),
        }
    }

    /// Document `number` in its `version`th form, whole.
    #[must_use]
    pub fn document(&self, number: u64, version: u64) -> Value {
        let mut rng = Rng::of(&[self.seed, number, version]);
        let mut document = Map::new();
        document.insert(self.key_field().to_owned(), self.key(number));
        document.insert("title".to_owned(), json!(self.title(&mut rng)));
        let length = rng.between(6, 28);
        document.insert(
            "body".to_owned(),
            json!(self.vocabulary.text(&mut rng, length)),
        );
        document.insert("author".to_owned(), json!(author(&mut rng)));
        document.insert("category".to_owned(), json!(rng.pick(CATEGORIES)));
        document.insert("tags".to_owned(), self.some_tags(&mut rng));
        // Years crowd towards the present, so that most are shared by many.
        let year = 2024 - rng.below(6) * rng.below(6);
        document.insert("year".to_owned(), json!(year));
        document.insert("rating".to_owned(), json!(rng.between(1, 6)));
        document.insert("stock".to_owned(), json!(rng.chance(60)));
        document.insert(
            "size".to_owned(),
            json!({ "width": rng.below(40), "colour": rng.pick(COLOURS) }),
        );
        set(&mut document, "label", label(&mut rng));
        set(&mut document, "price", price(&mut rng));
        set(&mut document, "_geo", place(&mut rng));
        Value::Object(document)
    }

    /// A partial update of document `number`: its key and some fields of the given version.
    #[must_use]
    pub fn patch(&self, number: u64, version: u64) -> Value {
        let mut rng = Rng::of(&[self.seed, number, version, 77]);
        let mut document = Map::new();
        document.insert(self.key_field().to_owned(), self.key(number));
        document.insert("rating".to_owned(), json!(rng.between(1, 6)));
        if rng.chance(60) {
            document.insert("price".to_owned(), price(&mut rng).unwrap_or(Value::Null));
        }
        if rng.chance(40) {
            document.insert("title".to_owned(), json!(self.title(&mut rng)));
        }
        if rng.chance(20) {
            document.insert("tags".to_owned(), self.some_tags(&mut rng));
        }
        if rng.chance(10) {
            document.insert("note".to_owned(), json!(self.vocabulary.text(&mut rng, 3)));
        }
        Value::Object(document)
    }

    fn title(&self, rng: &mut Rng) -> String {
        let length = rng.between(1, 6);
        self.vocabulary.text(rng, length)
    }

    fn some_tags(&self, rng: &mut Rng) -> Value {
        let count = rng.below(5);
        let mut tags: Vec<&str> = Vec::new();
        for _ in 0..count {
            let tag = rng.pick(&self.tags).as_str();
            if !tags.contains(&tag) {
                tags.push(tag);
            }
        }
        json!(tags)
    }
}

fn set(document: &mut Map<String, Value>, field: &str, value: Option<Value>) {
    if let Some(value) = value {
        document.insert(field.to_owned(), value);
    }
}

fn author(rng: &mut Rng) -> String {
    let name = format!("{} {}", rng.pick(FIRST), rng.pick(LAST));
    if rng.chance(15) {
        name.to_lowercase()
    } else {
        name
    }
}

/// Mostly a word in one of its spellings, sometimes none.
fn label(rng: &mut Rng) -> Option<Value> {
    match rng.below(20) {
        0 => None,
        1 => Some(Value::Null),
        2 => Some(json!("")),
        3 => Some(json!([rng.pick(LABELS), rng.pick(LABELS)])),
        _ => Some(json!(rng.pick(LABELS))),
    }
}

/// Mostly one of a hundred numbers; else every other kind of value that a sort can meet.
fn price(rng: &mut Rng) -> Option<Value> {
    match rng.below(40) {
        0 | 1 => None,
        2 => Some(Value::Null),
        3 => Some(json!("on request")),
        4 => Some(json!("Ärger")),
        5 => Some(json!([rng.below(50), rng.below(50)])),
        6 => Some(json!([rng.below(50), "zz"])),
        7 => Some(json!(rng.chance(50))),
        8 => Some(json!([])),
        9 => Some(json!({ "amount": 3 })),
        10 => Some(json!(-(rng.below(9) as f64) / 4.0)),
        _ => Some(json!(rng.below(100) as f64 / 2.0)),
    }
}

fn place(rng: &mut Rng) -> Option<Value> {
    if rng.chance(18) {
        return None;
    }
    let (lat, lng) = *rng.pick(PLACES);
    // Some lie exactly at the centre: equally far from anywhere.
    if rng.chance(3) {
        return Some(json!({ "lat": lat, "lng": lng }));
    }
    let mut around = |centre: f64| {
        let degrees = centre + (rng.unit() - 0.5) * 2.0 * CLUSTER_DEGREES;
        (degrees * 1e6).round() / 1e6
    };
    let (lat, lng) = (around(lat), around(lng));
    Some(json!({ "lat": lat, "lng": lng.clamp(-180.0, 180.0) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_the_same_each_time_and_another_in_each_version() {
        let corpus = Corpus::new(5, KeyStyle::Text, 300);
        assert_eq!(corpus.document(9, 0), corpus.document(9, 0));
        assert_ne!(corpus.document(9, 0), corpus.document(9, 1));
        assert_eq!(corpus.document(9, 0)["sku"], "p-9");
        assert_eq!(corpus.patch(9, 1)["sku"], "p-9");
    }

    #[test]
    fn a_corpus_holds_ties_and_every_kind_of_value() {
        let corpus = Corpus::new(1, KeyStyle::Number, 300);
        let documents: Vec<_> = (0..600).map(|number| corpus.document(number, 0)).collect();
        let prices = || documents.iter().map(|document| &document["price"]);
        assert!(prices().any(Value::is_null));
        assert!(prices().any(Value::is_array));
        assert!(prices().any(Value::is_string));
        assert!(prices().any(Value::is_object));
        assert!(prices().any(Value::is_boolean));
        assert!(
            documents
                .iter()
                .any(|document| document.get("price").is_none())
        );
        let threes = documents
            .iter()
            .filter(|document| document["rating"] == 3)
            .count();
        assert!(threes > 60, "{threes} ties");
    }
}
