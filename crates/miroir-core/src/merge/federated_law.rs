//! The laws of federated search, checked against the model of `sample`.

use super::sample::{Corpus, NODE_COUNT, any_text_corpus};
use super::*;
use crate::search::{Paging, SearchRequest};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

fn plan_of(uids: &[(&str, f64)], offset: usize, limit: usize) -> FederatedPlan {
    let queries = uids.iter().map(|(uid, weight)| FederatedQuery {
        uid: (*uid).to_owned(),
        request: SearchRequest::default(),
        weight: *weight,
    });
    let request = FederatedRequest {
        queries: queries.collect(),
        paging: Paging::Offset { offset, limit },
        facets: BTreeMap::new(),
        merge_facets: None,
        distinct: None,
    };
    let views = uids
        .iter()
        .map(|(uid, _)| ((*uid).to_owned(), IndexView::default()));
    FederatedPlan::new(request, views.collect()).unwrap()
}

fn plain(plan: &QueryPlan) -> &SearchPlan {
    match plan {
        QueryPlan::Plain(plan) => plan,
        QueryPlan::Mixed(_) => panic!("no query here mixes"),
    }
}

/// The answer when each query finds one of the corpora, spread over `nodes` or on one node.
fn answer(plan: &FederatedPlan, corpora: &[&Corpus], nodes: &[Option<usize>]) -> Value {
    let texts: Vec<Vec<String>> = plan
        .query_plans()
        .zip(corpora)
        .map(|(search, corpus)| {
            let depth = plain(search).depth();
            nodes
                .iter()
                .map(|node| corpus.answer(*node, depth, false))
                .collect()
        })
        .collect();
    let pages = plan
        .query_plans()
        .zip(&texts)
        .map(|(search, texts)| {
            let bodies: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
            plain(search).merge(&bodies).unwrap()
        })
        .collect();
    let count = br#"{"estimatedTotalHits":7}"#.as_slice();
    let shared = plan.shared_indexes().into_iter();
    let counts = shared
        .map(|(uid, _)| (uid.to_owned(), vec![count]))
        .collect();
    let mut out = Vec::new();
    plan.merge(pages, &counts)
        .unwrap()
        .write_response(&mut out, 0, "", b"");
    serde_json::from_slice(&out).unwrap()
}

fn names(answer: &Value) -> Vec<(u64, u64)> {
    let hits = answer["hits"].as_array().unwrap().iter();
    hits.map(|hit| {
        let position = hit["_federation"]["queriesPosition"].as_u64().unwrap();
        (position, hit["id"].as_u64().unwrap())
    })
    .collect()
}

