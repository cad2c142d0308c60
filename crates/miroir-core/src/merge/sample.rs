//! A model of nodes that rank: hits whose standing under every rule is known, and the answers that
//! a node holding some of them would give.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// A ranking rule of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    Words,
    Typo,
    Proximity,
    AttributeRank,
    WordPosition,
    Attribute,
    Exactness,
    Ascending,
    Descending,
    Near,
    Far,
    Similarity,
}

const RULES: [Rule; 12] = [
    Rule::Words,
    Rule::Typo,
    Rule::Proximity,
    Rule::AttributeRank,
    Rule::WordPosition,
    Rule::Attribute,
    Rule::Exactness,
    Rule::Ascending,
    Rule::Descending,
    Rule::Near,
    Rule::Far,
    Rule::Similarity,
];

/// A document that matches; `standing[i]` (0 to 3, best first) is its standing under rule `i`.
#[derive(Debug, Clone)]
pub(super) struct Doc {
    pub(super) id: usize,
    pub(super) standing: Vec<u8>,
    pub(super) group: Option<u8>,
    pub(super) node: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Corpus {
    pub(super) rules: Vec<Rule>,
    /// By id, which is also the insertion order.
    pub(super) docs: Vec<Doc>,
}

pub(super) const NODE_COUNT: usize = 4;

/// Any rules in any order, over documents with many ties.
pub(super) fn any_corpus() -> impl Strategy<Value = Corpus> {
    proptest::sample::subsequence(RULES.to_vec(), 0..=6)
        .prop_shuffle()
        .prop_flat_map(corpus_of)
}

/// The rules of a text search with the typo rule where its scale can be corrected.
pub(super) fn any_text_corpus() -> impl Strategy<Value = Corpus> {
    let text = [
        Rule::Words,
        Rule::Typo,
        Rule::Proximity,
        Rule::Attribute,
        Rule::Exactness,
    ];
    (any::<bool>(), any::<bool>()).prop_flat_map(move |(has_words, has_sort)| {
        let mut rules = text[usize::from(!has_words)..].to_vec();
        if has_sort {
            rules.insert(0, Rule::Descending);
        }
        corpus_of(rules)
    })
}

fn corpus_of(rules: Vec<Rule>) -> impl Strategy<Value = Corpus> {
    let doc = (
        proptest::collection::vec(0_u8..4, rules.len()),
        proptest::option::of(0_u8..5),
        0..NODE_COUNT,
    );
    proptest::collection::vec(doc, 0..40).prop_map(move |docs| Corpus {
        rules: rules.clone(),
        docs: (0..)
            .zip(docs)
            .map(|(id, (standing, group, node))| Doc {
                id,
                standing,
                group,
                node,
            })
            .collect(),
    })
}

impl Corpus {
    /// The documents of some nodes, best first, ties by insertion order.
    pub(super) fn ranking(&self, holds: impl Fn(usize) -> bool) -> Vec<&Doc> {
        let mut docs: Vec<_> = self.docs.iter().filter(|doc| holds(doc.node)).collect();
        docs.sort_by_key(|doc| (&doc.standing, doc.id));
        docs
    }

    /// The answer of one node; `None` is the node that holds all documents.
    pub(super) fn answer(&self, node: Option<usize>, depth: usize, is_distinct: bool) -> String {
        let mut docs = self.ranking(|holder| node.is_none_or(|node| node == holder));
        let all = docs.clone();
        if is_distinct {
            docs = distinct(docs);
        }
        let mut groups = Map::new();
        for doc in &docs {
            if let Some(group) = doc.group {
                let count = groups.entry(format!("g{group}")).or_insert(json!(0));
                *count = json!(count.as_u64().unwrap_or(0) + 1);
            }
        }
        let hits: Vec<_> = docs
            .iter()
            .take(depth)
            .map(|doc| self.hit(doc, &all))
            .collect();
        json!({
            "hits": hits, "totalHits": docs.len(),
            "facetDistribution": {"group": groups}, "facetStats": {},
        })
        .to_string()
    }

    fn hit(&self, doc: &Doc, node_docs: &[&Doc]) -> Value {
        let max_typo = self.max_typo_count(doc, node_docs);
        let mut details = Map::new();
        // (rank, ranks) of every relevancy rule, for the score.
        let mut ranks = Vec::new();
        for (order, (rule, standing)) in self.rules.iter().zip(&doc.standing).enumerate() {
            let (name, entry) = detail(*rule, *standing, max_typo, order, &mut ranks);
            details.insert(name.to_owned(), entry);
        }
        let seq = json!({"order": self.rules.len(), "value": format!("{:05}", doc.id)});
        details.insert(crate::reserved::SEQ_RULE.to_owned(), seq);
        // The nesting of Meilisearch, the last rule inmost.
        let score = ranks
            .iter()
            .rev()
            .fold(1.0, |rest, (rank, max)| (rank - 1.0 + rest) / max);
        let mut hit = json!({"id": doc.id, "_miroir_seq": "x", "_miroir_shard": "y"});
        if let Some(group) = doc.group {
            // Spelt so that only the normalised form is shared.
            let spelling = if doc.id.is_multiple_of(2) {
                format!("G{group} ")
            } else {
                format!("g{group}")
            };
            hit["group"] = spelling.into();
        }
        hit["_rankingScore"] = score.into();
        // Members in an order that says nothing.
        hit["_rankingScoreDetails"] = details.into_iter().rev().collect::<Map<_, _>>().into();
        hit
    }

