//! One request to both sides: what differs, and what excuses it.

use super::arena::send;
use super::{Arena, Ask, Case, Route, Stage};
use crate::compare::{Expectations, compare, folded_value};
use crate::queries::{Category, Query};
use crate::{Cause, Difference, Kind, NodeProcess, Reply, Witness};
use anyhow::Result;
use serde_json::{Map, Value, json};

/// A difference and its cause.
pub type Finding = (Difference, Cause);

/// Members of a facet search that decide which documents are counted.
const COUNTED_BY: &[&str] = &[
    "q",
    "filter",
    "matchingStrategy",
    "attributesToSearchOn",
    "locales",
];

impl Arena {
    /// Sends one request to both sides and compares. Nothing is found where the one node itself
    /// breaks the connection: it has then no answer to compare with.
    ///
    /// # Errors
    /// When Miroir does not answer, or a node when asked for the cause.
    pub fn judge(&self, stage: &Stage, case: &Case, ask: &Ask) -> Result<Vec<Finding>> {
        let cluster = self.running(stage.replication_factor)?;
        let Ok(expected) = send(self.single().client(), &stage.index, ask) else {
            return Ok(Vec::new());
        };
        let found = send(cluster.client(), &stage.index, ask)?;
        let trial = Trial {
            arena: self,
            stage,
            case,
            ask,
        };
        match ask.route {
            Route::Search | Route::SearchByGet => trial.search(expected, found),
            Route::Fetch => Ok(trial.fetch(expected, found)),
            Route::FacetSearch => trial.facet_search(&expected, &found),
        }
    }
}

struct Trial<'a> {
    arena: &'a Arena,
    stage: &'a Stage,
    case: &'a Case,
    ask: &'a Ask,
}