fn parts() -> Vec<Option<usize>> {
    (0..NODE_COUNT).map(Some).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn one_query_alone_is_its_own_search(corpus in any_text_corpus(), limit in 0_usize..20) {
        let plan = plan_of(&[("a", 1.0)], 0, limit);
        let expected: Vec<u64> =
            corpus.ranking(|_| true).iter().take(limit).map(|doc| doc.id as u64).collect();
        let found: Vec<u64> =
            names(&answer(&plan, &[&corpus], &parts())).into_iter().map(|(_, id)| id).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn how_the_documents_are_spread_does_not_show(
        a in any_text_corpus(), b in any_text_corpus(), weight in 0.1_f64..2.0,
        offset in 0_usize..10, limit in 0_usize..20,
    ) {
        let plan = plan_of(&[("a", 1.0), ("b", weight)], offset, limit);
        let whole = answer(&plan, &[&a, &b], &[None]);
        let parted = answer(&plan, &[&a, &b], &parts());
        prop_assert_eq!(names(&parted), names(&whole));
        prop_assert_eq!(&parted["estimatedTotalHits"], &whole["estimatedTotalHits"]);
    }

    #[test]
    fn each_query_keeps_the_order_of_its_own_hits(
        a in any_text_corpus(), b in any_text_corpus(), weight in 0.1_f64..2.0,
    ) {
        let plan = plan_of(&[("a", 1.0), ("b", weight)], 0, 100);
        let found = names(&answer(&plan, &[&a, &b], &parts()));
        for (position, corpus) in [(0, &a), (1, &b)] {
            let own: Vec<u64> =
                found.iter().filter(|(at, _)| *at == position).map(|(_, id)| *id).collect();
            let expected: Vec<u64> =
                corpus.ranking(|_| true).iter().map(|doc| doc.id as u64).collect();
            prop_assert_eq!(own, expected);
        }
    }

    #[test]
    fn a_document_of_two_queries_shows_once(
        corpus in any_text_corpus(), weight in 0.1_f64..2.0, limit in 0_usize..40,
    ) {
        let plan = plan_of(&[("a", 1.0), ("a", weight)], 0, limit);
        let found = answer(&plan, &[&corpus, &corpus], &parts());
        let ids: Vec<u64> = names(&found).into_iter().map(|(_, id)| id).collect();
        let unique: BTreeSet<u64> = ids.iter().copied().collect();
        prop_assert_eq!(unique.len(), ids.len());
        prop_assert_eq!(ids.len(), limit.min(corpus.docs.len()));
        prop_assert_eq!(&found["estimatedTotalHits"], 7);
    }

    #[test]
    fn a_shorter_page_is_a_prefix_of_a_longer_one(
        a in any_text_corpus(), b in any_text_corpus(), limit in 0_usize..20,
    ) {
        let page = |limit| {
            let plan = plan_of(&[("a", 1.0), ("b", 1.0)], 0, limit);
            names(&answer(&plan, &[&a, &b], &parts()))
        };
        let (shorter, longer) = (page(limit), page(limit + 1));
        prop_assert_eq!(&shorter[..], &longer[..shorter.len()]);
    }
}

#[test]
fn facets_of_several_indexes_are_added_up_ordered_and_cut() {
    let mut plan_request = FederatedRequest {
        queries: Vec::new(),
        paging: Paging::Offset {
            offset: 0,
            limit: 1,
        },
        facets: BTreeMap::new(),
        merge_facets: Some(Some(2)),
        distinct: None,
    };
    let mut views = BTreeMap::new();
    for uid in ["a", "b"] {
        let query = FederatedQuery {
            uid: uid.to_owned(),
            weight: 1.0,
            ..Default::default()
        };
        plan_request.queries.push(query);
        plan_request
            .facets
            .insert(uid.to_owned(), vec!["f".to_owned()]);
        let view = IndexView {
            filterable: vec!["f".to_owned()],
            ..IndexView::default()
        };
        views.insert(uid.to_owned(), view);
    }
    let plan = FederatedPlan::new(plan_request, views).unwrap();
    let bodies = [
        r#"{"hits":[],"estimatedTotalHits":3,"facetDistribution":{"f":{"1":1,"y":2}},
            "facetStats":{"f":{"min":1.0,"max":1.0}}}"#,
        r#"{"hits":[],"estimatedTotalHits":4,"facetDistribution":{"f":{"10":1,"y":1}},
            "facetStats":{"f":{"min":10.0,"max":10.0}}}"#,
    ];
    let pages = plan.query_plans().zip(&bodies);
    let pages = pages
        .map(|(search, body)| plain(search).merge(&[body.as_bytes()]).unwrap())
        .collect();
    let mut out = Vec::new();
    plan.merge(pages, &BTreeMap::new())
        .unwrap()
        .write_response(&mut out, 0, "u", b"");
    let expected = concat!(
        r#"{"hits":[],"processingTimeMs":0,"limit":1,"offset":0,"estimatedTotalHits":7,"#,
        r#""facetDistribution":{"f":{"1":1,"10":1}},"#,
        r#""facetStats":{"f":{"min":1.0,"max":10.0}},"requestUid":"u"}"#,
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}
