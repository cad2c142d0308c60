//! Generated requests over every parameter.

use super::dataset::{Dataset, number};
use super::mistake::add_mistake;
use super::schema::{DIMENSIONS, EMBEDDER, FACETS, LABELS, LISTED_ONCE, SINGLE, TEXTS, TOP};
use super::text::{query, word};
use super::{Ask, Route, Taste};
use crate::Rng;
use serde_json::{Map, Value, json};

/// A source of requests about one data set.
pub(super) struct Asker<'a> {
    dataset: &'a Dataset,
    taste: &'a Taste,
}

type Body = Map<String, Value>;

impl<'a> Asker<'a> {
    pub(super) fn new(dataset: &'a Dataset, taste: &'a Taste) -> Self {
        Self { dataset, taste }
    }

    pub(super) fn next(&mut self, rng: &mut Rng) -> Ask {
        let route = match rng.below(20) {
            _ if self.taste.frequency => Route::Search,
            0 | 1 => Route::SearchByGet,
            2 | 3 => Route::Fetch,
            // Under an index's own distinct attribute one node counts what it had walked.
            4 | 5 if self.dataset.settings["distinctAttribute"].is_null() => Route::FacetSearch,
            _ => Route::Search,
        };
        let mut body = match route {
            Route::Search | Route::SearchByGet => self.search(rng),
            Route::Fetch => self.fetch(rng),
            Route::FacetSearch => self.facet_search(rng),
        };
        if rng.chance(7) {
            add_mistake(rng, route, &mut body);
        }
        Ask {
            route,
            body: Value::Object(body),
        }
    }

    fn search(&self, rng: &mut Rng) -> Body {
        let mut body = Body::new();
        if self.taste.frequency || rng.chance(72) {
            body.insert("q".to_owned(), json!(self.words(rng)));
            if self.taste.frequency {
                body.insert("matchingStrategy".to_owned(), json!("frequency"));
            } else if rng.chance(20) {
                body.insert(
                    "matchingStrategy".to_owned(),
                    json!(rng.pick(&["all", "last"])),
                );
            }
        } else if rng.chance(30) {
            body.insert(
                "q".to_owned(),
                json!(rng.pick(&["", "  ", "-", "\"\"", "!?"])),
            );
        }
        // Most searches have few parameters: an answer is then about what was asked.
        for _ in 0..rng.below(4) {
            match rng.below(12) {
                0 | 1 => self.add_filter(rng, &mut body),
                2 | 3 => self.add_sort(rng, &mut body),
                4 => self.add_facets(rng, &mut body),
                5 => add_page(rng, &mut body),
                6 | 7 => self.add_format(rng, &mut body),
                8 => add_scores(rng, &mut body),
                9 => self.add_searched(rng, &mut body),
                10 => self.add_distinct(rng, &mut body),
                _ => self.add_rest(rng, &mut body),
            }
        }
        body
    }

    fn fetch(&self, rng: &mut Rng) -> Body {
        let mut body = Body::new();
        let mut set = |name: &str, value: Value| body.insert(name.to_owned(), value);
        if rng.chance(60) {
            set("limit", json!(rng.pick(&[0, 1, 5, 20, 50, 1000])));
        }
        if rng.chance(40) {
            set("offset", json!(rng.pick(&[0, 1, 7, 30, 1000])));
        }
        if rng.chance(30) {
            let mut fields = vec![self.dataset.key_field];
            fields.push(*rng.pick(&["title", "meta", "meta.title", "tags", "_geo", "absent"]));
            set("fields", json!(fields));
        }
        if rng.chance(20) {
            set("retrieveVectors", json!(rng.chance(70)));
        }
        if rng.chance(20) {
            let ids: Vec<Value> = (0..rng.below(6)).map(|_| self.key(rng)).collect();
            set("ids", Value::Array(ids));
        }
        if rng.chance(50) {
            self.add_filter(rng, &mut body);
        }
        if rng.chance(45) {
            self.add_sort(rng, &mut body);
            if let Some(Value::Array(sort)) = body.get_mut("sort") {
                let is_listed_once = |rule: &Value| {
                    let rule = rule.as_str().unwrap_or_default();
                    LISTED_ONCE.iter().any(|name| rule.starts_with(name))
                };
                sort.retain(is_listed_once);
            }
        }
        body
    }

