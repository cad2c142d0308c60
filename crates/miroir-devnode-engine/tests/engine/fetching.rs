//! Documents by ids, filter and order.

use crate::support::{Fixture, KEY, ids, texts};
use miroir_devnode_engine::FetchQuery;
use serde_json::{Value, json};

fn all() -> FetchQuery {
    FetchQuery {
        limit: 20,
        ..FetchQuery::default()
    }
}

fn fixture() -> Fixture {
    Fixture::with(
        json!({ "filterableAttributes": ["a"], "sortableAttributes": ["a", "n.s", "_geo"] }),
        json!([
            { "id": 5, "a": 2, "n": { "s": "Éclair" }, "_geo": { "lat": 10, "lng": 0 } },
            { "id": 4, "a": [9, 1] },
            { "id": 3, "a": "text", "n": { "s": ["zebra", "apple"] } },
            { "id": 2, "n": { "s": "eagle" }, "_geo": { "lat": "1.0", "lng": 0 } },
            { "id": 1, "a": null, "_geo": null },
        ]),
    )
}

fn fetch(fixture: &Fixture, query: &FetchQuery) -> (Vec<i64>, u64) {
    let (documents, total) = fixture.engine.fetch_documents(KEY, query).unwrap();
    (ids(&documents), total)
}

fn sorted_by(fixture: &Fixture, sort: &[&str]) -> Vec<i64> {
    fetch(
        fixture,
        &FetchQuery {
            sort: texts(sort),
            ..all()
        },
    )
    .0
}

#[test]
fn documents_come_in_insertion_order_page_by_page() {
    let fixture = fixture();
    assert_eq!(fetch(&fixture, &all()), (vec![5, 4, 3, 2, 1], 5));
    assert_eq!(
        fetch(
            &fixture,
            &FetchQuery {
                offset: 1,
                limit: 2,
                ..all()
            }
        ),
        (vec![4, 3], 5)
    );
    assert_eq!(
        fetch(&fixture, &FetchQuery { offset: 9, ..all() }),
        (vec![], 5)
    );
}

#[test]
fn ids_and_filter_both_restrict() {
    let fixture = fixture();
    let by_ids = FetchQuery {
        ids: texts(&["2", "4", "4", "77"]),
        ..all()
    };
    assert_eq!(fetch(&fixture, &by_ids), (vec![4, 2], 2));
    let by_both = FetchQuery {
        filter: Some(json!("a EXISTS")),
        ..by_ids
    };
    assert_eq!(fetch(&fixture, &by_both), (vec![4], 1));
}

#[test]
fn numbers_come_before_texts_and_nothing_comes_last() {
    let fixture = fixture();
    assert_eq!(sorted_by(&fixture, &["a:asc"]), [4, 5, 3, 2, 1]);
    assert_eq!(sorted_by(&fixture, &["a:desc"]), [4, 5, 3, 2, 1]);
    assert_eq!(sorted_by(&fixture, &["n.s:asc"]), [3, 2, 5, 4, 1]);
    assert_eq!(sorted_by(&fixture, &["n.s:desc"]), [3, 5, 2, 4, 1]);
    assert_eq!(
        sorted_by(&fixture, &["_geoPoint(0,0):asc"]),
        [2, 5, 4, 3, 1]
    );
}

#[test]
fn a_wrong_sort_or_filter_is_the_clients_error() {
    let fixture = fixture();
    let code = |query| {
        fixture
            .engine
            .fetch_documents(KEY, &query)
            .unwrap_err()
            .code()
    };
    let sort = |text| {
        code(FetchQuery {
            sort: texts(&[text]),
            ..all()
        })
    };
    assert_eq!(sort("b:asc"), "invalid_document_sort");
    assert_eq!(sort("a:up"), "invalid_document_sort");
    let filter = FetchQuery {
        filter: Some(json!("b = 1")),
        ..all()
    };
    assert_eq!(code(filter), "invalid_document_filter");
}

#[test]
fn fields_are_names_and_a_star_is_none() {
    let fixture = fixture();
    let one = |fields: &[&str]| -> Value {
        let fields = texts(fields);
        fixture
            .engine
            .get_document(KEY, "5", fields.as_deref(), false)
            .unwrap()
            .unwrap()
    };
    assert_eq!(one(&["n.s", "unknown"]), json!({ "n": { "s": "Éclair" } }));
    assert_eq!(one(&[]), json!({}));
    assert_eq!(one(&["*"]), json!({}));
    assert_eq!(fixture.get("nobody"), None);
}
