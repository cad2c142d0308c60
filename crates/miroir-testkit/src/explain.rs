//! Why a search over shards answered otherwise than one node: is it the words of the nodes, or is
//! it us?
//!
//! A node ranks by its own vocabulary: which prefixes it caches, which words of a query it knows,
//! which near words it reaches before a limit. A node with a part of the documents may therefore
//! rank *one document* otherwise than a node with all of them. Such an effect shows in the ranking
//! details of that document, or in a node that does not find it, and both are looked up here; what
//! cannot be proven so is unexplained, and a fault of Miroir's until shown otherwise.

use crate::compare::{Kind, key_of, keys, same};
use crate::{Client, Difference, Query};
use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt;

/// Deep enough to hold every hit of a test's index.
const DEPTH: usize = 1000;
/// As many limits as are tried to see a hit formatted as it was.
const LIMITS_MAX: usize = 50;
/// A server counts places as equally far within this many metres of the first of them.
const GEO_BUCKET_METRES: f64 = 1.0;

/// Why two answers differ.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// A node ranks or finds a document by its own vocabulary; the text names the rule.
    Vocabulary(String),
    /// The scores of equal ranks have another denominator: it is counted over the node's hits.
    Denominator,
    /// Places so near that a server regards their distances as one.
    NearPlaces,
    /// A facet value is shown as the oldest document found spells it. Nodes are asked for theirs,
    /// but not for every value, and not of every kind of search.
    Spelling,
    /// A facet ordered by count is cut among values that are counted equally often.
    EqualCounts,
    /// Nothing that excuses it.
    Unexplained(String),
}

impl Cause {
    /// Whether nothing excuses the difference.
    #[must_use]
    pub fn is_unexplained(&self) -> bool {
        matches!(self, Self::Unexplained(_))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vocabulary(rule) => write!(f, "vocabulary ({rule})"),
            Self::Denominator => f.write_str("score denominator"),
            Self::NearPlaces => f.write_str("places within a metre"),
            Self::Spelling => f.write_str("another document's spelling"),
            Self::EqualCounts => f.write_str("the choice among equal counts"),
            Self::Unexplained(why) => write!(f, "unexplained ({why})"),
        }
    }
}

/// All who can be asked about one index.
#[derive(Debug)]
pub struct Witness<'a> {
    /// The one node with all documents, and the index's name there.
    pub single: (&'a Client, &'a str),
    /// The proxy, and the index's name there.
    pub proxy: (&'a Client, &'a str),
    /// The nodes behind the proxy.
    pub nodes: Vec<&'a Client>,
    /// The index's name on them.
    pub physical: &'a str,
    /// The field that holds the primary key.
    pub key_field: &'a str,
}

/// The hits of one query, far down, with their ranking details.
struct Ranking {
    order: Vec<String>,
    details: BTreeMap<String, Value>,
}

