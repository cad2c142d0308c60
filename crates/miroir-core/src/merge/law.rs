//! The laws of the merge, checked against the model of `sample`.

use super::sample::{Corpus, NODE_COUNT, any_corpus, any_text_corpus, distinct};
use super::*;
use crate::search::{Paging, SearchRequest};
use proptest::prelude::*;
use serde_json::Value;

fn window(offset: usize, limit: usize) -> SearchRequest {
    SearchRequest {
        paging: Paging::Offset { offset, limit },
        ..Default::default()
    }
}

/// An index whose filterable attributes match `pattern`.
fn declared(pattern: &str) -> IndexView {
    IndexView {
        filterable: vec![pattern.to_owned()],
        ..IndexView::default()
    }
}

/// The merged answer when every node answers `request`.
fn merged(corpus: &Corpus, request: &SearchRequest, nodes: &[usize]) -> Value {
    let plan = SearchPlan::new(request, &declared("*")).unwrap();
    let is_distinct = request.distinct.is_some();
    let answers: Vec<_> = nodes
        .iter()
        .map(|node| corpus.answer(Some(*node), plan.depth(), is_distinct))
        .collect();
    let bodies: Vec<_> = answers.iter().map(String::as_bytes).collect();
    let mut out = Vec::new();
    plan.merge(&bodies).unwrap().write_response(&mut out, 0, "");
    serde_json::from_slice(&out).unwrap()
}

/// What one node with all documents answers, cut to the same page.
fn single(corpus: &Corpus, request: &SearchRequest) -> Value {
    let plan = SearchPlan::new(request, &declared("*")).unwrap();
    let answer = corpus.answer(None, plan.depth(), request.distinct.is_some());
    let mut out = Vec::new();
    plan.merge(&[answer.as_bytes()])
        .unwrap()
        .write_response(&mut out, 0, "");
    serde_json::from_slice(&out).unwrap()
}

fn ids(answer: &Value) -> Vec<usize> {
    let hits = answer["hits"].as_array().unwrap();
    hits.iter()
        .map(|hit| usize::try_from(hit["id"].as_u64().unwrap()).unwrap())
        .collect()
}

