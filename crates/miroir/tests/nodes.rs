//! Nodes die and return: answers stay right, writes go on or wait, and a node that was away is
//! trusted again only when it has caught up.

#![expect(clippy::unwrap_used, reason = "a step that fails shall fail its test")]

use miroir_testkit::{
    Client, Cluster, ClusterOptions, Corpus, Expectations, KeyStyle, Kind, Model, Outcome,
    PATIENCE, Pace, Programs, Query, QueryGenerator, Reply, Write, compare, load, poll, send_write,
    variants, write_script,
};
use serde_json::json;

const DOCUMENTS: u64 = 250;
const QUERIES: usize = 52;

fn start(nodes: u32, replication_factor: u32) -> Cluster {
    let programs = Programs::new(env!("CARGO_BIN_EXE_miroir"));
    Cluster::start(
        &programs,
        &ClusterOptions::new(nodes, replication_factor, 6),
    )
    .unwrap()
}

/// Searches and their answers while all nodes live.
fn ask(client: &Client, corpus: &Corpus, with_words: bool) -> Vec<(Query, Reply)> {
    let mut generator = QueryGenerator::new(corpus, DOCUMENTS, 3);
    let queries = (0..QUERIES * 2).map(|_| generator.query());
    queries
        .filter(|query| with_words || !query.has_words())
        .take(QUERIES)
        .map(|query| {
            let reply = client.search("things", &query.body).unwrap();
            assert_eq!(reply.status, 200, "{}: {}", query.body, reply.body);
            (query, reply)
        })
        .collect()
}

fn check_answers(client: &Client, answers: &[(Query, Reply)]) {
    for (query, expected) in answers {
        let found = client.search("things", &query.body).unwrap();
        let expectations = Expectations {
            key_field: "id",
            totals: query.body.get("rankingScoreThreshold").is_none(),
            facets_by_count: &[],
        };
        let mut differences = compare(expected, &found, &expectations);
        // Which spelling of equal facet values is shown may differ from replica to replica.
        differences.retain(|difference| difference.kind != Kind::FacetSpelling);
        assert!(differences.is_empty(), "{}: {differences:?}", query.body);
    }
}

/// Writes to an index of its own and waits for the end of each.
fn write(client: &Client, index: &str, model: &mut Model, writes: &[Write]) {
    for write in writes {
        let Outcome::Accepted(uid) = send_write(client, index, write).unwrap() else {
            panic!("no answer to {write:?}");
        };
        client.wait_succeeded(uid).unwrap();
        model.apply(write);
    }
}

fn survive_the_death_of_each_node(replication_factor: u32) {
    let mut cluster = start(3, replication_factor);
    let variant = variants().swap_remove(0);
    let corpus = Corpus::new(21, KeyStyle::Number, 400);
    load(
        cluster.client(),
        "things",
        &variant,
        &corpus,
        DOCUMENTS,
        Pace::AtEnd,
    )
    .unwrap();
    // Nodes with other documents beside a shard rank some words otherwise (see
    // `docs/reference/exactness.md`): only with all documents everywhere must words agree.
    let answers = ask(cluster.client(), &corpus, replication_factor == 3);

    let script = write_script(700);
    let parts = script.chunks(script.len().div_ceil(4)).collect::<Vec<_>>();
    let mut model = Model::default();
    write(cluster.client(), "kept", &mut model, parts[0]);
    for victim in 0..3 {
        cluster.nodes[victim].kill();
        check_answers(cluster.client(), &answers);
        write(
            cluster.client(),
            "kept",
            &mut model,
            parts.get(victim + 1).unwrap_or(&&[][..]),
        );
        model.check(cluster.client(), "kept").unwrap();
        cluster.wait_in_sync(victim, false).unwrap();
        check_answers(cluster.client(), &answers);

        cluster.nodes[victim].restart().unwrap();
        cluster.wait_healthy(victim).unwrap();
        // The next victim may have been the only other holder of what was just written.
        model.check(cluster.client(), "kept").unwrap();
    }
    check_answers(cluster.client(), &answers);
}

#[test]
fn with_two_copies_any_node_may_die_and_answers_stay_the_same() {
    survive_the_death_of_each_node(2);
}

#[test]
fn with_three_copies_any_node_may_die_and_answers_stay_the_same() {
    survive_the_death_of_each_node(3);
}

#[test]
fn with_three_copies_two_nodes_may_be_dead_at_once() {
    let mut cluster = start(3, 3);
    let mut model = Model::default();
    let script = write_script(710);
    let (before, after) = script.split_at(script.len() / 2);
    write(cluster.client(), "kept", &mut model, before);
    cluster.nodes[0].kill();
    cluster.nodes[1].kill();
    model.check(cluster.client(), "kept").unwrap();
    write(cluster.client(), "kept", &mut model, after);
    model.check(cluster.client(), "kept").unwrap();
    for node_idx in 0..2 {
        cluster.nodes[node_idx].restart().unwrap();
        cluster.wait_healthy(node_idx).unwrap();
    }
    // Only the two that were away answer now.
    cluster.nodes[2].kill();
    model.check(cluster.client(), "kept").unwrap();
}

