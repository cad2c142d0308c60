//! Writes that were not carried out since the removal of their index overtook them, and when their
//! tasks may end.
//!
//! Such a write must not end before the removal does: whoever waited for it would find the index
//! without it. So it is *put off*. But a node that failed something is sent nothing more before it
//! was ruled what that failure is, and the ruling is made when the failed batch ends, behind all
//! earlier batches of its names. Were one of those put off for a removal that this node has not been
//! sent, each would wait for the other for ever; so those are let go.
//!
//! Laws, each a test below: nothing that was overtaken ends before its removal, but for what stands
//! in the way of a ruling; no ruling waits for what was put off; batches that share a name end in
//! their order.

use std::collections::{BTreeMap, BTreeSet};

/// A batch whose tasks have not ended, as one round of the completer sees it.
#[derive(Debug, Clone)]
pub struct OpenBatch<'a> {
    /// The names it has to do with: batches that share one end in their order.
    pub names: Vec<&'a str>,
    /// All reports that it waits for are there.
    pub is_ready: bool,
    /// A node failed it and waits for the ruling.
    pub is_contested: bool,
    /// A node did not carry it out since a later one removes its index: which.
    pub removal: Option<usize>,
}

/// Which of the open batches, given in their order, are not to end yet although they could.
#[must_use]
pub fn put_off(open: &[OpenBatch<'_>]) -> BTreeSet<usize> {
    let mut held = BTreeSet::new();
    let mut let_go: BTreeSet<usize> = BTreeSet::new();
    // Each turn lets go of one or more, or puts off one more, which is let go at most once.
    loop {
        let walk = walk(open, &held);
        let in_the_way: Vec<usize> = walk.in_the_way.difference(&let_go).copied().collect();
        if !in_the_way.is_empty() {
            held.retain(|at| !in_the_way.contains(at));
            let_go.extend(in_the_way);
            continue;
        }
        let early = open.iter().enumerate().find(|(at, batch)| {
            let waits = batch
                .removal
                .is_some_and(|removal| removal > *at && !walk.ending.contains(&removal));
            waits && !batch.is_contested && walk.ending.contains(at) && !let_go.contains(at)
        });
        match early {
            Some((at, _)) => held.insert(at),
            None => return held,
        };
    }
}

/// What would come of a round in which some batches are put off.
struct Walk {
    /// What would end.
    ending: BTreeSet<usize>,
    /// Those of the batches put off for which alone a ruling would wait.
    in_the_way: BTreeSet<usize>,
}

/// For what the batches of a name wait.
#[derive(Default, Clone)]
struct Cause {
    /// For batches that were put off.
    held: BTreeSet<usize>,
    /// For a batch that lacks reports.
    is_unready: bool,
}

impl Cause {
    fn is_nothing(&self) -> bool {
        self.held.is_empty() && !self.is_unready
    }

    fn add(&mut self, other: &Self) {
        self.held.extend(&other.held);
        self.is_unready |= other.is_unready;
    }
}

fn walk(open: &[OpenBatch<'_>], held: &BTreeSet<usize>) -> Walk {
    let mut waiting: BTreeMap<&str, Cause> = BTreeMap::new();
    let (mut ending, mut in_the_way) = (BTreeSet::new(), BTreeSet::new());
    for (at, batch) in open.iter().enumerate() {
        let mut cause = Cause::default();
        for earlier in batch.names.iter().filter_map(|name| waiting.get(name)) {
            cause.add(earlier);
        }
        if batch.is_ready && batch.is_contested && !cause.is_unready {
            in_the_way.extend(&cause.held);
        }
        cause.is_unready |= !batch.is_ready;
        if held.contains(&at) {
            cause.held.insert(at);
        }
        if cause.is_nothing() {
            ending.insert(at);
            continue;
        }
        for name in &batch.names {
            waiting.entry(name).or_default().add(&cause);
        }
    }
    Walk { ending, in_the_way }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAMES: [&str; 4] = ["x", "y", "x__1", "y__2"];

    fn batch(names: &[&'static str]) -> OpenBatch<'static> {
        OpenBatch {
            names: names.to_vec(),
            is_ready: true,
            is_contested: false,
            removal: None,
        }
    }

    fn overtaken(names: &[&'static str], removal: usize) -> OpenBatch<'static> {
        OpenBatch {
            removal: Some(removal),
            ..batch(names)
        }
    }

    fn unready(names: &[&'static str]) -> OpenBatch<'static> {
        OpenBatch {
            is_ready: false,
            ..batch(names)
        }
    }

    fn contested(names: &[&'static str]) -> OpenBatch<'static> {
        OpenBatch {
            is_contested: true,
            ..batch(names)
        }
    }

    #[test]
    fn what_a_removal_overtook_ends_with_it() {
        let waits = [overtaken(&["x", "x__1"], 1), unready(&["x", "x__1"])];
        assert_eq!(put_off(&waits), BTreeSet::from([0]));
        let ends = [overtaken(&["x", "x__1"], 1), batch(&["x", "x__1"])];
        assert_eq!(put_off(&ends), BTreeSet::new());
    }

    #[test]
    fn a_failure_of_another_index_lets_nothing_go() {
        let open = [
            contested(&["y", "y__2"]),
            overtaken(&["x", "x__1"], 2),
            unready(&["x", "x__1"]),
        ];
        assert_eq!(put_off(&open), BTreeSet::from([1]));
    }

    #[test]
    fn what_stands_in_the_way_of_a_ruling_is_let_go() {
        let open = [
            overtaken(&["x", "x__1"], 2),
            contested(&["x", "x__1"]),
            unready(&["x", "x__1"]),
        ];
        assert_eq!(put_off(&open), BTreeSet::new());
        // Also where only a chain of names leads from one to the other.
        let open = [
            overtaken(&["x", "x__1"], 3),
            batch(&["x", "y"]),
            contested(&["y", "y__2"]),
            unready(&["y", "x__1"]),
        ];
        assert_eq!(put_off(&open), BTreeSet::new());
    }

    #[test]
    fn what_does_not_stand_in_the_way_of_a_ruling_alone_is_not_let_go() {
        // The failed batch waits for reports of another before it, which no ruling keeps from coming.
        let open = [
            unready(&["y", "y__2"]),
            overtaken(&["x", "x__1"], 3),
            contested(&["x", "y"]),
            unready(&["x", "x__1"]),
        ];
        assert_eq!(put_off(&open), BTreeSet::from([1]));
    }

    fn any_open() -> impl Strategy<Value = Vec<OpenBatch<'static>>> {
        let one = (
            prop::collection::vec(prop::sample::select(&NAMES[..]), 1..3),
            any::<bool>(),
            prop::bool::weighted(0.2),
            prop::option::of(1usize..5),
        );
        prop::collection::vec(one, 1..12).prop_map(|all| {
            let count = all.len();
            let each = all.into_iter().enumerate();
            each.map(|(at, (names, is_ready, is_contested, ahead))| OpenBatch {
                names,
                is_ready,
                is_contested,
                removal: ahead.map(|by| at + by).filter(|removal| *removal < count),
            })
            .collect()
        })
    }

    /// The batches that end, by the plainest reading of the rule.
    fn ends(open: &[OpenBatch<'_>], held: &BTreeSet<usize>) -> BTreeSet<usize> {
        let mut blocked: BTreeSet<&str> = BTreeSet::new();
        let mut ending = BTreeSet::new();
        for (at, batch) in open.iter().enumerate() {
            let waits = batch.names.iter().any(|name| blocked.contains(name));
            if waits || !batch.is_ready || held.contains(&at) {
                blocked.extend(&batch.names);
            } else {
                ending.insert(at);
            }
        }
        ending
    }

    /// Whether a chain of shared names leads from one batch to a later one.
    fn leads(open: &[OpenBatch<'_>], from: usize, to: usize) -> bool {
        let mut reached: BTreeSet<&str> = open[from].names.iter().copied().collect();
        let mut is_reached = false;
        for batch in &open[from + 1..=to] {
            is_reached = batch.names.iter().any(|name| reached.contains(name));
            if is_reached {
                reached.extend(&batch.names);
            }
        }
        is_reached
    }

    proptest! {
        #[test]
        fn nothing_overtaken_ends_before_its_removal_but_for_a_ruling(open in any_open()) {
            let ending = ends(&open, &put_off(&open));
            for at in &ending {
                let Some(removal) = open[*at].removal else { continue };
                if ending.contains(&removal) || open[*at].is_contested {
                    continue;
                }
                let is_for_a_ruling = (at + 1..open.len())
                    .any(|later| open[later].is_contested && leads(&open, *at, later));
                prop_assert!(is_for_a_ruling, "{at} ends, {removal} does not");
            }
        }

        #[test]
        fn no_ruling_waits_for_what_was_put_off(open in any_open()) {
            let held = put_off(&open);
            let (with, without) = (ends(&open, &held), ends(&open, &BTreeSet::new()));
            for (at, batch) in open.iter().enumerate() {
                if batch.is_contested && without.contains(&at) {
                    prop_assert!(with.contains(&at), "{at} waits for one of {held:?}");
                }
            }
        }

        #[test]
        fn only_what_could_end_and_was_overtaken_is_put_off(open in any_open()) {
            let without = ends(&open, &BTreeSet::new());
            for at in put_off(&open) {
                prop_assert!(without.contains(&at) && open[at].removal.is_some());
            }
        }
    }
}