const ALL: [usize; NODE_COUNT] = [0, 1, 2, 3];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn merging_the_parts_is_sorting_the_whole(
        corpus in any_corpus(), offset in 0_usize..30, limit in 0_usize..30,
    ) {
        let ranking = corpus.ranking(|_| true);
        let expected: Vec<_> = ranking.iter().skip(offset).take(limit).map(|doc| doc.id).collect();
        let answer = merged(&corpus, &window(offset, limit), &ALL);
        prop_assert_eq!(ids(&answer), expected);
        prop_assert_eq!(&answer["estimatedTotalHits"], ranking.len());
        for hit in answer["hits"].as_array().unwrap() {
            let names = hit.as_object().unwrap().keys();
            prop_assert!(names.into_iter().all(|name| !name.starts_with('_')));
        }
    }

    #[test]
    fn a_shorter_page_is_a_prefix_of_a_longer_one(corpus in any_corpus(), limit in 0_usize..30) {
        let shorter = ids(&merged(&corpus, &window(0, limit), &ALL));
        let longer = ids(&merged(&corpus, &window(0, limit + 1), &ALL));
        prop_assert_eq!(&shorter[..], &longer[..shorter.len()]);
    }

    #[test]
    fn asking_for_less_first_never_changes_the_page(
        corpus in any_corpus(), offset in 0_usize..20, limit in 0_usize..20,
        depths in [1_usize..12, 1..12, 1..12, 1..12],
    ) {
        let request = window(offset, limit);
        let plan = SearchPlan::new(&request, &declared("*")).unwrap();
        let mut asked: Vec<usize> = depths.iter().map(|depth| *depth.min(&plan.depth())).collect();
        for _ in 0..=NODE_COUNT {
            let answers: Vec<_> = ALL
                .iter()
                .map(|node| corpus.answer(Some(*node), asked[*node].min(plan.depth()), false))
                .collect();
            let bodies: Vec<_> = answers.iter().map(String::as_bytes).collect();
            match plan.merge_asked(&bodies, &asked).unwrap() {
                Err(node) => {
                    prop_assert!(asked[node] <= plan.depth(), "a whole answer is never too short");
                    asked[node] = usize::MAX;
                }
                Ok(page) => {
                    let mut out = Vec::new();
                    page.write_response(&mut out, 0, "");
                    let page: Value = serde_json::from_slice(&out).unwrap();
                    prop_assert_eq!(page, merged(&corpus, &request, &ALL));
                    return Ok(());
                }
            }
        }
        prop_assert!(false, "every node was asked for the whole and the page is not there");
    }

    #[test]
    fn a_page_cut_by_one_node_is_the_page_merged(
        corpus in any_corpus(), offset in 0_usize..30, limit in 1_usize..30,
        is_paged in any::<bool>(), is_distinct in any::<bool>(), shows in any::<bool>(),
    ) {
        let mut request = window(offset, limit);
        if is_paged {
            request.paging = Paging::Page { page: offset + 1, hits_per_page: limit };
        }
        request.distinct = is_distinct.then(|| "group".to_owned());
        request.show_ranking_score = shows;
        request.show_ranking_score_details = shows;
        request.facets = Some(vec!["*".to_owned()]);
        let plan = SearchPlan::new(&request, &declared("*")).unwrap();
        prop_assert!(plan.is_cut_by_node());
        let asked: Value = serde_json::from_slice(&plan.sole_body(None)).unwrap();
        let start = match request.paging {
            Paging::Offset { .. } => asked["offset"].as_u64().unwrap(),
            Paging::Page { .. } => {
                (asked["page"].as_u64().unwrap() - 1) * asked["hitsPerPage"].as_u64().unwrap()
            }
        };
        // The whole ranking as a node cuts it, without the details that were not asked for.
        let mut answer: Value =
            serde_json::from_str(&corpus.answer(None, usize::MAX, is_distinct)).unwrap();
        let hits = answer["hits"].as_array_mut().unwrap();
        hits.drain(..usize::try_from(start).unwrap().min(hits.len()));
        hits.truncate(limit);
        for name in ["showRankingScoreDetails", "showRankingScore"] {
            prop_assert_eq!(asked.get(name).is_some(), shows, "{}", name);
        }
        for hit in hits.iter_mut().filter(|_| !shows) {
            hit.as_object_mut().unwrap().retain(|name, _| !name.starts_with("_ranking"));
        }
        let answer = answer.to_string();
        let mut out = Vec::new();
        plan.sole_page(answer.as_bytes()).unwrap().write_response(&mut out, 0, "");
        let page: Value = serde_json::from_slice(&out).unwrap();
        prop_assert_eq!(page, single(&corpus, &request));
    }

    #[test]
    fn the_order_of_the_answers_does_not_matter(
        corpus in any_corpus(), nodes in Just(ALL.to_vec()).prop_shuffle(), offset in 0_usize..9,
    ) {
        let mut request = window(offset, 10);
        request.show_ranking_score = true;
        request.show_ranking_score_details = true;
        request.facets = Some(vec!["*".to_owned()]);
        prop_assert_eq!(merged(&corpus, &request, &nodes), merged(&corpus, &request, &ALL));
    }

    #[test]
    fn scores_and_details_are_those_of_the_single_node(
        corpus in any_text_corpus(), offset in 0_usize..9, limit in 0_usize..20,
    ) {
        let mut request = window(offset, limit);
        request.show_ranking_score = true;
        request.show_ranking_score_details = true;
        let (parts, whole) = (merged(&corpus, &request, &ALL), single(&corpus, &request));
        prop_assert_eq!(ids(&parts), ids(&whole));
        let pairs = parts["hits"].as_array().unwrap().iter().zip(whole["hits"].as_array().unwrap());
        for (part, whole) in pairs {
            prop_assert_eq!(&part["_rankingScoreDetails"], &whole["_rankingScoreDetails"]);
            let score = |hit: &Value| hit["_rankingScore"].as_f64().unwrap();
            prop_assert!((score(part) - score(whole)).abs() < 1e-12, "{} {}", part, whole);
        }
    }

    #[test]
    fn distinct_hits_and_their_number_are_those_of_the_whole(
        corpus in any_corpus(), page in 1_usize..4, hits_per_page in 1_usize..12,
    ) {
        let request = SearchRequest {
            distinct: Some("group".to_owned()),
            paging: Paging::Page { page, hits_per_page },
            ..Default::default()
        };
        let ranking = distinct(corpus.ranking(|_| true));
        let shown = ranking.iter().skip((page - 1) * hits_per_page).take(hits_per_page);
        let expected: Vec<_> = shown.map(|doc| doc.id).collect();
        let answer = merged(&corpus, &request, &ALL);
        prop_assert_eq!(ids(&answer), expected);
        prop_assert_eq!(&answer["totalHits"], ranking.len());
        prop_assert_eq!(&answer["totalPages"], ranking.len().div_ceil(hits_per_page));
        prop_assert_eq!(answer.get("facetDistribution"), None);
    }

    #[test]
    fn a_score_threshold_keeps_the_hits_at_or_above_it(
        corpus in any_text_corpus(), threshold in 0.0_f64..1.0,
    ) {
        let mut request = window(0, 40);
        request.show_ranking_score = true;
        let scores: Vec<_> = single(&corpus, &request)["hits"].as_array().unwrap().clone();
        request.ranking_score_threshold = Some(threshold);
        request.show_ranking_score = false;
        let expected: Vec<_> = scores
            .iter()
            // Away from the threshold, where rounding decides.
            .filter(|hit| hit["_rankingScore"].as_f64().unwrap() >= threshold)
            .map(|hit| usize::try_from(hit["id"].as_u64().unwrap()).unwrap())
            .collect();
        prop_assert_eq!(ids(&merged(&corpus, &request, &ALL)), expected);
    }

    #[test]
    fn a_broken_answer_is_an_error_or_a_page_but_never_a_panic(
        corpus in any_text_corpus(), cut in 0.0_f64..1.0, byte in any::<u8>(),
    ) {
        let request = SearchRequest {
            show_ranking_score: true,
            show_ranking_score_details: true,
            distinct: Some("group".to_owned()),
            ..Default::default()
        };
        let plan = SearchPlan::new(&request, &declared("*")).unwrap();
        let good = corpus.answer(Some(0), 20, false);
        let mut broken = corpus.answer(Some(1), 20, false).into_bytes();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a position")]
        let at = (cut * broken.len() as f64) as usize;
        prop_assert_eq!(plan.merge(&[good.as_bytes(), &broken[..at]]).unwrap_err().node, 1);
        broken[at] = byte;
        if let Ok(page) = plan.merge(&[good.as_bytes(), &broken]) {
            let mut out = Vec::new();
            page.write_response(&mut out, 0, "");
            prop_assert!(serde_json::from_slice::<Value>(&out).is_ok());
        }
    }
}

