//! Generated settings and documents.

use super::schema::{DIMENSIONS, EMBEDDER, FACETS, LABELS, NUMBERS, SINGLE, WORDY_LABELS};
use super::text::{text, word};
use super::{Taste, WriteStep};
use crate::{Rng, Vocabulary};
use serde_json::{Map, Value, json};

/// Words of a text that is long, though not as long as a server cuts texts.
const LONG_TEXT_WORDS: usize = 1_500;

/// What requests are made for.
#[derive(Debug)]
pub(super) struct Dataset {
    pub(super) key_field: &'static str,
    pub(super) settings: Value,
    pub(super) writes: Vec<WriteStep>,
    /// Every document as it was first written, to choose words and values from.
    pub(super) documents: Vec<Value>,
    pub(super) vocabulary: Vocabulary,
    pub(super) filterable: Vec<String>,
    pub(super) sortable: Vec<String>,
    /// The searchable fields; empty where all are.
    pub(super) searchable: Vec<String>,
    pub(super) has_vectors: bool,
}

pub(super) fn generate(rng: &mut Rng, taste: &Taste) -> Dataset {
    let key_field = *rng.pick(&["id", "id", "sku"]);
    let has_vectors = rng.chance(20);
    let lists = Lists::draw(rng, key_field);
    let settings = settings(rng, taste, &lists, key_field, has_vectors);
    // Few words, so that documents share them; more in some, so that nodes hold different ones.
    let words = *rng.pick(&[40, 120, 400, 1_200]);
    let mut maker = Maker {
        key_field,
        is_text_key: key_field == "sku" || rng.chance(20),
        vocabulary: Vocabulary::new(rng.next(), words),
        has_vectors,
        has_long_texts: rng.chance(10),
    };
    let count = *rng.pick(&[0, 1, 7, 40, 90, 150, 300]);
    let documents: Vec<Value> = (0..count)
        .map(|number| maker.document(rng, number))
        .collect();
    let writes = maker.history(rng, &documents);
    Dataset {
        key_field,
        settings,
        writes,
        documents,
        vocabulary: maker.vocabulary,
        filterable: lists.filterable,
        sortable: lists.sortable,
        searchable: lists.searchable,
        has_vectors,
    }
}

/// Which fields are good for what.
struct Lists {
    filterable: Vec<String>,
    sortable: Vec<String>,
    searchable: Vec<String>,
}

impl Lists {
    fn draw(rng: &mut Rng, key_field: &str) -> Self {
        let mut some = |names: &[&str], percent: usize| -> Vec<String> {
            let mut names: Vec<String> = names
                .iter()
                .filter(|_| rng.chance(percent))
                .map(|name| (*name).to_owned())
                .collect();
            // In another order each time.
            for place in (1..names.len()).rev() {
                names.swap(place, rng.below(place + 1));
            }
            names
        };
        let mut filterable = some(FACETS, 75);
        let mut sortable = some(FACETS, 75);
        let searchable = some(
            &["title", "body", "author", "meta.title", "meta", "tags"],
            60,
        );
        for list in [&mut filterable, &mut sortable] {
            if rng.chance(60) {
                list.push("_geo".to_owned());
            }
        }
        if rng.chance(80) {
            filterable.push(key_field.to_owned());
        }
        Self {
            filterable,
            sortable,
            searchable: if rng.chance(45) {
                Vec::new()
            } else {
                searchable
            },
        }
    }
}