    /// The largest typo count of the documents equal to `doc` in the rules before the typo rule.
    fn max_typo_count(&self, doc: &Doc, node_docs: &[&Doc]) -> u8 {
        let Some(typo) = self.rules.iter().position(|rule| *rule == Rule::Typo) else {
            return 0;
        };
        let bucket = node_docs
            .iter()
            .filter(|other| other.standing[..typo] == doc.standing[..typo]);
        bucket
            .map(|other| other.standing[typo])
            .max()
            .unwrap_or(0)
            .max(1)
    }
}

/// The documents left when only the first of each group is kept.
pub(super) fn distinct(docs: Vec<&Doc>) -> Vec<&Doc> {
    let mut taken = Vec::new();
    let is_kept = |doc: &&Doc| {
        let is_new = doc.group.is_none_or(|group| !taken.contains(&group));
        taken.extend(doc.group.filter(|_| is_new));
        is_new
    };
    docs.into_iter().filter(is_kept).collect()
}

fn detail(
    rule: Rule,
    standing: u8,
    max_typo: u8,
    order: usize,
    ranks: &mut Vec<(f64, f64)>,
) -> (&'static str, Value) {
    let best = 4 - standing;
    let quarter = f64::from(best) / 4.0;
    let at = usize::from(standing);
    let mut rank = |rank: u8, max: u8| ranks.push((f64::from(rank), f64::from(max)));
    match rule {
        Rule::Words => {
            rank(best, 4);
            (
                "words",
                json!({"order": order, "matchingWords": best, "maxMatchingWords": 4, "score": quarter}),
            )
        }
        Rule::Typo => {
            rank(max_typo + 1 - standing, max_typo + 1);
            let score = f64::from(max_typo + 1 - standing) / f64::from(max_typo + 1);
            (
                "typo",
                json!({"order": order, "typoCount": standing, "maxTypoCount": max_typo, "score": score}),
            )
        }
        Rule::Proximity | Rule::AttributeRank | Rule::WordPosition => {
            rank(best, 4);
            let name = match rule {
                Rule::Proximity => "proximity",
                Rule::AttributeRank => "attributeRank",
                _ => "wordPosition",
            };
            (name, json!({"order": order, "score": quarter}))
        }
        Rule::Attribute => {
            let (outer, inner) = (2 - standing / 2, 2 - standing % 2);
            rank(outer, 2);
            rank(inner, 2);
            let entry = json!({
                "order": order, "score": quarter,
                "attributeRankingOrderScore": f64::from(outer) / 2.0,
                "queryWordDistanceScore": f64::from(inner) / 2.0,
            });
            ("attribute", entry)
        }
        Rule::Exactness => {
            let entry = match standing {
                0 => json!({"order": order, "matchType": "exactMatch", "score": 1.0}),
                1 => json!({"order": order, "matchType": "matchesStart", "score": 0.6}),
                _ => json!({
                    "order": order, "matchType": "noExactMatch", "score": 0.2,
                    "matchingWords": 3 - standing, "maxMatchingWords": 1,
                }),
            };
            rank(3 - standing.min(2), 3);
            rank(if standing > 1 { 4 - standing } else { 2 }, 2);
            ("exactness", entry)
        }
        Rule::Ascending => {
            let values = [json!(-2.5), json!(10.0), json!("b"), json!(null)];
            ("price:asc", json!({"order": order, "value": values[at]}))
        }
        Rule::Descending => {
            let values = [json!(10.0), json!(-2.5), json!("b"), json!("a\u{300}")];
            ("price:desc", json!({"order": order, "value": values[at]}))
        }
        Rule::Near => {
            let metres = [json!(0.25), json!(20.0), json!(3e6), json!(null)];
            (
                "_geoPoint(1, 2):asc",
                json!({"order": order, "value": null, "distance": metres[at]}),
            )
        }
        Rule::Far => {
            let metres = [json!(3e6), json!(20.0), json!(0.25), json!(null)];
            (
                "_geoPoint(3, 4):desc",
                json!({"order": order, "value": null, "distance": metres[at]}),
            )
        }
        Rule::Similarity => {
            let similarity = [json!(0.75), json!(0.5), json!(-0.1), json!(null)];
            (
                "vectorSort",
                json!({"order": order, "similarity": similarity[at]}),
            )
        }
    }
}