/// An answer of one node with one hit, whose details are given.
fn hit_with(id: usize, details: &str) -> String {
    format!(r#"{{"hits":[{{"id":{id},"_rankingScoreDetails":{details}}}],"estimatedTotalHits":1}}"#)
}

#[test]
fn a_hit_that_the_node_had_no_time_for_comes_last_and_is_noticed() {
    let skipped = hit_with(
        1,
        r#"{"words":{"order":0,"matchingWords":2,"maxMatchingWords":2},"skipped":{"order":1}}"#,
    );
    let whole = hit_with(
        2,
        r#"{"words":{"order":0,"matchingWords":2,"maxMatchingWords":2},"proximity":{"order":1,"score":0.1}}"#,
    );
    let plan = SearchPlan::new(&SearchRequest::default(), &IndexView::default()).unwrap();
    let page = plan.merge(&[skipped.as_bytes(), whole.as_bytes()]).unwrap();
    let mut hits = Vec::new();
    page.write_hits(&mut hits);
    assert_eq!(hits, br#"[{"id":2},{"id":1}]"#);
    assert!(page.is_cut_short);
}

#[test]
fn a_merge_without_answers_is_an_empty_page() {
    let plan = SearchPlan::new(&SearchRequest::default(), &IndexView::default()).unwrap();
    let page = plan.merge(&[]).unwrap();
    assert_eq!(page.hit_count(), 0);
    assert_eq!(
        page.totals,
        Totals::Offset {
            offset: 0,
            limit: 20,
            estimated_total_hits: 0
        }
    );
}

#[test]
fn totals_stop_at_the_visible_ranking_only_on_servers_that_do_so() {
    let answer = br#"{"hits":[],"totalHits":30}"#.as_slice();
    let request = SearchRequest {
        paging: Paging::Page {
            page: 0,
            hits_per_page: 20,
        },
        ..Default::default()
    };
    for (totals_capped, total_hits, total_pages) in [(false, 60, 3), (true, 50, 3)] {
        let view = IndexView {
            max_total_hits: 50,
            totals_capped,
            ..Default::default()
        };
        let plan = SearchPlan::new(&request, &view).unwrap();
        let totals = plan.merge(&[answer, answer]).unwrap().totals;
        let expected = Totals::Page {
            page: 0,
            hits_per_page: 20,
            total_pages,
            total_hits,
        };
        assert_eq!(totals, expected);
    }
}

#[test]
fn a_semantic_answer_says_how_many_hits_similarity_ranked() {
    let answer = |id: usize, similarity: f64| {
        format!(
            r#"{{"hits":[{{"id":{id},"_rankingScoreDetails":{{"vectorSort":
            {{"order":0,"similarity":{similarity}}}}}}}],"estimatedTotalHits":9,
            "queryVector":[0.5,1],"semanticHitCount":1}}"#
        )
    };
    let (a, b) = (answer(1, 0.25), answer(2, 0.75));
    let plan = SearchPlan::new(&SearchRequest::default(), &IndexView::default()).unwrap();
    let mut out = Vec::new();
    plan.merge(&[a.as_bytes(), b.as_bytes()])
        .unwrap()
        .write_response(&mut out, 1, "u");
    let expected = concat!(
        r#"{"hits":[{"id":2},{"id":1}],"query":"","queryVector":[0.5,1],"processingTimeMs":1,"#,
        r#""limit":20,"offset":0,"estimatedTotalHits":18,"requestUid":"u","semanticHitCount":2}"#
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn facets_of_reserved_and_undeclared_fields_are_not_shown() {
    let answer = br#"{"hits":[],"estimatedTotalHits":2,
        "facetDistribution":{"_miroir_shard":{"!":2},"hidden":{"x":2},"tag":{"b":1,"a":1}},
        "facetStats":{"hidden":{"min":1,"max":2}}}"#;
    let request = SearchRequest {
        facets: Some(vec!["*".to_owned()]),
        ..SearchRequest::default()
    };
    let view = declared("tag");
    let plan = SearchPlan::new(&request, &view).unwrap();
    let mut out = Vec::new();
    plan.merge(&[answer.as_slice()])
        .unwrap()
        .write_response(&mut out, 1, "u");
    let expected = concat!(
        r#"{"hits":[],"query":"","processingTimeMs":1,"limit":20,"offset":0,"#,
        r#""estimatedTotalHits":2,"facetDistribution":{"tag":{"a":1,"b":1}},"facetStats":{},"#,
        r#""requestUid":"u"}"#
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}
