use super::*;
use crate::reserved::SEQ_RULE;

fn request(q: &str) -> SearchRequest {
    let passthrough = json!({"matchingStrategy": "frequency"});
    SearchRequest {
        q: Some(q.to_owned()),
        passthrough: passthrough.as_object().unwrap().clone(),
        ..SearchRequest::default()
    }
}

fn plan(q: &str) -> Option<FrequencyPlan> {
    FrequencyPlan::new(&request(q), &IndexView::default()).unwrap()
}

fn counts(counts: &[u64]) -> Vec<u8> {
    let result = |count: &u64| json!({"facetDistribution": {SHARD_FIELD: {"s": count}}});
    let results: Vec<Value> = counts.iter().map(result).collect();
    json!({ "results": results }).to_string().into_bytes()
}

fn queries(walk: &FrequencyWalk<'_>) -> Vec<String> {
    let body: Value = serde_json::from_slice(&walk.body(None).unwrap()).unwrap();
    let queries = body["queries"].as_array().unwrap();
    let text = |query: &Value| query["q"].as_str().unwrap().replace(ABSENT, "_");
    queries.iter().map(text).collect()
}

/// The hits of a node with these words left.
fn hits(words: u32, hits: &[(u32, &str, f64)]) -> Value {
    let hit = |(id, seq, score): &(u32, &str, f64)| {
        json!({
            "id": id,
            "_rankingScoreDetails": {
                "words": {"order": 0, "matchingWords": words, "maxMatchingWords": words, "score": 1.0},
                "proximity": {"order": 1, "score": score},
                SEQ_RULE: {"order": 2, "value": seq},
            }
        })
    };
    let hits: Vec<Value> = hits.iter().map(hit).collect();
    json!({"hits": hits, "estimatedTotalHits": 9})
}

fn answer(results: &[Value]) -> Vec<u8> {
    json!({ "results": results }).to_string().into_bytes()
}

#[test]
fn only_queries_of_plain_words_are_followed() {
    for q in [
        "tea house",
        "tea house ",
        "Straße thé",
        "a b c d e f g h i j k l",
    ] {
        assert!(plan(q).is_some(), "{q}");
    }
    for q in [
        "tea",
        "",
        "\"tea house\"",
        "tea -house",
        "tea, house",
        "o'neill tea",
        "茶 家",
    ] {
        assert!(plan(q).is_none(), "{q}");
    }
    let view = IndexView {
        stop_words: None,
        ..IndexView::default()
    };
    assert_eq!(
        FrequencyPlan::new(&request("tea house"), &view).unwrap(),
        None
    );
}

#[test]
fn other_searches_are_left_as_they_are() {
    let by_distinct = SearchRequest {
        distinct: Some("id".to_owned()),
        ..request("tea house")
    };
    let by_score = SearchRequest {
        ranking_score_threshold: Some(0.5),
        ..request("tea house")
    };
    let mut last = request("tea house");
    last.passthrough = Map::new();
    let view = IndexView {
        filterable: vec!["*".to_owned()],
        ..IndexView::default()
    };
    for request in [by_distinct, by_score, last] {
        assert_eq!(FrequencyPlan::new(&request, &view).unwrap(), None);
    }
}