impl Witness<'_> {
    /// Returns the cause of each difference, in their order. `pages` are the two answers that were
    /// compared, the one node's first.
    ///
    /// # Errors
    /// When one of the servers does not answer.
    pub fn explain(
        &self,
        query: &Query,
        pages: [&Value; 2],
        differences: &[Difference],
    ) -> Result<Vec<Cause>> {
        let mut body = query.body.as_object().cloned().unwrap_or_default();
        let window = window_end(&body);
        for name in ["page", "hitsPerPage", "facets"] {
            body.remove(name);
        }
        let mut wide = body.clone();
        wide.retain(|name, _| !name.starts_with("attributesTo") || name.ends_with("SearchOn"));
        wide.insert("offset".to_owned(), json!(0));
        wide.insert("limit".to_owned(), json!(DEPTH));
        wide.insert("showRankingScoreDetails".to_owned(), json!(true));
        let wide = Value::Object(wide);
        let expected = self.ranking(self.single, &wide)?;
        let found = self.ranking(self.proxy, &wide)?;
        let case = Case {
            query,
            body: &body,
            window,
            expected: &expected,
            found: &found,
            pages: pages.map(|page| keys(page, self.key_field)),
            wide: &wide,
        };
        differences
            .iter()
            .map(|difference| self.cause(&case, difference))
            .collect()
    }

    fn cause(&self, case: &Case<'_>, difference: &Difference) -> Result<Cause> {
        let rule_of = |key: &str| {
            let (left, right) = (
                case.expected.details.get(key)?,
                case.found.details.get(key)?,
            );
            differing_rule(left, right)
        };
        match difference.kind {
            Kind::Order => self.cause_of_order(case),
            Kind::Total | Kind::FacetCounts | Kind::FacetStats | Kind::FacetOrder => {
                self.cause_of_count(case)
            }
            Kind::Score | Kind::Details => {
                let key = difference.note.split('.').next().unwrap_or_default();
                Ok(match rule_of(key) {
                    Some(rule) => Cause::Vocabulary(rule),
                    None if case.query.has_words() && case.found.details.contains_key(key) => {
                        Cause::Denominator
                    }
                    None => unexplained("equal ranks"),
                })
            }
            Kind::Formatted | Kind::Positions => {
                let key = difference.note.split('.').next().unwrap_or_default();
                self.cause_of_format(case, key, difference.kind)
            }
            Kind::FacetSpelling => Ok(Cause::Spelling),
            Kind::Status | Kind::Paging | Kind::Document | Kind::Distance | Kind::Shape => {
                Ok(unexplained("not a matter of words"))
            }
        }
    }

    /// Looks at the first place where the orders part.
    fn cause_of_order(&self, case: &Case<'_>) -> Result<Cause> {
        let (left, right) = (&case.expected.order, &case.found.order);
        let parting = (0..case.window.min(DEPTH)).find(|idx| left.get(*idx) != right.get(*idx));
        let Some(parting) = parting else {
            return self.cause_of_order_of_pages(case);
        };
        let here = [left.get(parting), right.get(parting)];
        let mut rules = Vec::new();
        for key in here.into_iter().flatten() {
            match (case.expected.details.get(key), case.found.details.get(key)) {
                (Some(left), Some(right)) => rules.extend(differing_rule(left, right)),
                (Some(_), None) => rules.extend(self.rule_of_unfound(case, key)?),
                (None, Some(_)) => rules.extend(self.rule_of_found(case, key)?),
                (None, None) => {}
            }
        }
        if let Some(rule) = rules.into_iter().next() {
            return Ok(Cause::Vocabulary(rule));
        }
        let distance = |key: Option<&String>| {
            let key = key?;
            let details = case
                .expected
                .details
                .get(key)
                .or(case.found.details.get(key))?;
            geo_distance(details)
        };
        if let [Some(left), Some(right)] = here.map(distance)
            && left != right
            && (left - right).abs() <= 2.0 * GEO_BUCKET_METRES
        {
            return Ok(Cause::NearPlaces);
        }
        let ranks = |key: Option<&String>| {
            key.map(|key| {
                format!(
                    "{key} {}",
                    case.expected.details.get(key).unwrap_or(&Value::Null)
                )
            })
        };
        let [left, right] = here.map(ranks);
        Ok(unexplained(&format!(
            "at {parting}: {left:?} before {right:?}"
        )))
    }

    /// The long list agrees where the page did not. Either paging is at fault, or the two were
    /// answered by other replicas, and those rank otherwise: then a node shows it.
    fn cause_of_order_of_pages(&self, case: &Case<'_>) -> Result<Cause> {
        let [left, right] = &case.pages;
        let parting =
            (0..left.len().max(right.len())).find(|idx| left.get(*idx) != right.get(*idx));
        let here = parting.map_or([None, None], |idx| [left.get(idx), right.get(idx)]);
        for node in &self.nodes {
            let own = self.ranking((node, self.physical), case.wide)?;
            for key in here.into_iter().flatten() {
                let rule = match (case.expected.details.get(key), own.details.get(key)) {
                    (Some(left), Some(right)) => differing_rule(left, right),
                    (Some(_), None) => self.rule_of_unfound(case, key)?,
                    (None, Some(_)) => self.rule_of_found(case, key)?,
                    (None, None) => None,
                };
                if let Some(rule) = rule {
                    return Ok(Cause::Vocabulary(rule));
                }
            }
        }
        Ok(unexplained("the same query with a larger limit agrees"))
    }

    /// Totals and facets follow from which documents are found.
    fn cause_of_count(&self, case: &Case<'_>) -> Result<Cause> {
        let (expected, found) = (&case.expected.details, &case.found.details);
        let unfound = expected.keys().find(|key| !found.contains_key(*key));
        let extra = found.keys().find(|key| !expected.contains_key(*key));
        let rule = match (unfound, extra) {
            (Some(key), _) => self.rule_of_unfound(case, key)?,
            (None, Some(key)) => self.rule_of_found(case, key)?,
            (None, None) => self.rule_of_other_replicas(case)?,
        };
        Ok(match rule {
            Some(rule) => Cause::Vocabulary(rule),
            None => unexplained("a node finds what the proxy does not show, or the reverse"),
        })
    }

    /// Names the effect if some node finds what one node with all documents does not, or does not
    /// find what it holds: other replicas may have answered the first time.
    fn rule_of_other_replicas(&self, case: &Case<'_>) -> Result<Option<String>> {
        for node in &self.nodes {
            let own = self.ranking((node, self.physical), case.wide)?;
            let extra = own.order.iter();
            for key in extra.filter(|key| !case.expected.details.contains_key(*key)) {
                if let Some(rule) = self.rule_of_found(case, key)? {
                    return Ok(Some(rule));
                }
            }
            let lacking = case.expected.order.iter();
            for key in lacking.filter(|key| !own.details.contains_key(*key)) {
                if self.node_holds(node, key)? && !self.node_finds(node, case, key)? {
                    return Ok(Some("words derived from the query".to_owned()));
                }
            }
        }
        Ok(None)
    }

    /// Names the effect if a node that holds the document does not find it by the query.
    fn rule_of_unfound(&self, case: &Case<'_>, key: &str) -> Result<Option<String>> {
        for node in &self.nodes {
            if self.node_holds(node, key)? && !self.node_finds(node, case, key)? {
                return Ok(Some("words derived from the query".to_owned()));
            }
        }
        Ok(None)
    }

    /// Names the effect if a node finds, by the query's words, a document that one node with all
    /// documents does not find.
    fn rule_of_found(&self, case: &Case<'_>, key: &str) -> Result<Option<String>> {
        if !case.query.has_words() {
            return Ok(None);
        }
        for node in &self.nodes {
            if self.node_finds(node, case, key)? {
                return Ok(Some("words derived from the query".to_owned()));
            }
        }
        Ok(None)
    }

    /// Names the effect if one of the nodes itself formats the document as the proxy shows it.
    fn cause_of_format(&self, case: &Case<'_>, key: &str, kind: Kind) -> Result<Cause> {
        let member = if kind == Kind::Formatted {
            "_formatted"
        } else {
            "_matchesPosition"
        };
        let mut body = case.body.clone();
        body.insert("offset".to_owned(), json!(0));
        body.insert("limit".to_owned(), json!(case.window));
        let whole = Value::Object(body.clone());
        let shown = self.member_of_hit(self.proxy, &whole, key, member)?;
        // Words are derived from the query rule by rule, so those that are known, and highlighted,
        // also depend on how many hits a node was asked for.
        for limit in (1..=case.window.min(LIMITS_MAX)).rev() {
            body.insert("limit".to_owned(), json!(limit));
            let body = Value::Object(body.clone());
            for node in &self.nodes {
                let own = self.member_of_hit((node, self.physical), &body, key, member)?;
                if case.query.has_words() && own.is_some() && own == shown {
                    return Ok(Cause::Vocabulary("words highlighted".to_owned()));
                }
            }
        }
        Ok(unexplained("no node formats it so"))
    }

    fn ranking(&self, (client, index): (&Client, &str), body: &Value) -> Result<Ranking> {
        let answer = client.search(index, body)?.ok()?;
        let hits = answer["hits"]
            .as_array()
            .context("an answer without hits")?;
        let details = hits.iter().map(|hit| {
            (
                key_of(hit, self.key_field),
                hit["_rankingScoreDetails"].clone(),
            )
        });
        Ok(Ranking {
            order: keys(&answer, self.key_field),
            details: details.collect(),
        })
    }

    fn node_holds(&self, node: &Client, key: &str) -> Result<bool> {
        Ok(node
            .get(&format!("/indexes/{}/documents/{key}", self.physical))?
            .status
            == 200)
    }

    fn node_finds(&self, node: &Client, case: &Case<'_>, key: &str) -> Result<bool> {
        let mut body = Map::new();
        for name in ["q", "matchingStrategy", "attributesToSearchOn"] {
            if let Some(value) = case.body.get(name) {
                body.insert(name.to_owned(), value.clone());
            }
        }
        let quoted = Value::from(key);
        body.insert(
            "filter".to_owned(),
            json!(format!("{} = {quoted}", self.key_field)),
        );
        let answer = node.search(self.physical, &Value::Object(body))?.ok()?;
        Ok(answer["hits"]
            .as_array()
            .is_some_and(|hits| !hits.is_empty()))
    }

    fn member_of_hit(
        &self,
        (client, index): (&Client, &str),
        body: &Value,
        key: &str,
        member: &str,
    ) -> Result<Option<Value>> {
        let answer = client.search(index, body)?.ok()?;
        let hits = answer["hits"]
            .as_array()
            .context("an answer without hits")?;
        let hit = hits.iter().find(|hit| key_of(hit, self.key_field) == key);
        let mut value = hit.and_then(|hit| hit.get(member)).cloned();
        if let Some(Value::Object(members)) = &mut value {
            // Reserved fields live on nodes and are never shown.
            members.retain(|name, _| !name.starts_with("_miroir"));
        }
        Ok(value)
    }
}

