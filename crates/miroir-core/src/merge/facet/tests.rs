use super::*;
use proptest::prelude::*;
use serde_json::json;

fn merged(bodies: &[Value], order: FacetOrder, limit: usize) -> String {
    let texts: Vec<_> = bodies.iter().map(ToString::to_string).collect();
    let answers: Vec<_> = texts
        .iter()
        .map(|text| NodeAnswer::parse(text.as_bytes()).unwrap())
        .collect();
    let shown = FacetSums::new(&answers, |_| true).distribution(|_| order, limit);
    Value::Object(shown.unwrap()).to_string()
}

fn body(total: u64, values: Value, stats: Value) -> Value {
    json!({
        "hits": [], "totalHits": total,
        "facetDistribution": {"f": values}, "facetStats": stats,
    })
}

fn range(min: f64, max: f64) -> Value {
    json!({"f": {"min": min, "max": max}})
}

#[test]
fn values_are_added_by_their_normalised_form() {
    let a = body(5, json!({"ÀB": 1, "Web": 2}), json!({}));
    let b = body(5, json!({"web": 3, "z": 1}), json!({}));
    let expected = r#"{"f":{"ÀB":1,"web":5,"z":1}}"#;
    assert_eq!(
        merged(&[a.clone(), b.clone()], FacetOrder::Alpha, 100),
        expected
    );
    assert_eq!(merged(&[b, a], FacetOrder::Alpha, 100), expected);
}