    fn facet_search(&self, rng: &mut Rng) -> Body {
        let mut body = Body::new();
        body.insert(
            "facetName".to_owned(),
            json!(self.filterable(rng).unwrap_or("absent".to_owned())),
        );
        if rng.chance(75) {
            let text = match rng.below(6) {
                0 => String::new(),
                1 => "e".to_owned(),
                2 => word(&self.dataset.vocabulary, rng),
                _ => {
                    let label = *rng.pick(LABELS);
                    label.chars().take(rng.between(1, 5)).collect()
                }
            };
            body.insert("facetQuery".to_owned(), json!(text));
        }
        if rng.chance(35) {
            body.insert("q".to_owned(), json!(self.words(rng)));
        }
        if rng.chance(35) {
            self.add_filter(rng, &mut body);
        }
        if rng.chance(15) {
            body.insert("matchingStrategy".to_owned(), json!("all"));
        }
        if rng.chance(10) {
            self.add_searched(rng, &mut body);
        }
        body
    }

    fn words(&self, rng: &mut Rng) -> String {
        let dataset = self.dataset;
        let mut source = String::new();
        if !dataset.documents.is_empty() && rng.chance(90) {
            let document = rng.pick(&dataset.documents);
            let value = match rng.below(6) {
                0..=2 => &document["title"],
                3 => &document["author"],
                4 => &document["meta"]["title"],
                _ => &document["body"],
            };
            value.as_str().unwrap_or_default().clone_into(&mut source);
        }
        query(&dataset.vocabulary, rng, &source)
    }

    fn key(&self, rng: &mut Rng) -> Value {
        match self.dataset.documents.as_slice() {
            [] => json!("none"),
            documents => rng.pick(documents)[self.dataset.key_field].clone(),
        }
    }

    fn filterable(&self, rng: &mut Rng) -> Option<String> {
        let names: Vec<&String> = self
            .dataset
            .filterable
            .iter()
            .filter(|name| *name != "_geo")
            .collect();
        (!names.is_empty()).then(|| (*rng.pick(&names)).clone())
    }

    /// A value that the field may hold, as a filter writes it.
    fn value(&self, rng: &mut Rng, field: &str) -> String {
        let text = |value: &str| Value::from(value).to_string();
        match field {
            "year" | "price" | "meta.score" => number(rng, field).to_string(),
            "code" => format!("{}{}", rng.pick(&["", "0", "-"]), rng.below(30)),
            "flag" => rng.pick(&["true", "false", "TRUE"]).to_string(),
            "label" | "tags" => text(rng.pick::<&str>(LABELS)),
            "mixed" => match rng.below(3) {
                0 => number(rng, field).to_string(),
                1 => text(rng.pick::<&str>(LABELS)),
                _ => format!("n{}", rng.below(12)),
            },
            _ if field == self.dataset.key_field => match self.key(rng) {
                Value::String(key) => text(&key),
                key => key.to_string(),
            },
            _ => {
                let documents = &self.dataset.documents;
                let held = if documents.is_empty() {
                    None
                } else {
                    let document: &Value = rng.pick(documents);
                    match field {
                        "meta.notes.name" => document["meta"]["notes"][0]["name"].as_str(),
                        _ => document[field].as_str(),
                    }
                };
                text(held.unwrap_or("nobody"))
            }
        }
    }

