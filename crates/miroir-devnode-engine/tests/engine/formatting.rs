//! `_formatted` and `_matchesPosition`.

use crate::support::{Fixture, query, texts};
use miroir_devnode_engine::SearchQuery;
use serde_json::{Value, json};

fn fixture() -> Fixture {
    Fixture::with(
        json!({ "searchableAttributes": ["*"] }),
        json!([{
            "id": 1,
            "title": "A small boat on the wide sea",
            "year": 1999,
            "good": true,
            "crew": { "names": ["Anna Boat", "Bo"], "size": 2 },
            "parts": [{ "name": "boat hull" }, { "name": "mast" }]
        }]),
    )
}

fn formatted(fixture: &Fixture, query: &SearchQuery) -> Value {
    fixture.search(query).hits[0]
        .get("_formatted")
        .cloned()
        .unwrap_or(Value::Null)
}

#[test]
fn highlighting_everything_reaches_nested_values_and_shows_numbers_as_text() {
    let query = SearchQuery {
        attributes_to_highlight: texts(&["*"]),
        ..query("boat 1999")
    };
    let expected = json!({
        "id": "1",
        "title": "A small <em>boat</em> on the wide sea",
        "year": "<em>1999</em>",
        "good": true,
        "crew": { "names": ["Anna <em>Boat</em>", "Bo"], "size": "2" },
        "parts": [{ "name": "<em>boat</em> hull" }, { "name": "mast" }]
    });
    assert_eq!(formatted(&fixture(), &query), expected);
}

#[test]
fn only_named_attributes_are_highlighted_and_all_retrieved_ones_shown() {
    let query = SearchQuery {
        attributes_to_retrieve: texts(&["year"]),
        attributes_to_highlight: texts(&["title", "unknown"]),
        highlight_pre_tag: "[".to_owned(),
        highlight_post_tag: "]".to_owned(),
        ..query("boat")
    };
    let hit = fixture().search(&query).hits[0].clone();
    let expected = json!({
        "year": 1999,
        "_formatted": { "title": "A small [boat] on the wide sea", "year": "1999" }
    });
    assert_eq!(hit, expected);
}

#[test]
fn nothing_is_formatted_when_no_attribute_is_known() {
    let query = SearchQuery {
        attributes_to_highlight: texts(&["unknown"]),
        attributes_to_crop: texts(&["unknown:3"]),
        ..query("boat")
    };
    assert_eq!(formatted(&fixture(), &query), Value::Null);
}

#[test]
fn cropping_keeps_the_words_around_a_match() {
    let fixture = fixture();
    let crop = |names| {
        let query = SearchQuery {
            attributes_to_crop: texts(names),
            crop_length: 2,
            crop_marker: "~".to_owned(),
            ..query("wide")
        };
        formatted(&fixture, &query)
    };
    assert_eq!(crop(&["title"])["title"], "~the wide~");
    assert_eq!(crop(&["title:4"])["title"], "~on the wide sea");
    assert_eq!(crop(&["*", "title:1"])["title"], "~wide~");
    assert_eq!(crop(&["*:1"])["crew"]["names"], json!(["Anna~", "Bo"]));
}

#[test]
fn positions_are_bytes_with_the_place_in_arrays() {
    let query = SearchQuery {
        show_matches_position: true,
        ..query("boat")
    };
    let hit = fixture().search(&query).hits[0].clone();
    let expected = json!({
        "crew.names": [{ "start": 5, "length": 4, "indices": [0] }],
        "parts.name": [{ "start": 0, "length": 4, "indices": [0] }],
        "title": [{ "start": 8, "length": 4 }]
    });
    assert_eq!(hit["_matchesPosition"], expected);
    assert!(hit.get("_formatted").is_none());
}

#[test]
fn of_the_matching_values_of_an_array_the_last_is_located() {
    let fixture = Fixture::with(
        json!({}),
        json!([{ "id": 1, "tags": ["red", "blue", "red"] }]),
    );
    let query = SearchQuery {
        show_matches_position: true,
        ..query("red")
    };
    let hit = fixture.search(&query).hits[0].clone();
    let expected = json!({ "tags": [{ "start": 0, "length": 3, "indices": [2] }] });
    assert_eq!(hit["_matchesPosition"], expected);
}

#[test]
fn hidden_attributes_are_neither_formatted_nor_located() {
    let fixture = fixture();
    fixture.set(json!({ "displayedAttributes": ["id", "year"] }));
    let query = SearchQuery {
        attributes_to_highlight: texts(&["*"]),
        attributes_to_crop: texts(&["title"]),
        show_matches_position: true,
        ..query("boat")
    };
    let hit = fixture.search(&query).hits[0].clone();
    let expected = json!({
        "id": 1,
        "year": 1999,
        "_formatted": { "id": "1", "year": "1999" },
        "_matchesPosition": {}
    });
    assert_eq!(hit, expected);
}
