//! The proxy's own work for one search: merging the nodes' answers and writing the page.

#![expect(
    missing_docs,
    reason = "the macros of the bench harness write undocumented functions"
)]
#![expect(clippy::unwrap_used, reason = "the answers are our own")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use miroir_core::merge::{IndexView, NodeAnswer, SearchPlan};
use miroir_core::search::{Paging, SearchRequest};
use std::fmt::Write as _;
use std::hint::black_box;

/// The sorted answer of node `node` of `nodes`: documents of about 300 bytes with the details of
/// a text search that is sorted by price, about 500 bytes more.
fn answer(node: usize, nodes: usize, hit_count: usize) -> Vec<u8> {
    let mut out = String::from(r#"{"hits":["#);
    for at in 0..hit_count {
        let id = at * nodes + node;
        let (words, typos) = (3 - at * 3 / hit_count, (at * 9 / hit_count) % 3);
        let price = at * 27 % hit_count / 100;
        let comma = if at == 0 { "" } else { "," };
        write!(
            out,
            r#"{comma}{{"id":{id},"title":"A quiet house by the lake, number {id}","overview":"{text}","genres":["Drama","Mystery"],"year":{year},"_miroir_shard":"⊰⊰⊱⋔","_miroir_seq":"{id:08}","_rankingScoreDetails":{{"words":{{"order":0,"matchingWords":{words},"maxMatchingWords":3,"score":0.66}},"typo":{{"order":1,"typoCount":{typos},"maxTypoCount":4,"score":0.8}},"proximity":{{"order":2,"score":0.5}},"attributeRank":{{"order":3,"score":1.0}},"price:asc":{{"order":4,"value":{price}.5}},"wordPosition":{{"order":5,"score":0.95}},"exactness":{{"order":6,"matchType":"noExactMatch","matchingWords":1,"maxMatchingWords":3,"score":0.33}},"_miroir_seq:asc":{{"order":7,"value":"{id:08}"}}}}}}"#,
            text = "It rains for days and nobody comes to the door. ".repeat(3),
            year = 1_920 + id % 100,
        )
        .unwrap();
    }
    out.push_str(r#"],"query":"quiet house","processingTimeMs":3,"limit":20,"offset":0,"#);
    write!(out, r#""estimatedTotalHits":{}}}"#, hit_count * 40).unwrap();
    out.into_bytes()
}

fn bench_merge(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("merge");
    for (nodes, hit_count, offset) in [(3, 20, 0), (20, 20, 0), (20, 1_000, 0), (20, 1_000, 980)] {
        let limit = if offset == 0 && hit_count == 1_000 {
            1_000
        } else {
            20
        };
        let request = SearchRequest {
            q: Some("quiet house".to_owned()),
            paging: Paging::Offset { offset, limit },
            ..SearchRequest::default()
        };
        let plan = SearchPlan::new(&request, &IndexView::default()).unwrap();
        let answers: Vec<_> = (0..nodes)
            .map(|node| answer(node, nodes, hit_count))
            .collect();
        let bodies: Vec<_> = answers.iter().map(Vec::as_slice).collect();
        let parsed: Vec<_> = bodies
            .iter()
            .map(|body| NodeAnswer::parse(body).unwrap())
            .collect();
        let name = format!("{nodes} nodes x {hit_count} hits, offset {offset} limit {limit}");
        // What is left to do when the last answer has been read: the others were read on arrival.
        group.bench_function(format!("{name}, read on arrival"), |bencher| {
            bencher.iter_batched_ref(
                Vec::new,
                |out| {
                    let page = plan.merge_parsed(black_box(&parsed)).unwrap();
                    page.write_response(out, 1, "uid");
                },
                BatchSize::SmallInput,
            );
        });
        group.throughput(Throughput::Bytes(
            bodies.iter().map(|body| body.len() as u64).sum(),
        ));
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                Vec::new,
                |out| {
                    plan.merge(black_box(&bodies))
                        .unwrap()
                        .write_response(out, 1, "uid")
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, bench_merge);
criterion_main!(benches);