#[test]
fn few_candidates_sort_numbers_as_text_and_cut_both_kinds_together() {
    let a = body(5, json!({"10": 1, "9.5": 1, "a": 1}), range(9.5, 10.0));
    let b = body(5, json!({"3": 1, "b": 1}), range(3.0, 3.0));
    let shown = merged(&[a.clone(), b.clone()], FacetOrder::Alpha, 100);
    assert_eq!(shown, r#"{"f":{"10":1,"3":1,"9.5":1,"a":1,"b":1}}"#);
    assert_eq!(
        merged(&[a.clone(), b.clone()], FacetOrder::Alpha, 2),
        r#"{"f":{"10":1,"3":1}}"#
    );
    assert_eq!(merged(&[a, b], FacetOrder::Alpha, 0), r#"{"f":{}}"#);
}

#[test]
fn many_candidates_in_all_sort_numbers_by_value() {
    let a = body(2_000, json!({"10": 1, "9": 1}), range(9.0, 10.0));
    let b = body(2_000, json!({"-1": 1, "a": 1}), range(-1.0, -1.0));
    let both = [a, b];
    assert_eq!(
        merged(&both, FacetOrder::Alpha, 100),
        r#"{"f":{"-1":1,"9":1,"10":1,"a":1}}"#
    );
    assert_eq!(
        merged(&both, FacetOrder::Alpha, 4),
        r#"{"f":{"-1":1,"9":1,"10":1,"a":1}}"#
    );
    // Numbers that fill the limit let all strings follow.
    assert_eq!(
        merged(&both, FacetOrder::Alpha, 3),
        r#"{"f":{"-1":1,"9":1,"10":1,"a":1}}"#
    );
    assert_eq!(
        merged(&both, FacetOrder::Alpha, 2),
        r#"{"f":{"-1":1,"9":1,"a":1}}"#
    );
}

#[test]
fn counts_come_first_by_frequency_and_then_by_descending_value() {
    let a = body(9, json!({"a": 1, "b": 2, "c": 2}), json!({}));
    let b = body(9, json!({"d": 4, "a": 1}), json!({}));
    let both = [a, b];
    assert_eq!(
        merged(&both, FacetOrder::Count, 100),
        r#"{"f":{"d":4,"c":2,"b":2,"a":2}}"#
    );
    assert_eq!(
        merged(&both, FacetOrder::Count, 2),
        r#"{"f":{"d":4,"c":2}}"#
    );
}

#[test]
fn digits_are_text_where_the_field_holds_no_numbers() {
    let a = body(5_000, json!({"10": 1, "9": 1}), json!({}));
    assert_eq!(
        merged(&[a], FacetOrder::Alpha, 100),
        r#"{"f":{"10":1,"9":1}}"#
    );
}

#[test]
fn ranges_span_the_ranges_of_the_nodes() {
    let texts =
        [range(3.0, 4.0), range(-1.0, 3.5)].map(|stats| body(1, json!({}), stats).to_string());
    let answers = texts
        .each_ref()
        .map(|t| NodeAnswer::parse(t.as_bytes()).unwrap());
    let stats = Value::Object(FacetSums::new(&answers, |_| true).stats().unwrap());
    assert_eq!(stats, json!({"f": {"min": -1.0, "max": 4.0}}));
    let nothing = FacetSums::new(&answers, |_| false).stats();
    assert_eq!(nothing, Some(Map::new()));
}

#[test]
fn values_on_several_nodes_are_counted_once() {
    let texts = [
        json!({"1": 1, "a": 1}),
        json!({"A": 1, "b": 1}),
        json!({"1": 1}),
    ]
    .map(|values| body(9, values, range(1.0, 1.0)).to_string());
    let answers = texts
        .each_ref()
        .map(|t| NodeAnswer::parse(t.as_bytes()).unwrap());
    assert_eq!(count_shared_values(&answers, "f"), 2);
    assert_eq!(count_shared_values(&answers, "g"), 0);
}

#[test]
fn values_of_the_distinct_field_count_once() {
    let text = body(9, json!({"1": 1, "a": 1}), range(1.0, 1.0)).to_string();
    let answers = [&text, &text].map(|t| NodeAnswer::parse(t.as_bytes()).unwrap());
    let mut sums = FacetSums::new(&answers, |_| true);
    sums.count_once("f");
    let shown = sums.distribution(|_| FacetOrder::Alpha, 100);
    assert_eq!(
        Value::Object(shown.unwrap()),
        json!({"f": {"1": 1, "a": 1}})
    );
}

fn hit(document: &Value) -> Box<serde_json::value::RawValue> {
    let mut document = document.clone();
    document["_rankingScoreDetails"] = json!({});
    serde_json::value::to_raw_value(&document).unwrap()
}

#[test]
fn a_hit_that_is_not_kept_is_taken_out_of_the_sums_and_of_the_ranges() {
    let text = body(
        9,
        json!({"1": 1, "3": 2, "Web": 2, "x": 1}),
        range(1.0, 3.0),
    )
    .to_string();
    let answers = [NodeAnswer::parse(text.as_bytes()).unwrap()];
    let mut sums = FacetSums::new(&answers, |_| true);
    let gone = hit(&json!({"f": [1, 3, 3, "web ", "WEB", "x", "unknown"]}));
    sums.remove(&Hit::parse(&gone, 0).unwrap(), |_| false);
    let stats = Value::Object(sums.stats().unwrap());
    assert_eq!(stats, json!({"f": {"min": 3.0, "max": 3.0}}));
    let shown = sums.distribution(|_| FacetOrder::Alpha, 100).unwrap();
    assert_eq!(Value::Object(shown), json!({"f": {"3": 1, "Web": 1}}));
    let mut sums = FacetSums::new(&answers, |_| true);
    sums.remove(&Hit::parse(&gone, 0).unwrap(), |field| field == "f");
    let shown = sums.distribution(|_| FacetOrder::Alpha, 100).unwrap();
    assert_eq!(shown["f"].as_object().unwrap().len(), 4);
}

#[test]
fn a_hit_is_taken_out_of_facets_as_they_are_shown() {
    let mut shown = json!({"f": {"1": 1, "Web": 2}, "g": {"y": 1}});
    let gone = hit(&json!({"f": [1, "WEB", "web"]}));
    let gone = Hit::parse(&gone, 0).unwrap();
    remove_shown(shown.as_object_mut().unwrap(), &gone);
    assert_eq!(shown, json!({"f": {"Web": 1}, "g": {"y": 1}}));
}

#[test]
fn long_values_are_cut_at_a_character() {
    let text = "é".repeat(300);
    let normal = normalize_facet(&text);
    assert!(normal.len() <= FACET_BYTES_MAX && normal.len() > FACET_BYTES_MAX - 4);
    assert_eq!(normalize_facet(&"x".repeat(500)).len(), FACET_BYTES_MAX);
}

/// The distribution that one node would answer for these values of its documents.
fn counted(documents: &[Vec<u8>], total: u64) -> Value {
    let mut numbers: BTreeMap<String, u64> = BTreeMap::new();
    let mut texts: BTreeMap<String, u64> = BTreeMap::new();
    for value in documents.iter().flatten() {
        // Even ones are numbers, odd ones are words.
        if value % 2 == 0 {
            *numbers.entry(value.to_string()).or_default() += 1;
        } else {
            *texts.entry(format!("w{value:03}")).or_default() += 1;
        }
    }
    let by_value = |text: &String| text.parse::<u8>().unwrap();
    let stats = match (
        numbers.keys().map(by_value).min(),
        numbers.keys().map(by_value).max(),
    ) {
        (Some(min), Some(max)) => range(f64::from(min), f64::from(max)),
        _ => json!({}),
    };
    let values: Map<String, Value> = numbers
        .into_iter()
        .chain(texts)
        .map(|(value, count)| (value, count.into()))
        .collect();
    body(total, Value::Object(values), stats)
}

proptest! {
    #[test]
    fn facets_of_the_parts_are_the_facets_of_the_whole(
        documents in proptest::collection::vec((proptest::collection::vec(0_u8..30, 0..4), 0_usize..4), 0..40),
        limit in 0_usize..20,
        is_large in any::<bool>(),
        by_count in any::<bool>(),
    ) {
        let order = if by_count { FacetOrder::Count } else { FacetOrder::Alpha };
        let size = if is_large { 10_000 } else { 10 };
        let part = |part: usize| -> Vec<Vec<u8>> {
            documents.iter().filter(|d| d.1 == part).map(|d| d.0.clone()).collect()
        };
        let parts: Vec<_> = (0..4).map(|p| counted(&part(p), size / 4)).collect();
        let all: Vec<_> = documents.iter().map(|d| d.0.clone()).collect();
        let whole = [counted(&all, size)];
        prop_assert_eq!(merged(&parts, order, limit), merged(&whole, order, limit));
    }
}
