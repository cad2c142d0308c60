//! Hashing, cutting, placing, covering and splitting at the sizes of a large cluster.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use miroir_core::batch::{CutRecord, cut_by_node, resolve_duplicates};
use miroir_core::cover::{CoverPolicy, choose_cover};
use miroir_core::document::{PrimaryKey, scan_document};
use miroir_core::hash::shard_of;
use miroir_core::id::{DocumentSeq, NodeId};
use miroir_core::payload::{PayloadError, PayloadFormat, Splitter};
use miroir_core::placement::{Placement, place};
use miroir_core::topology::{Node, Topology};
use std::hint::black_box;
use std::num::NonZeroU32;

fn topology(node_count: usize, zone_count: usize) -> Topology {
    let node = |n: usize| Node {
        zone: (zone_count > 0).then(|| format!("zone-{}", n % zone_count)),
        weight_milli: if n.is_multiple_of(4) { 2000 } else { 1000 },
        ..Node::new(NodeId::new(format!("node-{n}")), format!("http://node-{n}"))
    };
    Topology::new((0..node_count).map(node).collect()).expect("the nodes differ")
}

fn placed(node_count: usize, zone_count: usize, shard_count: u32) -> Placement {
    let shard_count = NonZeroU32::new(shard_count).expect("there are shards");
    place("movies", shard_count, 3, &topology(node_count, zone_count)).expect("enough nodes")
}

fn hashing(c: &mut Criterion) {
    let ids: Vec<String> = (0..10_000).map(|n| format!("document-{n}")).collect();
    let shard_count = NonZeroU32::new(64).expect("64 is not 0");
    let mut group = c.benchmark_group("hash");
    group.throughput(Throughput::Elements(ids.len() as u64));
    group.bench_function("10,000 ids to shards", |b| {
        b.iter(|| {
            ids.iter()
                .map(|id| shard_of(id, shard_count).0)
                .fold(0, u32::wrapping_add)
        });
    });
    group.finish();
}

fn placing(c: &mut Criterion) {
    let mut group = c.benchmark_group("place");
    group.sample_size(10);
    group.bench_function("3 nodes, 64 shards", |b| {
        b.iter(|| placed(3, 0, black_box(64)))
    });
    for zone_count in [0, 3] {
        let name = format!("1,000 nodes in {zone_count} zones, 100,000 shards");
        group.bench_function(name, |b| {
            b.iter(|| placed(1000, zone_count, black_box(100_000)))
        });
    }
    group.finish();
}

fn covering(c: &mut Criterion) {
    let mut group = c.benchmark_group("cover");
    for (node_count, zone_count, shard_count) in [(4, 0, 64), (12, 3, 64), (300, 3, 4096)] {
        let topology = topology(node_count, zone_count);
        let placement = placed(node_count, zone_count, shard_count);
        let zone_of = |node: &NodeId| topology.zone_of(node);
        let name = format!("{node_count} nodes in {zone_count} zones, {shard_count} shards");
        let mut affinity = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                affinity += 1;
                let policy = CoverPolicy::new(&|_| true, affinity);
                choose_cover(
                    &placement,
                    &CoverPolicy {
                        zone_of: &zone_of,
                        ..policy
                    },
                )
            });
        });
    }
    group.finish();
}

fn cutting(c: &mut Criterion) {
    let placement = placed(6, 0, 64);
    let shard_count = NonZeroU32::new(64).expect("64 is not 0");
    let ids: Vec<String> = (0..100_000).map(|n| n.to_string()).collect();
    let mut group = c.benchmark_group("cut");
    group
        .sample_size(20)
        .throughput(Throughput::Elements(ids.len() as u64));
    group.bench_function("100,000 documents to 6 nodes", |b| {
        b.iter(|| {
            let mut records: Vec<CutRecord> = ids
                .iter()
                .map(|id| CutRecord::new(0, 0, id, shard_count))
                .collect();
            resolve_duplicates(&mut records, DocumentSeq(0));
            black_box(cut_by_node(records.iter().map(CutRecord::shard), &placement).len())
        });
    });
    group.finish();
}

fn splitting(c: &mut Criterion) {
    let document = |n: u32| {
        format!(
            r#"{{"id":{n},"title":"The Story of \"{n}\"","overview":"{}","genres":["a","b"],"x":{{"y":[1,2,3]}}}}"#,
            "some words of a text ".repeat(20),
        )
    };
    let documents: Vec<String> = (0..5_000).map(document).collect();
    let json = format!("[{}]", documents.join(",\n"));
    let ndjson = documents.join("\n");
    let csv: String = (0..20_000).fold("id:number,title,text\n".to_owned(), |table, n| {
        format!("{table}{n},\"Title, {n}\",some words of a text some words of a text\n")
    });
    let mut group = c.benchmark_group("split");
    for (format, payload) in [
        (PayloadFormat::Json, &json),
        (PayloadFormat::Ndjson, &ndjson),
        (PayloadFormat::Csv { delimiter: b',' }, &csv),
    ] {
        group.throughput(Throughput::Bytes(payload.len() as u64));
        group.bench_function(format.name(), |b| {
            b.iter(|| {
                let mut bytes = 0;
                let mut sink = |document: &[u8]| -> Result<(), PayloadError> {
                    bytes += document.len();
                    Ok(())
                };
                let mut splitter = Splitter::new(format, 1 << 20);
                for chunk in payload.as_bytes().chunks(64 * 1024) {
                    splitter
                        .push(chunk, &mut sink)
                        .expect("the payload is well-formed");
                }
                splitter.finish(&mut sink).expect("the payload is whole");
                bytes
            });
        });
    }
    let primary_key = PrimaryKey::new("id");
    group.throughput(Throughput::Bytes(ndjson.len() as u64));
    group.bench_function("ids of ndjson", |b| {
        b.iter(|| {
            let ids = ndjson
                .lines()
                .map(|line| scan_document(line.as_bytes(), &primary_key));
            ids.filter(Result::is_ok).count()
        });
    });
    group.finish();
}

criterion_group!(benches, hashing, placing, covering, cutting, splitting);
criterion_main!(benches);
