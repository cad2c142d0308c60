//! The comparison itself, tried where the answer is known: two single nodes with the same history
//! answer alike, and one with another history does not.
//!
//! Needs a server binary, named by `MIROIR_TEST_NODE`: the bundled node belongs to the `miroir`
//! binary, whose own tests run everything else here.

#![expect(clippy::unwrap_used, reason = "a step that fails shall fail its test")]

use miroir_testkit::{
    Client, Corpus, Expectations, Kind, NodeOptions, NodeProcess, NodeProgram, Pace, Programs,
    QueryGenerator, Variant, compare, load, variants,
};
use std::collections::BTreeMap;

const DOCUMENTS: u64 = 300;
const QUERIES: usize = 130;

/// The kinds of differences, and how many queries show them.
fn differences(
    left: (&Client, &str),
    right: (&Client, &str),
    variant: &Variant,
    corpus: &Corpus,
) -> BTreeMap<Kind, usize> {
    let mut generator = QueryGenerator::new(corpus, DOCUMENTS, 1);
    let mut kinds = BTreeMap::new();
    for _ in 0..QUERIES {
        let query = generator.query();
        let expected = left.0.search(left.1, &query.body).unwrap();
        let found = right.0.search(right.1, &query.body).unwrap();
        assert_eq!(
            expected.status, 200,
            "{} of {}: {}",
            query.body, variant.name, expected.body
        );
        let expectations = Expectations {
            key_field: corpus.key_field(),
            totals: true,
            facets_by_count: &[],
        };
        for difference in compare(&expected, &found, &expectations) {
            *kinds.entry(difference.kind).or_default() += 1;
        }
    }
    kinds
}

#[test]
fn two_single_nodes_with_one_history_answer_alike_and_with_another_they_do_not() {
    let programs = Programs::new("");
    if let NodeProgram::Bundled(_) = programs.node {
        println!("skipped: MIROIR_TEST_NODE names no server binary");
        return;
    }
    let left = NodeProcess::start(&programs.node, NodeOptions::default()).unwrap();
    let right = NodeProcess::start(&programs.node, NodeOptions::default()).unwrap();
    // Every second one: what they share is tried often enough.
    for variant in variants().into_iter().step_by(2) {
        let corpus = Corpus::new(11, variant.key, 500);
        let other = Corpus::new(12, variant.key, 500);
        let index = variant.name;
        load(
            left.client(),
            index,
            &variant,
            &corpus,
            DOCUMENTS,
            Pace::EachTask,
        )
        .unwrap();
        load(
            right.client(),
            index,
            &variant,
            &corpus,
            DOCUMENTS,
            Pace::EachTask,
        )
        .unwrap();
        load(
            right.client(),
            "other",
            &variant,
            &other,
            DOCUMENTS,
            Pace::EachTask,
        )
        .unwrap();

        let same = (left.client(), index);
        let alike = differences(same, (right.client(), index), &variant, &corpus);
        assert!(alike.is_empty(), "{index}: {alike:?}");
        let unlike = differences(same, (right.client(), "other"), &variant, &corpus);
        assert!(
            unlike.get(&Kind::Order) > Some(&(QUERIES / 2)),
            "{index}: {unlike:?}"
        );
        right
            .client()
            .write("DELETE", "/indexes/other", None)
            .unwrap();
    }
}
