//! The same documents, settings and searches, once in one node and once in Miroir over three:
//! do the answers agree?
//!
//! `MIROIR_TEST_NODE` runs it on real servers, `MIROIR_TEST_SCALE` makes it larger, and
//! `MIROIR_REPORT` names a file for the report that `docs/reference/exactness.md` shows.

#![expect(clippy::unwrap_used, reason = "a step that fails shall fail its test")]

use miroir_testkit::{
    Client, Cluster, ClusterOptions, Corpus, Expectations, NodeOptions, NodeProcess, Pace,
    Programs, Query, QueryGenerator, Reply, Report, Variant, Verdict, Witness, compare, load,
    scale, variants,
};
use std::fmt::Write as _;
use std::time::Instant;
use std::{env, fs};

const NODES: u32 = 3;
const SHARDS: u32 = 8;
/// The least share of unfiltered and sorted searches with the same hits in the same order.
const ORDER_PERCENT_MIN: f64 = 98.0;

/// One index: how it is set up, and what one node with all documents answers.
struct Case {
    variant: Variant,
    corpus: Corpus,
    document_count: u64,
    answers: Vec<(Query, Reply)>,
}

/// Loads each variant into one node and notes its answers.
fn answers_of_one_node(client: &Client, variants: Vec<Variant>) -> Vec<Case> {
    let mut cases = Vec::new();
    for (seed, variant) in variants.into_iter().enumerate() {
        let document_count = variant.document_count * scale() as u64;
        let corpus = Corpus::new(seed as u64 + 1, variant.key, 1200);
        load(
            client,
            variant.name,
            &variant,
            &corpus,
            document_count,
            Pace::EachTask,
        )
        .unwrap();
        let mut generator = QueryGenerator::new(&corpus, document_count, seed as u64);
        let mut answers = Vec::new();
        for _ in 0..variant.query_count * scale() {
            let query = generator.query();
            let reply = client.search(variant.name, &query.body).unwrap();
            assert_eq!(
                reply.status, 200,
                "{}: {} {}",
                variant.name, query.body, reply.body
            );
            answers.push((query, reply));
        }
        let found = answers
            .iter()
            .filter(|(_, reply)| reply.body["hits"][0].is_object())
            .count();
        assert!(
            found * 4 > answers.len() * 3,
            "only {found} searches found anything"
        );
        cases.push(Case {
            variant,
            corpus,
            document_count,
            answers,
        });
    }
    cases
}

/// Asks the cluster what the one node was asked, and looks into each difference.
fn compare_case(single: &Client, cluster: &Cluster, case: &Case, report: &mut Report) {
    let index = case.variant.name;
    let physical = cluster.physical_index(index).unwrap();
    let key_field = case.corpus.key_field();
    let witness = Witness {
        single: (single, index),
        proxy: (cluster.client(), index),
        nodes: cluster.nodes.iter().map(NodeProcess::client).collect(),
        physical: &physical,
        key_field,
    };
    for (query, expected) in &case.answers {
        let found = cluster.client().search(index, &query.body).unwrap();
        let expectations = Expectations {
            key_field,
            totals: query.body.get("rankingScoreThreshold").is_none(),
            facets_by_count: if index == "custom-early" {
                &["tags"]
            } else {
                &[]
            },
        };
        let differences = compare(expected, &found, &expectations);
        let causes = if differences.is_empty() || found.status != 200 {
            vec![miroir_testkit::Cause::Unexplained("refused".to_owned()); differences.len()]
        } else {
            witness
                .explain(query, [&expected.body, &found.body], &differences)
                .unwrap()
        };
        let differences = differences.into_iter().zip(causes).collect();
        report.add(index, query, &Verdict { differences });
    }
}

#[test]
fn a_striped_index_answers_as_one_node_with_all_documents_would() {
    let programs = Programs::new(env!("CARGO_BIN_EXE_miroir"));
    let mut variants = variants();
    variants.retain(|variant| variant.on_bundled_nodes || programs.has_real_nodes());
    let single = NodeProcess::start(&programs.node, NodeOptions::default()).unwrap();
    let started = Instant::now();
    let cases = answers_of_one_node(single.client(), variants);
    println!("one node: {:.1?}", started.elapsed());

    let nodes = if programs.has_real_nodes() {
        "Meilisearch"
    } else {
        "the bundled node"
    };
    let mut markdown = String::new();
    let mut faults = String::new();
    for replication_factor in 1..=3 {
        let started = Instant::now();
        let options = ClusterOptions::new(NODES, replication_factor, SHARDS);
        let cluster = Cluster::start(&programs, &options).unwrap();
        let mut report = Report::default();
        for case in &cases {
            let Case {
                variant,
                corpus,
                document_count,
                ..
            } = case;
            let client = cluster.client();
            load(
                client,
                variant.name,
                variant,
                corpus,
                *document_count,
                Pace::AtEnd,
            )
            .unwrap();
            compare_case(single.client(), &cluster, case, &mut report);
        }
        let title = format!("{NODES} nodes, replication factor {replication_factor}, on {nodes}");
        let _ = writeln!(markdown, "{}", report.to_markdown(&title));
        println!("{}\n{}", report.to_markdown(&title), report.examples());
        println!(
            "replication factor {replication_factor}: {:.1?}\n",
            started.elapsed()
        );

        let unfiltered = report.unfiltered().order_percent();
        let unexplained = report.all().unexplained;
        if unfiltered < ORDER_PERCENT_MIN || unexplained > 0 {
            let _ = writeln!(
                faults,
                "replication factor {replication_factor}: {unfiltered:.1} % of unfiltered \
                 searches in the same order, {unexplained} answers differ without an excuse"
            );
        }
    }
    if let Some(path) = env::var_os("MIROIR_REPORT") {
        fs::write(path, markdown).unwrap();
    }
    assert!(faults.is_empty(), "{faults}");
}
