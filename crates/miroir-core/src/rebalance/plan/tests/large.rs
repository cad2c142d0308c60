//! How even large clusters stay, and how little moves.

use super::*;

/// The figures that issue 5 asks for, at a tenth of its size (the whole size is a benchmark).
#[test]
fn a_large_cluster_stays_even_and_moves_no_more_than_it_must() {
    let figures = Figures::measure(100, 10_000, 3, 3);
    println!("{figures:#?}");
    figures.check();
}

#[test]
fn a_large_cluster_without_zones_stays_even_and_moves_no_more_than_it_must() {
    let figures = Figures::measure(100, 4_000, 0, 2);
    println!("{figures:#?}");
    figures.check();
}

/// Imbalance after, and what moves over the least that must, for each kind of change.
#[derive(Debug)]
struct Figures(Vec<(&'static str, f64, f64)>);

impl Figures {
    fn measure(node_count: usize, shard_count: u32, zone_count: usize, factor: u32) -> Self {
        let zone = |n: usize| format!("zone-{}", n % zone_count.max(1));
        let one = |n: usize, weight_milli| {
            let zone = zone(n);
            node(
                &format!("node-{n:04}"),
                (zone_count > 0).then_some(&zone),
                weight_milli,
            )
        };
        let nodes: Vec<Node> = (0..node_count).map(|n| one(n, 1000)).collect();
        let topology = Topology::new(nodes).unwrap();
        let placed = index("movies", shard_count, factor, 1000 * GIB, &topology);
        let mut base = observed(vec![placed]);
        let rebalance = wanted(&topology, &base, &[StagedChange::Rebalance]);
        base = plan(&base, &rebalance, None).applied_to(&base, &rebalance);
        let name = |n: usize| id(&format!("node-{n:04}"));
        let set_weight = |n: usize| StagedChange::SetNode {
            node: name(n),
            zone: None,
            weight_milli: Some(1500),
            url: None,
        };
        let per_domain = zone_count.max(1);
        let grown = |n: usize| StagedChange::AddNode {
            node: one(node_count + n, 1000),
        };
        let cases: [(&'static str, Vec<StagedChange>); 3] = [
            ("add", (0..per_domain).map(grown).collect()),
            (
                "remove",
                (0..per_domain)
                    .map(|n| StagedChange::RemoveNode { node: name(n) })
                    .collect(),
            ),
            ("re-weight", (0..per_domain * 3).map(set_weight).collect()),
        ];
        let measured = cases.map(|(what, changes)| {
            let desired = wanted(&topology, &base, &changes);
            let plan = plan(&base, &desired, None);
            assert_eq!(plan.refusals, []);
            let least = least_moves(&base, &topology, &desired, factor);
            (what, plan.imbalance_after, targets(&plan) as f64 / least)
        });
        Self(measured.to_vec())
    }

    fn check(&self) {
        for (what, imbalance, movement) in &self.0 {
            assert!(*imbalance <= 1.05, "{what}: imbalance {imbalance}");
            assert!(
                *movement <= 1.05,
                "{what}: {movement} times the least that must move"
            );
        }
    }
}

/// The least that must move: what leaves with the nodes that go, or else what the shares of the nodes
/// that get more grow by.
fn least_moves(base: &Observed, before: &Topology, desired: &Desired, factor: u32) -> f64 {
    let leaving: u64 = desired
        .leaving
        .iter()
        .map(|n| plan_load(base, n.as_str()))
        .sum();
    if leaving > 0 {
        return leaving as f64;
    }
    let total = base.indexes[0].replica_sets.len() as f64 * f64::from(factor);
    let share = |topology: &Topology, of: &NodeId| {
        let sum: f64 = topology
            .active_nodes()
            .map(|n| f64::from(n.weight_milli))
            .sum();
        let own = topology
            .get_node(of)
            .map_or(0.0, |n| f64::from(n.weight_milli));
        own / sum * total
    };
    let grows = |n: &Node| (share(&desired.topology, &n.id) - share(before, &n.id)).max(0.0);
    desired.topology.active_nodes().map(grows).sum()
}
