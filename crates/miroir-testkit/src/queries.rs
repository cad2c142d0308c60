//! Generated searches over every parameter that has an exact answer.

use crate::words::{capitalized, mistyped};
use crate::{Corpus, Rng};
use serde_json::{Map, Value, json};
use std::fmt;

/// What a query is mainly about; also the row of it in a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Category {
    /// Words, and nothing else.
    Words,
    /// No words and no other condition: the order of insertion or of custom rules.
    Placeholder,
    /// Words that must all match.
    AllWords,
    /// A sort by numbers, texts, arrays or mixed values.
    Sorted,
    /// A sort by distance, or a place as a filter.
    Geo,
    /// A filter.
    Filtered,
    /// Facet counts and statistics.
    Facets,
    /// Pages beyond the first, in both modes.
    Pages,
    /// Highlighting, cropping, positions, fields to retrieve.
    Formatted,
    /// A part of the searchable fields.
    SearchedFields,
    /// Ranking scores and their details.
    Scores,
    /// A least score.
    Threshold,
    /// Several of these at once.
    Mixed,
}

impl Category {
    /// All of them, in the order of a report.
    pub const ALL: &[Self] = &[
        Self::Words,
        Self::Placeholder,
        Self::AllWords,
        Self::Sorted,
        Self::Geo,
        Self::Filtered,
        Self::Facets,
        Self::Pages,
        Self::Formatted,
        Self::SearchedFields,
        Self::Scores,
        Self::Threshold,
        Self::Mixed,
    ];
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Words => "words",
            Self::Placeholder => "no words",
            Self::AllWords => "all words",
            Self::Sorted => "sorted",
            Self::Geo => "places",
            Self::Filtered => "filtered",
            Self::Facets => "facets",
            Self::Pages => "pages",
            Self::Formatted => "formatted",
            Self::SearchedFields => "searched fields",
            Self::Scores => "scores",
            Self::Threshold => "score threshold",
            Self::Mixed => "mixed",
        };
        f.pad(name)
    }
}

/// One search.
#[derive(Debug, Clone)]
pub struct Query {
    /// What it is mainly about.
    pub category: Category,
    /// The body of `POST /indexes/{uid}/search`.
    pub body: Value,
}

impl Query {
    /// Whether there is anything to look for in texts.
    #[must_use]
    pub fn has_words(&self) -> bool {
        self.body["q"]
            .as_str()
            .is_some_and(|q| !q.trim().is_empty())
    }

    /// Whether it has no filter of any kind.
    #[must_use]
    pub fn is_unfiltered(&self) -> bool {
        self.body.get("filter").is_none() && self.body.get("rankingScoreThreshold").is_none()
    }
}

/// A source of queries that find something in the documents of a corpus.
#[derive(Debug)]
pub struct QueryGenerator<'a> {
    corpus: &'a Corpus,
    document_count: u64,
    rng: Rng,
    next: usize,
}

impl<'a> QueryGenerator<'a> {
    /// Queries over the first `document_count` documents.
    #[must_use]
    pub fn new(corpus: &'a Corpus, document_count: u64, seed: u64) -> Self {
        Self {
            corpus,
            document_count,
            rng: Rng::of(&[seed, 4242]),
            next: 0,
        }
    }