fn settings(
    rng: &mut Rng,
    taste: &Taste,
    lists: &Lists,
    key_field: &str,
    has_vectors: bool,
) -> Value {
    let mut settings = Map::new();
    let mut set = |name: &str, value: Value| settings.insert(name.to_owned(), value);
    set("filterableAttributes", filterable(rng, taste, lists));
    set("sortableAttributes", json!(lists.sortable));
    if !lists.searchable.is_empty() {
        set("searchableAttributes", json!(lists.searchable));
    }
    if rng.chance(25) {
        let mut displayed = vec![key_field, "title", "tags", "year"];
        displayed.push(*rng.pick(&["meta", "meta.title", "_geo", "label"]));
        set("displayedAttributes", json!(displayed));
    }
    set("rankingRules", ranking_rules(rng, taste));
    if rng.chance(20) {
        set("stopWords", json!(["a", "of", "to", "in", "the"]));
    }
    if rng.chance(20) {
        set(
            "synonyms",
            json!({"is": ["ou", "of to"], "a": ["in"], "books": ["tools"], "café": ["résumé"]}),
        );
    }
    if rng.chance(12) {
        set("separatorTokens", json!(["ou", "§", "&"]));
    }
    if rng.chance(12) {
        set("nonSeparatorTokens", json!(["#", "+", "@"]));
    }
    if rng.chance(10) {
        set("dictionary", json!(["e-mail", "J. R. R.", "o'neil"]));
    }
    if rng.chance(35) {
        set("typoTolerance", typo_tolerance(rng, taste));
    }
    if rng.chance(40) {
        let mut faceting = Map::new();
        faceting.insert(
            "maxValuesPerFacet".to_owned(),
            json!(rng.pick(&[1, 3, 10, 100, 200])),
        );
        let orders = [
            json!({"*": "count"}),
            json!({"tags": "count"}),
            json!({"*": "alpha", "label": "count", "year": "count"}),
        ];
        if rng.chance(60) {
            faceting.insert("sortFacetValuesBy".to_owned(), rng.pick(&orders).clone());
        }
        set("faceting", Value::Object(faceting));
    }
    if rng.chance(20) {
        set(
            "pagination",
            json!({"maxTotalHits": rng.pick(&[5, 30, 1000, 5000])}),
        );
    }
    if rng.chance(15) {
        set("proximityPrecision", json!("byAttribute"));
    }
    if rng.chance(15) {
        set("distinctAttribute", json!(rng.pick(SINGLE)));
    }
    if rng.chance(8) {
        set("prefixSearch", json!("disabled"));
    }
    if rng.chance(8) {
        set(
            "localizedAttributes",
            json!([{"attributePatterns": ["title", "meta.*"], "locales": ["jpn", "eng"]}]),
        );
    }
    if has_vectors {
        let embedder = json!({"source": "userProvided", "dimensions": DIMENSIONS});
        set("embedders", json!({ EMBEDDER: embedder }));
    }
    Value::Object(settings)
}

/// Names, or a mixture of names and of rules that allow less.
fn filterable(rng: &mut Rng, taste: &Taste, lists: &Lists) -> Value {
    if !taste.real_nodes || rng.chance(70) {
        return json!(lists.filterable);
    }
    let rule = |patterns: Value, search: bool, comparison: bool| {
        json!({
            "attributePatterns": patterns,
            "features": {
                "facetSearch": search, "filter": {"equality": true, "comparison": comparison}
            }
        })
    };
    if rng.chance(30) {
        return json!([rule(json!(["*"]), rng.chance(50), rng.chance(70))]);
    }
    lists
        .filterable
        .iter()
        .map(|name| match rng.below(4) {
            0 => rule(json!([name]), true, true),
            1 => rule(json!([name]), rng.chance(50), false),
            _ => json!(name),
        })
        .collect()
}

fn ranking_rules(rng: &mut Rng, taste: &Taste) -> Value {
    let classic = [
        "words",
        "typo",
        "proximity",
        "attribute",
        "sort",
        "exactness",
    ];
    let modern = [
        "words",
        "typo",
        "proximity",
        "attributeRank",
        "sort",
        "wordPosition",
        "exactness",
    ];
    let mut rules: Vec<String> = if taste.real_nodes && rng.chance(60) {
        modern.iter().map(|rule| (*rule).to_owned()).collect()
    } else {
        classic.iter().map(|rule| (*rule).to_owned()).collect()
    };
    if rng.chance(25) {
        let (from, to) = (rng.below(rules.len()), rng.below(rules.len()));
        rules.swap(from, to);
    }
    if rng.chance(15) {
        rules.remove(rng.below(rules.len()));
    }
    for _ in 0..rng.below(3) {
        let field = *rng.pick(&["year", "price", "mixed", "label", "meta.score", "tags"]);
        let rule = format!("{field}:{}", rng.pick(&["asc", "desc"]));
        if !rules.contains(&rule) {
            rules.insert(rng.below(rules.len() + 1), rule);
        }
    }
    json!(rules)
}