/// One query and what both sides answered, far down.
struct Case<'a> {
    query: &'a Query,
    /// The query without paging.
    body: &'a Map<String, Value>,
    /// Where the asked page ends.
    window: usize,
    expected: &'a Ranking,
    found: &'a Ranking,
    /// The keys that the compared answers show.
    pages: [Vec<String>; 2],
    /// The search that the rankings answer.
    wide: &'a Value,
}

fn unexplained(why: &str) -> Cause {
    Cause::Unexplained(why.to_owned())
}

/// The position after the last hit that the query asks for.
fn window_end(body: &Map<String, Value>) -> usize {
    let number = |name: &str, default: u64| {
        let number = body.get(name).and_then(Value::as_u64).unwrap_or(default);
        usize::try_from(number).unwrap_or(usize::MAX)
    };
    if body.contains_key("page") || body.contains_key("hitsPerPage") {
        number("page", 1) * number("hitsPerPage", 20)
    } else {
        number("offset", 0) + number("limit", 20)
    }
}

/// The first rule by which the details rank otherwise, denominators aside.
fn differing_rule(left: &Value, right: &Value) -> Option<String> {
    let empty = Map::new();
    let (left, right) = (
        left.as_object().unwrap_or(&empty),
        right.as_object().unwrap_or(&empty),
    );
    let mut names: Vec<(u64, &String)> = left
        .iter()
        .chain(right)
        // Rules of Miroir's own live on nodes only.
        .filter(|(name, _)| !name.starts_with("_miroir"))
        .map(|(name, entry)| (entry["order"].as_u64().unwrap_or(u64::MAX), name))
        .collect();
    names.sort();
    names.dedup();
    let names = names.into_iter().map(|(_, name)| name);
    let mut differing = names.filter(|name| {
        let (l, r) = (left.get(*name), right.get(*name));
        match (l, r) {
            (Some(l), Some(r)) => !same(&rank_of(name, l), &rank_of(name, r)),
            _ => true,
        }
    });
    differing.next().cloned()
}