impl Trial<'_> {
    fn search(&self, mut expected: Reply, mut found: Reply) -> Result<Vec<Finding>> {
        if let Some(finding) = self.refusal(&expected, &found) {
            return Ok(vec![finding]);
        }
        let body = &self.ask.body;
        let key_field = self.case.key_field.as_str();
        let in_pages = !body["page"].is_null() || !body["hitsPerPage"].is_null();
        let is_distinct =
            !body["distinct"].is_null() || !self.case.settings["distinctAttribute"].is_null();
        if is_distinct {
            // What one node counts depends on how far it had walked.
            for reply in [&mut expected, &mut found] {
                if let Some(members) = reply.body.as_object_mut() {
                    members.retain(|name, _| !name.starts_with("facet"));
                }
            }
        }
        let by_count = self.facets_by_count(&expected.body);
        let by_count: Vec<&str> = by_count.iter().map(String::as_str).collect();
        let expectations = Expectations {
            key_field,
            totals: body["rankingScoreThreshold"].is_null()
                && (!is_distinct || (in_pages && body["vector"].is_null())),
            facets_by_count: &by_count,
        };
        let lacks_key = |reply: &Reply| hits(reply).iter().any(|hit| hit[key_field].is_null());
        if lacks_key(&expected) || lacks_key(&found) {
            return self.search_without_keys(expected, found, &expectations);
        }
        let differences = compare(&expected, &found, &expectations);
        if differences.is_empty() {
            return Ok(Vec::new());
        }
        let causes = self.explain(body, [&expected, &found], &differences)?;
        let mut findings = Vec::new();
        for (difference, cause) in differences.into_iter().zip(causes) {
            let cause = match difference.kind {
                Kind::FacetCounts if self.is_cut_among_equals(&difference, &expected, &found) => {
                    Cause::EqualCounts
                }
                _ => cause,
            };
            findings.push((difference, cause));
        }
        Ok(findings)
    }

    /// Compares hits that do not show their key by their positions; what differs is explained by
    /// the same search with the key.
    fn search_without_keys(
        &self,
        mut expected: Reply,
        mut found: Reply,
        expectations: &Expectations<'_>,
    ) -> Result<Vec<Finding>> {
        for reply in [&mut expected, &mut found] {
            let hits = reply.body["hits"].as_array_mut();
            for (position, hit) in hits.into_iter().flatten().enumerate() {
                hit[expectations.key_field] = json!(position);
            }
        }
        let differences = compare(&expected, &found, expectations);
        let names = self.ask.body["attributesToRetrieve"].as_array();
        let (false, Some(names)) = (differences.is_empty(), names) else {
            return Ok(unexplained(differences, "hits without keys"));
        };
        let mut with_key = self.ask.clone();
        let mut names = names.clone();
        names.push(json!(expectations.key_field));
        with_key.body["attributesToRetrieve"] = Value::Array(names);
        let findings = self.arena.judge(self.stage, self.case, &with_key)?;
        let is_explained = findings.iter().all(|(_, cause)| !cause.is_unexplained());
        Ok(if is_explained && !findings.is_empty() {
            findings
        } else {
            unexplained(differences, "hits without keys")
        })
    }

    fn fetch(&self, expected: Reply, found: Reply) -> Vec<Finding> {
        if let Some(finding) = self.refusal(&expected, &found) {
            return vec![finding];
        }
        let as_search = |mut reply: Reply| {
            if let Some(members) = reply.body.as_object_mut() {
                for (from, to) in [("results", "hits"), ("total", "totalHits")] {
                    let value = members.remove(from);
                    members.extend(value.map(|value| (to.to_owned(), value)));
                }
            }
            reply
        };
        let expectations = Expectations {
            key_field: &self.case.key_field,
            totals: true,
            facets_by_count: &[],
        };
        let differences = compare(&as_search(expected), &as_search(found), &expectations);
        unexplained(differences, "a listing has no words")
    }

    fn facet_search(&self, expected: &Reply, found: &Reply) -> Result<Vec<Finding>> {
        if let Some(finding) = self.refusal(expected, found) {
            return Ok(vec![finding]);
        }
        let listed = |reply: &Reply| -> Vec<(String, u64)> {
            let hits = reply.body["facetHits"].as_array();
            hits.into_iter()
                .flatten()
                .map(|hit| {
                    let value = hit["value"].as_str().unwrap_or_default();
                    (value.to_owned(), hit["count"].as_u64().unwrap_or_default())
                })
                .collect()
        };
        let (left, right) = (listed(expected), listed(found));
        if left == right {
            return Ok(Vec::new());
        }
        let note = format!("facetHits: {left:?} ≠ {right:?}");
        let folded = |list: &[(String, u64)]| -> Vec<(String, u64)> {
            let fold = |value: &str| folded_value(value);
            list.iter().map(|(value, n)| (fold(value), *n)).collect()
        };
        let sorted = |mut list: Vec<(String, u64)>| {
            list.sort();
            list
        };
        let counts = |list: &[(String, u64)]| list.iter().map(|(_, n)| *n).collect::<Vec<_>>();
        let finding = |kind, cause| {
            Ok(vec![(
                Difference {
                    kind,
                    note: note.clone(),
                },
                cause,
            )])
        };
        let (left_folded, right_folded) = (sorted(folded(&left)), sorted(folded(&right)));
        let by_count = self.is_by_count(self.ask.body["facetName"].as_str().unwrap_or_default());
        if left_folded == right_folded {
            let is_order = sorted(left.clone()) == sorted(right.clone());
            return match is_order {
                true if by_count && counts(&left) == counts(&right) => {
                    finding(Kind::FacetOrder, Cause::EqualCounts)
                }
                true => finding(Kind::FacetOrder, unexplained_cause("the same values")),
                false => finding(Kind::FacetSpelling, Cause::Spelling),
            };
        }
        if by_count && counts(&left) == counts(&right) {
            return finding(Kind::FacetCounts, Cause::EqualCounts);
        }
        // Which documents are counted is a matter of words.
        let mut body = Map::new();
        for name in COUNTED_BY {
            if let Some(value) = self.ask.body.get(*name) {
                body.insert((*name).to_owned(), value.clone());
            }
        }
        let difference = Difference {
            kind: Kind::FacetCounts,
            note,
        };
        let causes = self.explain(
            &Value::Object(body),
            [expected, found],
            std::slice::from_ref(&difference),
        )?;
        Ok(std::iter::once(difference).zip(causes).collect())
    }

    /// The difference of two answers of which one is an error at least.
    fn refusal(&self, expected: &Reply, found: &Reply) -> Option<Finding> {
        if expected.status == 200 && found.status == 200 {
            return None;
        }
        let says = |reply: &Reply| {
            let message = if self.arena.has_real_nodes() {
                reply.body["message"].clone()
            } else {
                Value::Null
            };
            json!([reply.status, reply.body["code"], message])
        };
        // Both succeeded or failed; the body of one success says nothing here.
        let (left, right) = (says(expected), says(found));
        (left != right).then(|| {
            let note = format!("answer: {left} ≠ {right}");
            let kind = Kind::Status;
            (Difference { kind, note }, unexplained_cause("a refusal"))
        })
    }

    fn explain(
        &self,
        body: &Value,
        replies: [&Reply; 2],
        differences: &[Difference],
    ) -> Result<Vec<Cause>> {
        let cluster = self.arena.running(self.stage.replication_factor)?;
        let witness = Witness {
            single: (self.arena.single().client(), &self.stage.index),
            proxy: (cluster.client(), &self.stage.index),
            nodes: cluster.nodes.iter().map(NodeProcess::client).collect(),
            physical: &self.stage.physical,
            key_field: &self.case.key_field,
        };
        let query = Query {
            category: Category::Mixed,
            body: body.clone(),
        };
        witness.explain(&query, replies.map(|reply| &reply.body), differences)
    }

    fn is_by_count(&self, field: &str) -> bool {
        let orders = &self.case.settings["faceting"]["sortFacetValuesBy"];
        let order = orders.get(field).or(orders.get("*"));
        order.is_some_and(|order| order == "count")
    }

    fn facets_by_count(&self, body: &Value) -> Vec<String> {
        let facets = body["facetDistribution"].as_object();
        facets
            .into_iter()
            .flatten()
            .map(|(field, _)| field.clone())
            .filter(|field| self.is_by_count(field))
            .collect()
    }

    /// Whether a facet ordered by count is cut, and only the choice among the values that are
    /// counted equally often differs.
    fn is_cut_among_equals(
        &self,
        difference: &Difference,
        expected: &Reply,
        found: &Reply,
    ) -> bool {
        let field = difference.note.split(": ").next().unwrap_or_default();
        let counts = |reply: &Reply| -> Vec<u64> {
            let facet = reply.body["facetDistribution"][field].as_object();
            let counts = facet.into_iter().flatten();
            counts.filter_map(|(_, count)| count.as_u64()).collect()
        };
        self.is_by_count(field) && counts(expected) == counts(found)
    }
}

fn hits(reply: &Reply) -> &[Value] {
    reply.body["hits"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
}

fn unexplained_cause(why: &str) -> Cause {
    Cause::Unexplained(why.to_owned())
}

fn unexplained(differences: Vec<Difference>, why: &str) -> Vec<Finding> {
    differences
        .into_iter()
        .map(|difference| (difference, unexplained_cause(why)))
        .collect()
}