#[test]
fn without_copies_reads_say_what_is_missing_and_writes_wait() {
    let mut cluster = start(3, 1);
    let mut model = Model::default();
    let script = write_script(720);
    let (before, after) = script.split_at(3);
    write(cluster.client(), "kept", &mut model, before);
    cluster.nodes[1].kill();

    let reply = cluster
        .client()
        .search("kept", &json!({ "limit": 1000 }))
        .unwrap();
    let labelled = reply.headers.iter().any(|(name, value)| {
        let says = ["missing", "partial", "degraded"]
            .iter()
            .any(|word| name.contains(word));
        name.starts_with("x-miroir-") && says && !value.is_empty()
    });
    assert!(
        reply.status >= 500 || labelled,
        "a silent answer: {reply:?}"
    );

    let mut waiting = Vec::new();
    for write in after {
        let outcome = send_write(cluster.client(), "kept", write).unwrap();
        let Outcome::Accepted(uid) = outcome else {
            panic!("no answer to {write:?}")
        };
        waiting.push(uid);
        model.apply(write);
    }
    // The large payload touches every shard, so it cannot have ended.
    let task = cluster
        .client()
        .get(&format!("/tasks/{}", waiting[0]))
        .unwrap()
        .ok()
        .unwrap();
    assert!(
        matches!(task["status"].as_str(), Some("enqueued" | "processing")),
        "{task}"
    );

    cluster.nodes[1].restart().unwrap();
    for uid in waiting {
        cluster.client().wait_succeeded(uid).unwrap();
    }
    model.check(cluster.client(), "kept").unwrap();
}

#[test]
fn the_proxy_and_a_node_may_die_together() {
    let mut cluster = start(3, 2);
    let mut model = Model::default();
    let script = write_script(730);
    let (before, after) = script.split_at(script.len() / 2);
    write(cluster.client(), "kept", &mut model, before);
    let mut uids = Vec::new();
    for write in after {
        let outcome = send_write(cluster.client(), "kept", write).unwrap();
        let Outcome::Accepted(uid) = outcome else {
            panic!("no answer to {write:?}")
        };
        uids.push(uid);
        model.apply(write);
    }
    cluster.nodes[2].kill();
    cluster.proxy.restart(&[]).unwrap();
    for uid in uids {
        cluster.client().wait_succeeded(uid).unwrap();
    }
    model.check(cluster.client(), "kept").unwrap();
    cluster.nodes[2].restart().unwrap();
    cluster.wait_healthy(2).unwrap();
    cluster.nodes[0].kill();
    model.check(cluster.client(), "kept").unwrap();
}

#[test]
fn a_node_whose_folder_was_wiped_is_filled_again_while_writes_go_on() {
    let mut cluster = start(2, 2);
    let variant = variants().swap_remove(0);
    let corpus = Corpus::new(33, KeyStyle::Number, 400);
    load(
        cluster.client(),
        "things",
        &variant,
        &corpus,
        1_000,
        Pace::AtEnd,
    )
    .unwrap();
    let answers = ask(cluster.client(), &corpus, true);
    let script = write_script(701);
    let (before, after) = script.split_at(script.len() / 3);
    let mut model = Model::default();
    write(cluster.client(), "kept", &mut model, before);

    cluster.nodes[1].kill_and_wipe().unwrap();
    let (away, after) = after.split_at(after.len() / 4);
    write(cluster.client(), "kept", &mut model, away);
    cluster.nodes[1].restart().unwrap();
    write(cluster.client(), "kept", &mut model, after);
    cluster.wait_healthy(1).unwrap();
    let mut later = Model::default();
    write(cluster.client(), "later", &mut later, &write_script(702));

    let job = cluster
        .client()
        .post("/_miroir/verify", &json!({"repair": false}))
        .unwrap()
        .ok()
        .unwrap();
    let path = format!("/_miroir/verify/{}", job["job"]);
    let report = poll("the comparison", PATIENCE, || {
        let report = cluster.client().get(&path)?.ok()?;
        Ok((report["state"] != "running").then_some(report))
    })
    .unwrap();
    assert_eq!(report["state"], "succeeded", "{report}");
    assert_eq!(report["differenceCount"], 0, "{report}");

    cluster.nodes[0].kill();
    check_answers(cluster.client(), &answers);
    model.check(cluster.client(), "kept").unwrap();
    later.check(cluster.client(), "later").unwrap();
}