/// The part of a details entry that ranks a document, without the largest possible values.
fn rank_of(name: &str, entry: &Value) -> Value {
    match name {
        "words" => entry["matchingWords"].clone(),
        "typo" => entry["typoCount"].clone(),
        "exactness" => json!([entry["matchType"], entry["matchingWords"]]),
        "attribute" => {
            json!([
                entry["attributeRankingOrderScore"],
                entry["queryWordDistanceScore"]
            ])
        }
        _ if entry.get("value").is_some() => entry["value"].clone(),
        _ => entry["score"].clone(),
    }
}

fn geo_distance(details: &Value) -> Option<f64> {
    let details = details.as_object()?;
    let mut entries = details
        .iter()
        .filter(|(name, _)| name.starts_with("_geoPoint"));
    entries.next()?.1["distance"].as_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_larger_denominator_is_not_another_rank() {
        let left = json!({"words": {"order": 0, "matchingWords": 2, "maxMatchingWords": 2},
            "typo": {"order": 1, "typoCount": 1, "maxTypoCount": 2, "score": 0.5}});
        let right = json!({"typo": {"order": 1, "typoCount": 1, "maxTypoCount": 3, "score": 0.7},
            "words": {"order": 0, "matchingWords": 2, "maxMatchingWords": 2}});
        assert_eq!(differing_rule(&left, &right), None);
    }

    #[test]
    fn the_first_rule_that_differs_is_named() {
        let left = json!({"proximity": {"order": 2, "score": 0.5}, "typo": {"order": 1, "typoCount": 0},
            "exactness": {"order": 3, "matchType": "exactMatch"}});
        let right = json!({"proximity": {"order": 2, "score": 0.7}, "typo": {"order": 1, "typoCount": 0},
            "exactness": {"order": 3, "matchType": "noExactMatch"}});
        assert_eq!(differing_rule(&left, &right).as_deref(), Some("proximity"));
    }

    #[test]
    fn the_window_ends_where_the_page_ends() {
        let end = |body: Value| window_end(body.as_object().expect("an object"));
        assert_eq!(end(json!({})), 20);
        assert_eq!(end(json!({"offset": 5, "limit": 3})), 8);
        assert_eq!(end(json!({"page": 3, "hitsPerPage": 7, "limit": 100})), 21);
    }
}
