//! The other ways to search (several at once, facet values, similar documents, fields): the same
//! documents in one node and in Miroir over three nodes answer alike.
//!
//! `MIROIR_TEST_NODE` runs it on real servers.

#![expect(clippy::unwrap_used, reason = "a step that fails shall fail its test")]

mod multi;
mod others;
mod ranked;

use miroir_testkit::{Client, Cluster, ClusterOptions, NodeOptions, NodeProcess, Programs, Rng};
use serde_json::{Map, Value, json};

const GENRES: [&str; 7] = [
    "Action",
    "action ",
    "Drama",
    "Documentary",
    "Été",
    "ete",
    "Dräma",
];
const WORDS: [&str; 8] = [
    "tea", "team", "green", "greens", "garden", "mountain", "river", "stone",
];
const DOCUMENT_COUNT: u64 = 240;

/// A document of index `a` or `b`. Several share a vector, and some have none; vectors lie in no
/// regular pattern, because a node shows distances rounded, and mirrored ones would look equal.
fn document(id: u64) -> Value {
    let mut rng = Rng::new(id * 7 + 1);
    let title = [(); 3].map(|()| WORDS[rng.below(WORDS.len())]).join(" ");
    let genre_count = rng.between(1, 4);
    let genres: Vec<&str> = (0..genre_count)
        .map(|_| GENRES[rng.below(GENRES.len())])
        .collect();
    let mut place = Rng::of(&[rng.below(80) as u64]);
    let vector = if id.is_multiple_of(9) {
        Value::Null
    } else {
        json!([place.unit() - 0.5, place.unit() - 0.5, place.unit() - 0.5])
    };
    json!({
        "id": id, "title": title, "genre": genres, "price": rng.below(30),
        "group": format!("g{}", id % 11), "secret": id % 5, "_vectors": {"e": vector},
    })
}

fn settings(facet_order: &str) -> Value {
    json!({
        "searchableAttributes": ["title"],
        "displayedAttributes": ["id", "title", "genre", "price", "group"],
        "filterableAttributes": ["genre", "price", "group", "secret"],
        "sortableAttributes": ["price"],
        "rankingRules": ["words", "typo", "proximity", "attribute", "sort", "exactness"],
        "faceting": {"maxValuesPerFacet": 6, "sortFacetValuesBy": {"genre": facet_order}},
        "embedders": {"e": {"source": "userProvided", "dimensions": 3}},
    })
}

/// One node and Miroir, which hold the same two indexes.
struct Pair {
    single: NodeProcess,
    cluster: Cluster,
    is_real: bool,
}

impl Pair {
    fn start() -> Self {
        Self::with_copies(2)
    }

    fn with_copies(copies: u32) -> Self {
        let programs = Programs::new(env!("CARGO_BIN_EXE_miroir"));
        let single = NodeProcess::start(&programs.node, NodeOptions::default()).unwrap();
        let cluster = Cluster::start(&programs, &ClusterOptions::new(3, copies, 7)).unwrap();
        for client in [single.client(), cluster.client()] {
            for (index, order) in [("a", "alpha"), ("b", "count")] {
                let documents: Value = (0..DOCUMENT_COUNT).map(document).collect();
                let path = format!("/indexes/{index}");
                client
                    .write("PATCH", &format!("{path}/settings"), Some(&settings(order)))
                    .unwrap();
                client
                    .write(
                        "POST",
                        &format!("{path}/documents?primaryKey=id"),
                        Some(&documents),
                    )
                    .unwrap();
            }
        }
        let is_real = programs.has_real_nodes();
        Self {
            single,
            cluster,
            is_real,
        }
    }

    fn clients(&self) -> [&Client; 2] {
        [self.single.client(), self.cluster.client()]
    }

    /// Both answers to one request, without what no two answers share.
    fn ask(&self, path: &str, body: &Value) -> [(u16, Value); 2] {
        self.clients().map(|client| {
            let reply = client.post(path, body).unwrap();
            (reply.status, masked(reply.body))
        })
    }

    #[track_caller]
    fn check(&self, path: &str, body: &Value) -> Value {
        let [(status, expected), (found_status, found)] = self.ask(path, body);
        assert_eq!(
            found_status, status,
            "{path} {body}\nfound {found}\nexpected {expected}"
        );
        assert_eq!(found, expected, "{path} {body}");
        assert_eq!(
            found.to_string(),
            expected.to_string(),
            "the order of members: {path} {body}"
        );
        found
    }

    /// A refusal has the same status and code; its message is the same on a server of today.
    #[track_caller]
    fn check_refused(&self, path: &str, body: &Value) {
        let [(status, expected), (found_status, found)] = self.ask(path, body);
        assert!(status >= 400, "{path} {body} is accepted: {expected}");
        assert_eq!(
            (found_status, &found["code"]),
            (status, &expected["code"]),
            "{path} {body}\nfound {found}\nexpected {expected}"
        );
        if self.is_real {
            assert_eq!(found, expected, "{path} {body}");
        }
    }
}

/// Takes out what differs from answer to answer, and rounds numbers to nine digits: scores that
/// are put together from parts may differ in the last bits.
fn masked(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members
                .into_iter()
                .filter(|(name, _)| !["processingTimeMs", "requestUid"].contains(&name.as_str()));
            let mask = |(name, value): (String, Value)| {
                let value = match name.as_str() {
                    "performanceDetails" => json!(value["search"].is_string()),
                    _ => masked(value),
                };
                (name, value)
            };
            Value::Object(kept.map(mask).collect::<Map<_, _>>())
        }
        Value::Array(items) => items.into_iter().map(masked).collect(),
        Value::Number(number) if number.is_f64() => {
            let rounded = (number.as_f64().unwrap() * 1e9).round() / 1e9;
            json!(rounded)
        }
        other => other,
    }
}