    /// The next query; categories take turns.
    pub fn query(&mut self) -> Query {
        let category = Category::ALL[self.next % Category::ALL.len()];
        self.next += 1;
        let mut body = Map::new();
        match category {
            Category::Words => self.add_words(&mut body),
            Category::Placeholder => {
                let q = *self.rng.pick(&[None, Some(""), Some("  ")]);
                if let Some(q) = q {
                    body.insert("q".to_owned(), json!(q));
                }
                self.add_limit(&mut body);
            }
            Category::AllWords => {
                self.add_words(&mut body);
                body.insert("matchingStrategy".to_owned(), json!("all"));
            }
            Category::Sorted => {
                self.maybe_words(&mut body);
                self.add_sort(&mut body);
            }
            Category::Geo => {
                self.maybe_words(&mut body);
                self.add_place(&mut body);
            }
            Category::Filtered => {
                self.maybe_words(&mut body);
                self.add_filter(&mut body);
            }
            Category::Facets => {
                self.maybe_words(&mut body);
                self.add_facets(&mut body);
            }
            Category::Pages => {
                self.maybe_words(&mut body);
                self.add_page(&mut body);
            }
            Category::Formatted => {
                self.add_words(&mut body);
                self.add_format(&mut body);
            }
            Category::SearchedFields => {
                self.add_words(&mut body);
                let fields = *self.rng.pick(&[
                    &["title"][..],
                    &["body"],
                    &["author", "title"],
                    &["body", "author"],
                ]);
                body.insert("attributesToSearchOn".to_owned(), json!(fields));
            }
            Category::Scores => {
                self.maybe_words(&mut body);
                if self.rng.chance(30) {
                    self.add_sort(&mut body);
                }
                self.add_scores(&mut body);
            }
            Category::Threshold => {
                self.add_words(&mut body);
                let least = *self.rng.pick(&[0.2, 0.5, 0.7, 0.9]);
                body.insert("rankingScoreThreshold".to_owned(), json!(least));
                if self.rng.chance(50) {
                    self.add_page(&mut body);
                }
            }
            Category::Mixed => {
                self.add_words(&mut body);
                for _ in 0..3 {
                    match self.rng.below(6) {
                        0 => self.add_sort(&mut body),
                        1 => self.add_filter(&mut body),
                        2 => self.add_facets(&mut body),
                        3 => self.add_page(&mut body),
                        4 => self.add_format(&mut body),
                        _ => self.add_scores(&mut body),
                    }
                }
            }
        }
        Query {
            category,
            body: Value::Object(body),
        }
    }

    fn maybe_words(&mut self, body: &mut Map<String, Value>) {
        if self.rng.chance(65) {
            self.add_words(body);
        } else {
            self.add_limit(body);
        }
    }

    fn add_words(&mut self, body: &mut Map<String, Value>) {
        body.insert("q".to_owned(), json!(self.words()));
        if self.rng.chance(10) {
            body.insert("matchingStrategy".to_owned(), json!("all"));
        }
        self.add_limit(body);
    }

    fn add_limit(&mut self, body: &mut Map<String, Value>) {
        match self.rng.below(6) {
            0 => body.insert("limit".to_owned(), json!(self.rng.between(1, 8))),
            1 => body.insert("limit".to_owned(), json!(50)),
            _ => None,
        };
    }

    /// What somebody who looks for a document might type.
    fn words(&mut self) -> String {
        let number = self
            .rng
            .below(usize::try_from(self.document_count).unwrap_or(1)) as u64;
        let document = self.corpus.document(number, 0);
        let field = if self.rng.chance(60) { "title" } else { "body" };
        let text = document[field].as_str().unwrap_or_default();
        let known: Vec<&str> = text
            .split([' ', '.'])
            .filter(|word| !word.is_empty())
            .collect();
        let rng = &mut self.rng;
        let count = rng.between(1, 5).min(known.len().max(1));
        let start = rng.below(known.len().saturating_sub(count) + 1);
        let mut words: Vec<String> = known
            .iter()
            .skip(start)
            .take(count)
            .map(|word| (*word).to_owned())
            .collect();
        if words.is_empty() {
            words.push(self.corpus.vocabulary().word(rng).to_owned());
        }
        let last = words.len() - 1;
        match rng.below(12) {
            // As typed: neighbours in the text.
            0 | 1 => {}
            2 => words[last] = prefix(&words[last], rng),
            3 => {
                let at = rng.below(words.len());
                words[at] = mistyped(&words[at], rng);
            }
            4 => {
                words[0] = mistyped(&words[0], rng);
                words[last] = prefix(&words[last], rng);
            }
            5 => return format!("\"{}\"", words.join(" ")),
            6 => {
                let phrase = words.join(" ");
                return format!("\"{phrase}\" {}", self.corpus.vocabulary().word(rng));
            }
            7 => {
                let unwanted = self.corpus.vocabulary().word(rng);
                return format!("{} -{unwanted}", words.join(" "));
            }
            // Words of everywhere, in no order.
            8 => {
                for word in &mut words {
                    *word = self.corpus.vocabulary().word(rng).to_owned();
                }
            }
            9 => words.reverse(),
            // Two words written as one.
            10 if last > 0 => {
                let joined = words.remove(1);
                words[0].push_str(&joined);
            }
            _ => {
                let author = document["author"].as_str().unwrap_or_default();
                let name = author.split(' ').next_back().unwrap_or_default();
                words = vec![capitalized(name)];
                if rng.chance(50) {
                    words.push(self.corpus.vocabulary().word(rng).to_owned());
                }
            }
        }
        words.join(" ")
    }