fn typo_tolerance(rng: &mut Rng, taste: &Taste) -> Value {
    match rng.below(5) {
        0 => json!({"enabled": false}),
        1 => json!({"minWordSizeForTypos": {"oneTypo": 3, "twoTypos": 6}}),
        2 => json!({"disableOnAttributes": ["title", "meta"]}),
        3 if taste.real_nodes => json!({"disableOnNumbers": true}),
        _ => json!({"disableOnWords": ["cafe", "tools"]}),
    }
}

/// A maker of documents.
struct Maker {
    key_field: &'static str,
    is_text_key: bool,
    vocabulary: Vocabulary,
    has_vectors: bool,
    has_long_texts: bool,
}

impl Maker {
    fn key(&self, number: usize) -> Value {
        if self.is_text_key {
            json!(format!("k_{number}-x"))
        } else {
            json!(number)
        }
    }

    fn document(&mut self, rng: &mut Rng, number: usize) -> Value {
        let mut document = Map::new();
        document.insert(self.key_field.to_owned(), self.key(number));
        for field in [
            "title", "body", "author", "year", "price", "code", "label", "tags",
        ] {
            self.set(&mut document, rng, field);
        }
        for field in ["flag", "mixed", "meta", "_geo"] {
            self.set(&mut document, rng, field);
        }
        if self.has_vectors {
            document.insert("_vectors".to_owned(), vectors(rng));
        }
        Value::Object(document)
    }

    /// Sets a field, or leaves it out.
    fn set(&self, document: &mut Map<String, Value>, rng: &mut Rng, field: &str) {
        if rng.chance(6) {
            return;
        }
        let value = match rng.below(40) {
            0 => Value::Null,
            // An empty text counts as a value to be told apart by, but not always.
            1 if field != "_geo" && !SINGLE.contains(&field) => json!(""),
            2 if field != "_geo" => json!([]),
            3 if field != "_geo" => json!({}),
            _ => self.value(rng, field),
        };
        document.insert(field.to_owned(), value);
    }

    fn value(&self, rng: &mut Rng, field: &str) -> Value {
        let words = &self.vocabulary;
        match field {
            "title" => {
                let count = rng.between(1, 6);
                json!(text(words, rng, count))
            }
            "body" => {
                let long = self.has_long_texts && rng.chance(5);
                let count = if long {
                    LONG_TEXT_WORDS
                } else {
                    rng.between(3, 30)
                };
                json!(text(words, rng, count))
            }
            "author" => json!(format!("{} {}", word(words, rng), rng.pick(LABELS))),
            "year" => json!(2024 - rng.below(5) * rng.below(5)),
            "price" => price(rng),
            "code" => json!(format!("{}{}", rng.pick(&["", "0", "-"]), rng.below(30))),
            "label" => json!(rng.pick(LABELS)),
            "tags" => {
                let count = rng.below(4);
                (0..count).map(|_| json!(rng.pick(LABELS))).collect()
            }
            "flag" => json!(rng.chance(50)),
            "mixed" => match rng.below(6) {
                0 => json!(rng.below(12)),
                1 => json!(rng.below(12) as f64 / 4.0),
                2 => json!(rng.pick(WORDY_LABELS)),
                3 => json!(rng.chance(50)),
                4 => json!([rng.below(9), rng.pick(WORDY_LABELS), true]),
                _ => json!(format!("n{}", rng.below(12))),
            },
            "meta" => {
                let mut meta = Map::new();
                meta.insert("title".to_owned(), json!(text(words, rng, 2)));
                meta.insert("score".to_owned(), json!(rng.below(20) as f64 / 2.0));
                if rng.chance(60) {
                    let count = rng.below(3);
                    let notes = (0..count).map(|_| json!({"name": word(words, rng), "n": 1}));
                    meta.insert("notes".to_owned(), notes.collect());
                }
                Value::Object(meta)
            }
            _ => place(rng),
        }
    }