    fn condition(&self, rng: &mut Rng) -> Option<String> {
        let has_places = self.dataset.filterable.iter().any(|name| name == "_geo");
        if has_places && rng.chance(12) {
            return Some(geo_condition(rng));
        }
        let field = self.filterable(rng)?;
        let mut value = || self.value(rng, &field);
        let (first, second) = (value(), value());
        Some(match rng.below(16) {
            0..=3 => format!("{field} = {first}"),
            4 => format!("{field} != {first}"),
            5 => format!("{field} IN [{first}, {second}]"),
            6 => format!("{field} NOT IN [{first}, {second}]"),
            7 => format!("{field} EXISTS"),
            8 => format!("{field} NOT EXISTS"),
            9 => format!("{field} {} NULL", rng.pick(&["IS", "IS NOT"])),
            10 => format!("{field} {} EMPTY", rng.pick(&["IS", "IS NOT"])),
            11 => {
                let (low, high) = (number(rng, &field), number(rng, &field));
                format!("{field} {} TO {}", low.min(high), low.max(high))
            }
            12 => {
                let text = Value::from(rng.pick(LABELS).chars().take(2).collect::<String>());
                format!("{field} STARTS WITH {text}")
            }
            13 => format!("NOT {field} = {first}"),
            _ => {
                let operator = *rng.pick(&[">", ">=", "<", "<="]);
                format!("{field} {operator} {}", number(rng, &field))
            }
        })
    }

    fn add_filter(&self, rng: &mut Rng, body: &mut Body) {
        let mut condition = || self.condition(rng);
        let (Some(a), Some(b), Some(c)) = (condition(), condition(), condition()) else {
            return;
        };
        let filter = match rng.below(7) {
            0 => json!([a, [b, c]]),
            1 => json!([[a, b], c]),
            2 => json!(format!("({a}) AND ({b})")),
            3 => json!(format!("{a} OR {b} AND {c}")),
            4 => json!(format!("NOT ({a} OR {b})")),
            _ => json!(a),
        };
        body.insert("filter".to_owned(), filter);
    }

    fn add_sort(&self, rng: &mut Rng, body: &mut Body) {
        let mut sort = Vec::new();
        for _ in 0..rng.between(1, 4) {
            let names = &self.dataset.sortable;
            if names.is_empty() {
                return;
            }
            let direction = *rng.pick(&["asc", "desc"]);
            let name: &String = rng.pick(names);
            if name == "_geo" {
                let (lat, lng) = (rng.unit() * 160.0 - 80.0, rng.unit() * 340.0 - 170.0);
                sort.push(format!("_geoPoint({lat:.4},{lng:.4}):{direction}"));
            } else {
                sort.push(format!("{name}:{direction}"));
            }
        }
        body.insert("sort".to_owned(), json!(sort));
    }

    fn add_facets(&self, rng: &mut Rng, body: &mut Body) {
        let mut facets: Vec<String> = Vec::new();
        if rng.chance(30) {
            facets.push((*rng.pick(&["*", "*", "meta*", "meta.*", "t*"])).to_owned());
        }
        for _ in 0..rng.below(3) {
            facets.extend(self.filterable(rng));
        }
        if !self.taste.real_nodes {
            // Patterns are newer than the bundled engine.
            facets.retain(|name| !name.contains('*') || name == "*");
        }
        body.insert("facets".to_owned(), json!(facets));
    }

    fn add_searched(&self, rng: &mut Rng, body: &mut Body) {
        let searchable = &self.dataset.searchable;
        let mut names: Vec<String> = Vec::new();
        for _ in 0..rng.between(1, 3) {
            if searchable.is_empty() {
                names.push((*rng.pick(TEXTS)).to_owned());
            } else {
                names.push(rng.pick(searchable).clone());
            }
        }
        body.insert("attributesToSearchOn".to_owned(), json!(names));
    }

    fn add_distinct(&self, rng: &mut Rng, body: &mut Body) {
        let names: Vec<&str> = SINGLE
            .iter()
            .copied()
            .filter(|name| self.dataset.filterable.iter().any(|known| known == name))
            .collect();
        if !names.is_empty() {
            body.insert("distinct".to_owned(), json!(rng.pick(&names)));
        }
    }