#[test]
fn words_are_counted_as_they_stand_and_only_the_last_may_be_a_beginning() {
    let texts = |q: &str| -> Vec<String> {
        let plan = plan(q).unwrap();
        let body: Value = serde_json::from_slice(&plan.counting_body(Some("s = 1"))).unwrap();
        assert_eq!(body["queries"][0]["filter"], json!("s = 1"));
        let queries = body["queries"].as_array().unwrap().iter();
        queries
            .map(|q| q["q"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(texts("tea house"), ["tea ", "house", "\"house\""]);
    assert_eq!(texts("tea house "), ["tea ", "house "]);
    // A node looks at ten words; the tenth is then not the last.
    let ten = texts("a b c d e f g h i j k");
    assert_eq!((ten.len(), ten[9].as_str()), (10, "j "));
}

#[test]
fn stop_words_keep_their_place_and_are_never_missing() {
    let view = IndexView {
        stop_words: Some(["the".to_owned()].into()),
        ..IndexView::default()
    };
    let plan = FrequencyPlan::new(&request("The tea the house"), &view).unwrap();
    let plan = plan.unwrap();
    let counts = counts(&[9, 3]);
    let walk = plan.walk(&[&counts]).unwrap().unwrap();
    assert_eq!(queries(&walk), ["The tea the house", "The _ the house"]);
    // Alone at the end it is a word like others.
    let plan = FrequencyPlan::new(&request("tea the"), &view).unwrap();
    assert!(plan.is_some());
}

#[test]
fn a_word_may_be_missing_if_all_more_frequent_ones_behind_it_are() {
    let levels = |counts: &[u64]| levels_of(counts).unwrap();
    // The rarest is always there.
    assert_eq!(levels(&[5, 1]), [vec![0b00], vec![0b01]]);
    assert_eq!(levels(&[1, 5]), [vec![0b00], vec![0b10]]);
    // The first is rarer than the last, so it does not go alone.
    assert_eq!(levels(&[5, 1, 9]), [vec![0b000], vec![0b100], vec![0b101]]);
    assert_eq!(
        levels(&[9, 1, 5]),
        [vec![0b000], vec![0b001, 0b100], vec![0b101]]
    );
    // Of equal ones none is the rarest alone.
    assert_eq!(levels(&[4, 4]), [vec![0b00]]);
    assert_eq!(levels(&[4, 4, 7]), [vec![0b000], vec![0b100]]);
    // What nothing matches goes first.
    assert_eq!(levels(&[0, 4]), [vec![0b00], vec![0b01]]);
    let falling: Vec<u64> = (0..10).map(|at| 10 - at).collect();
    assert_eq!(levels_of(&falling), None);
}

#[test]
fn counts_are_those_of_all_nodes() {
    let plan = plan("tea house").unwrap();
    let (a, b) = (counts(&[1, 3]), counts(&[9, 4]));
    let walk = plan.walk(&[&a, &b]).unwrap().unwrap();
    assert_eq!(queries(&walk), ["tea house", "_ house"]);
}

#[test]
fn a_document_is_shown_once_where_it_ranks_best() {
    let plan = plan("tea green house").unwrap();
    let counts = counts(&[9, 1, 5]);
    let mut walk = plan.walk(&[&counts]).unwrap().unwrap();
    assert_eq!(queries(&walk), ["tea green house", "_ green _"]);
    let total = json!({"hits": [], "estimatedTotalHits": 3});
    let first = answer(&[hits(3, &[(1, "!1", 0.5)]), total]);
    assert_eq!(walk.take(&[&first]).unwrap(), WalkStep::Next);
    assert_eq!(queries(&walk), ["_ green house", "tea green _"]);
    let second = answer(&[
        hits(2, &[(2, "!2", 0.9), (3, "!3", 0.2), (1, "!1", 0.1)]),
        hits(2, &[(3, "!3", 1.0), (2, "!2", 0.3)]),
    ]);
    assert_eq!(walk.take(&[&second]).unwrap(), WalkStep::Next);
    let third = answer(&[hits(1, &[(1, "!1", 1.0)])]);
    assert_eq!(walk.take(&[&third]).unwrap(), WalkStep::Done);

    let answers = walk.answers().unwrap();
    let answers: Vec<&[u8]> = answers.iter().map(Vec::as_slice).collect();
    let page = plan.whole().merge(&answers).unwrap();
    assert_eq!(page.totals.hits(), 3);
    let mut shown = Vec::new();
    page.write_hits(&mut shown);
    assert_eq!(shown, br#"[{"id":1},{"id":3},{"id":2}]"#);
}

#[test]
fn hits_that_lack_a_word_of_their_query_end_its_list() {
    let plan = plan("tea house").unwrap();
    let counts = counts(&[9, 5]);
    let mut walk = plan.walk(&[&counts]).unwrap().unwrap();
    let mut list = hits(2, &[(1, "!1", 1.0), (2, "!2", 1.0)]);
    list["hits"][1]["_rankingScoreDetails"]["words"]["matchingWords"] = json!(1);
    let total = json!({"hits": [], "estimatedTotalHits": 1});
    walk.take(&[&answer(&[list, total])]).unwrap();
    assert_eq!(walk.seen.len(), 1);
}

#[test]
fn scores_and_texts_are_those_of_the_clients_own_query() {
    let request = SearchRequest {
        show_ranking_score: true,
        show_matches_position: true,
        ..request("tea house")
    };
    let plan = FrequencyPlan::new(&request, &IndexView::default()).unwrap();
    let plan = plan.unwrap();
    let counts = counts(&[9, 5]);
    let mut walk = plan.walk(&[&counts]).unwrap().unwrap();
    assert_eq!(queries(&walk), ["tea house", "_ house", "tea house"]);
    let total = json!({"hits": [], "estimatedTotalHits": 1});
    let mut own = hits(2, &[(7, "!7", 1.0)]);
    own["hits"][0]["_matchesPosition"] = json!({"name": [{"start": 4, "length": 3}]});
    walk.take(&[&answer(&[hits(2, &[]), total, own])]).unwrap();
    let mut found = hits(1, &[(7, "!7", 1.0)]);
    found["hits"][0]["_rankingScore"] = json!(0.75);
    found["hits"][0]["_matchesPosition"] = json!({});
    walk.take(&[&answer(&[found])]).unwrap();
    let answers = walk.answers().unwrap();
    let answers: Vec<&[u8]> = answers.iter().map(Vec::as_slice).collect();
    let mut shown = Vec::new();
    plan.whole().merge(&answers).unwrap().write_hits(&mut shown);
    let shown: Value = serde_json::from_slice(&shown).unwrap();
    // One of two words: (0 + 0.75) / 2.
    assert_eq!(shown[0]["_rankingScore"], json!(0.375));
    assert_eq!(shown[0]["_matchesPosition"]["name"][0]["start"], json!(4));
}

#[test]
fn pages_deeper_than_nodes_show_are_left_to_the_nodes() {
    let view = IndexView {
        max_total_hits: 3,
        ..IndexView::default()
    };
    let plan = FrequencyPlan::new(&request("tea house"), &view)
        .unwrap()
        .unwrap();
    let counts = counts(&[9, 5]);
    let mut walk = plan.walk(&[&counts]).unwrap().unwrap();
    let total = json!({"hits": [], "estimatedTotalHits": 1});
    let first = answer(&[hits(2, &[(1, "!1", 1.0)]), total]);
    assert_eq!(walk.take(&[&first]).unwrap(), WalkStep::Next);
    assert_eq!(walk.body(None), None);
}

#[test]
fn a_text_does_not_begin_with_a_query_that_lacks_words_before_others() {
    let plan = plan("tea green house ").unwrap();
    let counts = counts(&[9, 1, 5]);
    let exactness = |kind: &str| {
        let words = if kind == "noExactMatch" { 2 } else { 0 };
        json!({
            "order": 2, "matchType": kind, "score": 0.5,
            "matchingWords": words, "maxMatchingWords": words,
        })
    };
    let mut list = hits(2, &[(5, "!5", 1.0), (6, "!4", 1.0)]);
    for (at, kind) in ["matchesStart", "noExactMatch"].into_iter().enumerate() {
        let details = &mut list["hits"][at]["_rankingScoreDetails"];
        details["exactness"] = exactness(kind);
        details[SEQ_RULE]["order"] = json!(3);
    }
    let ids = |sets: [Value; 2]| {
        let mut walk = plan.walk(&[&counts]).unwrap().unwrap();
        let total = json!({"hits": [], "estimatedTotalHits": 2});
        walk.take(&[&answer(&[hits(3, &[]), total])]).unwrap();
        walk.take(&[&answer(&sets)]).unwrap();
        let answers = walk.answers().unwrap();
        let answers: Vec<&[u8]> = answers.iter().map(Vec::as_slice).collect();
        let page = plan.whole().merge(&answers).unwrap();
        let mut shown = Vec::new();
        page.write_hits(&mut shown);
        String::from_utf8(shown).unwrap()
    };
    // Without `tea` the rest does not begin a text: the older document comes first.
    assert_eq!(ids([list.clone(), hits(2, &[])]), r#"[{"id":6},{"id":5}]"#);
    // `tea green` does.
    assert_eq!(ids([hits(2, &[]), list]), r#"[{"id":5},{"id":6}]"#);
}