    fn add_sort(&mut self, body: &mut Map<String, Value>) {
        let fields = [
            "year",
            "price",
            "rating",
            "title",
            "label",
            "tags",
            "size.width",
        ];
        let mut sort = Vec::new();
        for _ in 0..self.rng.between(1, 3) {
            let direction = if self.rng.chance(50) { "asc" } else { "desc" };
            sort.push(format!("{}:{direction}", self.rng.pick(&fields)));
        }
        body.insert("sort".to_owned(), json!(sort));
    }

    fn add_place(&mut self, body: &mut Map<String, Value>) {
        let (lat, lng) = *self.rng.pick(self.corpus.places());
        // Off the centres, so that documents at them are not all at distance 0.
        let (lat, lng) = (lat + self.rng.unit(), lng - self.rng.unit());
        if self.rng.chance(30) {
            let metres = self.rng.between(50, 600) * 1000;
            let filter = match self.rng.below(2) {
                0 => format!("_geoRadius({lat:.5}, {lng:.5}, {metres})"),
                _ => {
                    let (north, east) = (lat + 3.0, (lng + 4.0).min(180.0));
                    format!(
                        "_geoBoundingBox([{north:.5}, {east:.5}], [{:.5}, {:.5}])",
                        lat - 2.0,
                        lng - 2.0
                    )
                }
            };
            body.insert("filter".to_owned(), json!(filter));
        }
        let direction = if self.rng.chance(70) { "asc" } else { "desc" };
        let mut sort = vec![format!("_geoPoint({lat:.5}, {lng:.5}):{direction}")];
        if self.rng.chance(25) {
            sort.insert(self.rng.below(2), "rating:desc".to_owned());
        }
        body.insert("sort".to_owned(), json!(sort));
    }

    fn condition(&mut self) -> String {
        let rng = &mut self.rng;
        match rng.below(14) {
            0 => format!("year >= {}", 2000 + rng.below(24)),
            1 => format!(
                "year = {} OR year = {}",
                2024 - rng.below(6),
                2010 + rng.below(8)
            ),
            2 => format!("price {} TO {}", rng.below(20), 20 + rng.below(30)),
            3 => format!("category = \"{}\"", rng.pick(self.corpus.categories())),
            4 => format!("label != \"{}\"", rng.pick(self.corpus.labels()).trim()),
            5 => {
                let (a, b) = (rng.pick(self.corpus.tags()), rng.pick(self.corpus.tags()));
                format!("tags IN [\"{a}\", \"{b}\"]")
            }
            6 => "stock = true".to_owned(),
            7 => "NOT stock = true".to_owned(),
            8 => "price IS NULL OR label IS EMPTY".to_owned(),
            9 => "price NOT EXISTS".to_owned(),
            10 => format!("size.width < {}", rng.between(5, 35)),
            11 => format!(
                "rating > 2 AND tags NOT IN [\"{}\"]",
                rng.pick(self.corpus.tags())
            ),
            12 => {
                let field = self.corpus.key_field();
                let most = usize::try_from(self.document_count).unwrap_or(1);
                let keys: Vec<String> = (0..5)
                    .map(|_| self.corpus.key(rng.below(most) as u64).to_string())
                    .collect();
                format!("{field} IN [{}]", keys.join(", "))
            }
            _ => {
                let field = self.corpus.key_field();
                let most = usize::try_from(self.document_count).unwrap_or(1);
                format!("{field} = {}", self.corpus.key(rng.below(most) as u64))
            }
        }
    }