    fn add_format(&self, rng: &mut Rng, body: &mut Body) {
        // A real server panics where a matched phrase is longer than the crop around it.
        let has_phrase = body
            .get("q")
            .and_then(Value::as_str)
            .is_some_and(|q| q.contains('"'));
        let names = |rng: &mut Rng| -> Vec<String> {
            match rng.below(4) {
                0 => vec!["*".to_owned()],
                1 => vec![(*rng.pick(TOP)).to_owned(), (*rng.pick(TEXTS)).to_owned()],
                2 => vec![(*rng.pick(FACETS)).to_owned()],
                _ => vec!["title".to_owned(), "body".to_owned()],
            }
        };
        let mut set = |name: &str, value: Value| body.insert(name.to_owned(), value);
        if rng.chance(60) {
            set("attributesToHighlight", json!(names(rng)));
        }
        if rng.chance(30) {
            set("highlightPreTag", json!("<b class=\"x\">"));
            set("highlightPostTag", json!("</b>"));
        }
        if !has_phrase && rng.chance(45) {
            let mut fields = names(rng);
            if rng.chance(50) {
                fields.push(format!("body:{}", rng.below(8)));
            }
            set("attributesToCrop", json!(fields));
            if rng.chance(50) {
                set("cropLength", json!(rng.below(12)));
                set("cropMarker", json!("[…]"));
            }
        }
        if rng.chance(40) {
            set("showMatchesPosition", json!(true));
        }
        if rng.chance(40) {
            let mut fields = names(rng);
            // Mostly with the key, by which answers are compared best.
            if rng.chance(95) {
                fields.push(self.dataset.key_field.to_owned());
            }
            set("attributesToRetrieve", json!(fields));
        }
    }

    fn add_rest(&self, rng: &mut Rng, body: &mut Body) {
        let mut set = |name: &str, value: Value| body.insert(name.to_owned(), value);
        match rng.below(6) {
            0 => {
                set(
                    "rankingScoreThreshold",
                    json!(rng.pick(&[0.0, 0.2, 0.5, 0.8, 0.95, 1.0])),
                );
            }
            1 => {
                set(
                    "locales",
                    json!(rng.pick(&[&["eng"][..], &["jpn"], &["eng", "fra"]])),
                );
            }
            2 => {
                set("limit", json!(rng.pick(&[0, 1, 3, 50, 1000, 100_000])));
            }
            3 | 4 if self.dataset.has_vectors => {
                let vector: Vec<f64> = (0..DIMENSIONS).map(|_| rng.unit() * 2.0 - 1.0).collect();
                set("vector", json!(vector));
                set(
                    "hybrid",
                    json!({"embedder": EMBEDDER, "semanticRatio": rng.pick(&[1.0, 1.0, 0.0])}),
                );
            }
            _ => {
                set("retrieveVectors", json!(true));
            }
        }
    }
}

fn add_page(rng: &mut Rng, body: &mut Body) {
    let mut set = |name: &str, value: Value| body.insert(name.to_owned(), value);
    if rng.chance(50) {
        if rng.chance(85) {
            set("page", json!(rng.below(5)));
        }
        if rng.chance(85) {
            set("hitsPerPage", json!(rng.below(21)));
        }
    } else {
        set("offset", json!(rng.pick(&[0, 1, 2, 10, 35, 120, 2000])));
        if rng.chance(70) {
            set("limit", json!(rng.below(30)));
        }
    }
}

fn add_scores(rng: &mut Rng, body: &mut Body) {
    if rng.chance(70) {
        body.insert("showRankingScore".to_owned(), json!(true));
    }
    if rng.chance(60) {
        body.insert("showRankingScoreDetails".to_owned(), json!(true));
    }
}

fn geo_condition(rng: &mut Rng) -> String {
    let (lat, lng) = (rng.unit() * 160.0 - 80.0, rng.unit() * 300.0 - 150.0);
    match rng.below(3) {
        0 => format!(
            "_geoRadius({lat:.4}, {lng:.4}, {})",
            rng.between(1, 9_000) * 1000
        ),
        1 => format!(
            "_geoBoundingBox([{:.4}, {:.4}], [{:.4}, {:.4}])",
            (lat + 30.0).min(90.0),
            lng + 29.0,
            (lat - 30.0).max(-90.0),
            lng - 29.0
        ),
        _ => format!("NOT _geoRadius({lat:.4}, {lng:.4}, 3000000)"),
    }
}
