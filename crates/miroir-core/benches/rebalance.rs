//! Planning at the size of a large cluster: 1,000 nodes and 100,000 shards in two copies.
//!
//! Prints, before the times, how even each plan comes out and how much moves over the least that
//! must.

use criterion::{Criterion, criterion_group, criterion_main};
use miroir_core::id::{IndexUid, NodeId, PhysicalIndex};
use miroir_core::placement::place;
use miroir_core::rebalance::check::check;
use miroir_core::rebalance::observed::{IndexState, Observed};
use miroir_core::rebalance::plan::{Plan, plan};
use miroir_core::rebalance::stage::{Desired, StagedChange, desire};
use miroir_core::topology::{Node, Topology};
use std::hint::black_box;
use std::num::NonZeroU32;
use std::time::Instant;

const NODES: usize = 1000;
const SHARDS: u32 = 100_000;
const COPIES: u32 = 2;

fn node(n: usize, zone_count: usize) -> Node {
    Node {
        zone: (zone_count > 0).then(|| format!("zone-{}", n % zone_count)),
        ..Node::new(
            NodeId::new(format!("node-{n:04}")),
            format!("http://node-{n}"),
        )
    }
}

struct Cluster {
    topology: Topology,
    observed: Observed,
    zone_count: usize,
}

impl Cluster {
    fn even(zone_count: usize) -> Self {
        let nodes = (0..NODES).map(|n| node(n, zone_count)).collect();
        let topology = Topology::new(nodes).expect("the nodes differ");
        let shard_count = NonZeroU32::new(SHARDS).expect("there are shards");
        let placement = place("movies", shard_count, COPIES, &topology).expect("enough nodes");
        let state = IndexState {
            uid: IndexUid::new("movies").expect("a good name"),
            index: PhysicalIndex::from_stored("movies__0"),
            replication_factor: COPIES,
            replica_sets: placement.to_replica_sets(),
            documents: 2_000_000_000,
            bytes: 2_400_000_000_000,
        };
        let observed = Observed {
            indexes: vec![state],
            ..Observed::default()
        };
        let mut cluster = Self {
            topology,
            observed,
            zone_count,
        };
        let desired = cluster.desired(&[StagedChange::Rebalance]);
        let begun = Instant::now();
        let made = plan(&cluster.observed, &desired, None);
        let (before, after) = (made.imbalance_before, made.imbalance_after);
        println!(
            "{zone_count} zones, even out what `place` made: imbalance {before:.3} -> {after:.3}, \
             {} copies, {:?}",
            made.moves.len(),
            begun.elapsed()
        );
        cluster.observed = made.applied_to(&cluster.observed, &desired);
        cluster
    }

    fn desired(&self, changes: &[StagedChange]) -> Desired {
        let uids: Vec<IndexUid> = self
            .observed
            .indexes
            .iter()
            .map(|s| s.uid.clone())
            .collect();
        desire(&self.topology, &uids, changes).expect("the changes make sense")
    }

    fn cases(&self) -> Vec<(&'static str, Desired, f64)> {
        let per_node = f64::from(SHARDS * COPIES) / NODES as f64;
        let added = 10;
        let name = |n: usize| NodeId::new(format!("node-{n:04}"));
        let add = (0..added).map(|n| StagedChange::AddNode {
            node: node(NODES + n, self.zone_count),
        });
        let remove = (0..added).map(|n| StagedChange::RemoveNode { node: name(n) });
        let heavier = (0..90).map(|n| StagedChange::SetNode {
            node: name(n),
            zone: None,
            weight_milli: Some(1500),
            url: None,
        });
        let total = per_node * NODES as f64;
        let add_least = total * added as f64 / (NODES + added) as f64;
        let held = |node: &NodeId| {
            let sets = self.observed.indexes.iter().flat_map(|s| &s.replica_sets);
            sets.filter(|set| set.contains(node)).count()
        };
        let remove_least: usize = (0..added).map(|n| held(&name(n))).sum();
        let weights = NODES as f64 + 45.0;
        let heavier_least = 90.0 * (1.5 / weights * total - per_node);
        vec![
            ("add 10", self.desired(&add.collect::<Vec<_>>()), add_least),
            (
                "remove 10",
                self.desired(&remove.collect::<Vec<_>>()),
                remove_least as f64,
            ),
            (
                "re-weight 90",
                self.desired(&heavier.collect::<Vec<_>>()),
                heavier_least,
            ),
        ]
    }
}

fn copies(plan: &Plan) -> usize {
    plan.moves
        .iter()
        .map(|m| m.shard_move.targets().count())
        .sum()
}

fn planning(c: &mut Criterion) {
    let mut group = c.benchmark_group("plan 1,000 nodes, 100,000 shards, 2 copies");
    group.sample_size(10);
    for zone_count in [0, 3] {
        let cluster = Cluster::even(zone_count);
        for (what, desired, least) in cluster.cases() {
            let begun = Instant::now();
            let made = plan(&cluster.observed, &desired, None);
            println!(
                "{zone_count} zones, {what}: imbalance {:.3}, movement {:.3} of the least \
                 ({} copies), {:?}, {} findings",
                made.imbalance_after,
                copies(&made) as f64 / least,
                copies(&made),
                begun.elapsed(),
                check(&cluster.observed, &desired, &made, true).len(),
            );
            group.bench_function(format!("{what}, {zone_count} zones"), |b| {
                b.iter(|| plan(black_box(&cluster.observed), &desired, None));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, planning);
criterion_main!(benches);