    fn add_filter(&mut self, body: &mut Map<String, Value>) {
        let filter = match self.rng.below(4) {
            0 => json!([self.condition(), [self.condition(), self.condition()]]),
            1 => json!(format!("({}) AND ({})", self.condition(), self.condition())),
            _ => json!(self.condition()),
        };
        body.insert("filter".to_owned(), filter);
    }

    fn add_facets(&mut self, body: &mut Map<String, Value>) {
        let facets = *self.rng.pick(&[
            &["category", "year"][..],
            &["tags", "rating", "stock"],
            &["price"],
            &["label", "size.colour"],
            &["size.width", "author"],
            &["*"],
        ]);
        body.insert("facets".to_owned(), json!(facets));
        if self.rng.chance(30) && !body.contains_key("filter") {
            self.add_filter(body);
        }
    }

    fn add_page(&mut self, body: &mut Map<String, Value>) {
        body.remove("limit");
        if self.rng.chance(50) {
            body.insert("page".to_owned(), json!(self.rng.between(1, 5)));
            body.insert("hitsPerPage".to_owned(), json!(self.rng.between(1, 21)));
        } else {
            // A fifth of them lie around the last hit that one of the variants shows.
            let far = if self.rng.chance(20) { 120 } else { 0 };
            body.insert("offset".to_owned(), json!(far + self.rng.below(90)));
            body.insert("limit".to_owned(), json!(self.rng.between(1, 30)));
        }
    }

    fn add_format(&mut self, body: &mut Map<String, Value>) {
        // A real server panics where a matched phrase is longer than the crop around it.
        let has_phrase = body
            .get("q")
            .and_then(Value::as_str)
            .is_some_and(|q| q.contains('"'));
        let mut set = |name: &str, value: Value| body.insert(name.to_owned(), value);
        let rng = &mut self.rng;
        if rng.chance(60) {
            let fields = *rng.pick(&[&["*"][..], &["title"], &["title", "body"]]);
            set("attributesToHighlight", json!(fields));
        }
        if rng.chance(30) {
            set("highlightPreTag", json!("<b class=\"x\">"));
            set("highlightPostTag", json!("</b>"));
        }
        if !has_phrase && rng.chance(50) {
            set(
                "attributesToCrop",
                json!(rng.pick(&[&["body"][..], &["body:5", "title:2"]])),
            );
            if rng.chance(50) {
                set("cropLength", json!(rng.between(2, 12)));
                set("cropMarker", json!("[…]"));
            }
        }
        if rng.chance(40) {
            set("showMatchesPosition", json!(true));
        }
        if rng.chance(40) {
            let key = self.corpus.key_field();
            let fields = *rng.pick(&[&["title"][..], &["year", "tags"], &["size", "label"]]);
            let mut fields = fields.to_vec();
            // Without the key an answer could not be compared by it.
            fields.push(key);
            set("attributesToRetrieve", json!(fields));
        }
    }

    fn add_scores(&mut self, body: &mut Map<String, Value>) {
        let details = self.rng.chance(60);
        body.insert("showRankingScore".to_owned(), json!(true));
        if details {
            body.insert("showRankingScoreDetails".to_owned(), json!(true));
        }
    }
}

/// The beginning of a word, at least one letter of it.
fn prefix(word: &str, rng: &mut Rng) -> String {
    let length = word.chars().count();
    word.chars().take(rng.between(1, length.max(2))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeyStyle;

    #[test]
    fn the_same_seed_gives_the_same_queries_and_every_category() {
        let corpus = Corpus::new(1, KeyStyle::Number, 400);
        let draw = || {
            let mut generator = QueryGenerator::new(&corpus, 100, 9);
            (0..200).map(|_| generator.query()).collect::<Vec<_>>()
        };
        let (first, second) = (draw(), draw());
        assert!(first.iter().zip(&second).all(|(a, b)| a.body == b.body));
        for category in Category::ALL {
            assert!(
                first.iter().any(|query| query.category == *category),
                "{category}"
            );
        }
        assert!(
            first
                .iter()
                .any(|query| query.body["q"].as_str().unwrap_or("").contains('"'))
        );
    }
}
