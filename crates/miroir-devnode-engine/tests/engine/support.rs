//! An index in a temporary folder, with short words for what the tests do.

use miroir_devnode_engine::{
    DocumentOp, Engine, EngineError, EngineOptions, OpOutcome, SearchOutcome, SearchQuery, Totals,
};
use serde_json::{Map, Value};
use std::path::PathBuf;
use tempfile::TempDir;

/// The one index of a test.
pub(crate) const KEY: &str = "things";

pub(crate) struct Fixture {
    pub(crate) engine: Engine,
    folder: TempDir,
}

impl Fixture {
    /// An empty index.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::open(options(folder.path().join("indexes"))).unwrap();
        engine.create_index(KEY).unwrap();
        Fixture { engine, folder }
    }

    /// An index with settings and documents.
    pub(crate) fn with(settings: Value, documents: Value) -> Self {
        let fixture = Fixture::new();
        fixture.set(settings);
        fixture.add(documents);
        fixture
    }

    /// A payload file of the documents of an array.
    pub(crate) fn file(&self, documents: &Value) -> PathBuf {
        let lines: Vec<String> = documents
            .as_array()
            .unwrap()
            .iter()
            .map(Value::to_string)
            .collect();
        let (_, path) = tempfile::NamedTempFile::new_in(self.folder.path())
            .unwrap()
            .keep()
            .unwrap();
        std::fs::write(&path, lines.join("\n")).unwrap();
        path
    }

    pub(crate) fn replace(&self, documents: Value) -> DocumentOp {
        DocumentOp::Replace {
            file: self.file(&documents),
            skip_creation: false,
        }
    }

    pub(crate) fn update(&self, documents: Value) -> DocumentOp {
        DocumentOp::Update {
            file: self.file(&documents),
            skip_creation: false,
        }
    }

    pub(crate) fn apply(&self, operations: &[DocumentOp]) -> Vec<OpOutcome> {
        self.engine.apply_documents(KEY, operations, None).unwrap()
    }

    pub(crate) fn add(&self, documents: Value) {
        for outcome in self.apply(&[self.replace(documents)]) {
            assert_eq!(outcome.error, None);
        }
    }

    pub(crate) fn set(&self, settings: Value) {
        self.engine.apply_settings(KEY, object(&settings)).unwrap();
    }

    pub(crate) fn try_set(&self, settings: Value) -> Result<(), EngineError> {
        self.engine.apply_settings(KEY, object(&settings))
    }

    pub(crate) fn setting(&self, name: &str) -> Value {
        self.engine.settings(KEY).unwrap()[name].clone()
    }

    pub(crate) fn count(&self) -> u64 {
        self.engine.stats(KEY).unwrap().number_of_documents
    }

    pub(crate) fn get(&self, id: &str) -> Option<Value> {
        self.engine.get_document(KEY, id, None, false).unwrap()
    }

    pub(crate) fn search(&self, query: &SearchQuery) -> SearchOutcome {
        self.engine.search(KEY, query).unwrap()
    }

    /// The ids of the hits, in order.
    pub(crate) fn ids(&self, query: &SearchQuery) -> Vec<i64> {
        ids(&self.search(query).hits)
    }

    pub(crate) fn code(&self, query: &SearchQuery) -> &'static str {
        self.engine.search(KEY, query).unwrap_err().code()
    }
}

pub(crate) fn options(folder: PathBuf) -> EngineOptions {
    // Small maps: many tests run at once in one process.
    EngineOptions {
        folder,
        map_size: 1 << 30,
        indexing_threads: 2,
    }
}

pub(crate) fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().unwrap()
}

pub(crate) fn ids(hits: &[Value]) -> Vec<i64> {
    hits.iter().map(|hit| hit["id"].as_i64().unwrap()).collect()
}

pub(crate) fn query(words: &str) -> SearchQuery {
    SearchQuery {
        q: Some(words.to_owned()),
        ..SearchQuery::default()
    }
}

pub(crate) fn texts(texts: &[&str]) -> Option<Vec<String>> {
    Some(texts.iter().map(|text| (*text).to_owned()).collect())
}

pub(crate) fn estimated(outcome: &SearchOutcome) -> usize {
    match outcome.totals {
        Totals::Estimated {
            estimated_total_hits,
            ..
        } => estimated_total_hits,
        Totals::Exhaustive { .. } => panic!("the total is exhaustive"),
    }
}

/// The rules on which engine 1.15 and Meilisearch 1.50 agree.
pub(crate) fn films() -> Value {
    serde_json::json!([
        { "id": 1, "title": "The Red Balloon", "year": 1956, "genre": ["short", "drama"], "price": 5 },
        { "id": 2, "title": "Red River", "year": 1948, "genre": ["western"], "price": 3 },
        { "id": 3, "title": "Three Colours: Red", "year": 1994, "genre": ["drama"], "price": 9 },
        { "id": 4, "title": "Blue Velvet", "year": 1986, "genre": ["crime"], "price": 3 },
        { "id": 5, "title": "The Blue Angel", "year": 1930, "genre": ["drama"] }
    ])
}