    /// The documents in some payloads, then rewrites and updates of some, then deletions.
    fn history(&self, rng: &mut Rng, documents: &[Value]) -> Vec<WriteStep> {
        let path = format!("documents?primaryKey={}", self.key_field);
        let mut steps = Vec::new();
        let mut add = |method: &str, path: &str, body: Value| {
            steps.push(WriteStep {
                method: method.to_owned(),
                path: path.to_owned(),
                body,
            });
        };
        if documents.is_empty() {
            return steps;
        }
        let first = documents.len().div_ceil(rng.between(1, 4));
        for part in documents.chunks(first) {
            add("POST", &path, json!(part));
        }
        if rng.chance(40) {
            let mut changed = Vec::new();
            for document in documents.iter().step_by(rng.between(3, 9)) {
                let mut change = Map::new();
                change.insert(self.key_field.to_owned(), document[self.key_field].clone());
                for field in ["title", "price", "tags", "meta", "label"] {
                    if rng.chance(30) {
                        self.set(&mut change, rng, field);
                    }
                }
                if self.has_vectors && rng.chance(50) {
                    change.insert("_vectors".to_owned(), vectors(rng));
                }
                changed.push(Value::Object(change));
            }
            let method = if self.has_vectors {
                "PUT"
            } else {
                *rng.pick(&["PUT", "POST"])
            };
            add(method, &path, Value::Array(changed));
        }
        if rng.chance(30) {
            let keys: Vec<Value> = documents
                .iter()
                .skip(1)
                .step_by(rng.between(4, 11))
                .map(|document| document[self.key_field].clone())
                .collect();
            if !keys.is_empty() {
                add("POST", "documents/delete-batch", json!(keys));
            }
        }
        steps
    }
}

/// Every kind of value that a sort can meet.
fn price(rng: &mut Rng) -> Value {
    match rng.below(20) {
        0 => json!("on request"),
        1 => json!("Ärger"),
        2 => json!([rng.below(50), rng.below(50)]),
        3 => json!([rng.below(50), "zz"]),
        4 => json!(rng.chance(50)),
        5 => json!({ "amount": 3 }),
        6 => json!(-(rng.below(9) as f64) / 4.0),
        7 => json!(9_007_199_254_740_993_u64 + rng.below(3) as u64),
        8 => json!(1e300),
        9 => json!("n/a"),
        _ => json!(rng.below(60) as f64 / 2.0),
    }
}

fn place(rng: &mut Rng) -> Value {
    let degree = |rng: &mut Rng, most: f64| ((rng.unit() * 2.0 - 1.0) * most * 1e6).round() / 1e6;
    let (lat, lng) = (degree(rng, 89.0), degree(rng, 179.0));
    match rng.below(8) {
        0 => json!({"lat": lat.to_string(), "lng": lng.to_string()}),
        1 => Value::Null,
        2 => json!({"lat": 10, "lng": 20}),
        _ => json!({"lat": lat, "lng": lng}),
    }
}

/// A vector of its own, none, or one that the server shall not touch.
fn vectors(rng: &mut Rng) -> Value {
    let vector: Vec<Value> = (0..DIMENSIONS)
        .map(|_| json!((rng.unit() * 200.0 - 100.0).round() / 100.0))
        .collect();
    match rng.below(6) {
        0 => json!({ EMBEDDER: null }),
        1 => json!({ EMBEDDER: {"embeddings": vector, "regenerate": false} }),
        _ => json!({ EMBEDDER: vector }),
    }
}

/// A number that the documents' field may hold.
pub(super) fn number(rng: &mut Rng, field: &str) -> f64 {
    match field {
        "year" => (2024 - rng.below(5) * rng.below(5)) as f64,
        _ if NUMBERS.contains(&field) => rng.below(60) as f64 / 2.0,
        _ => rng.below(12) as f64,
    }
}
