//! Which name each physical index bears.
//!
//! A physical name begins with the name the index was made under, and ends with the task that made
//! it. Swaps and renamings do nothing on nodes; but every later write tells, in its mark, the name the
//! index had then. So the newest that is told of an index is its name, and where two indexes are told
//! to have had one name the later one has it now. The other was removed, or has taken the name that
//! the later one had before.
//!
//! An index that was cut into another number of shards is another physical index with the same task
//! at its end. What it is told while the other is read is marked as a copy and tells no name, so of the
//! two the one that clients wrote to last has the name; both are whole, or the other would not be read.
//!
//! What nobody wrote to since its name changed cannot be told; the operator can ([`NameBasis::Said`]).

use crate::id::{IndexUid, PhysicalIndex, TaskUid};
use std::collections::{BTreeMap, BTreeSet};

/// How a name was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameBasis {
    /// The operator says so.
    Said,
    /// The last write to it was made under this name.
    LastWrite(TaskUid),
    /// It was made under this name, and no write tells another.
    Form,
    /// Its name went to this index; it has the one that index was made under.
    Exchanged(PhysicalIndex),
}

/// The name of an index, or to which index it went.
pub type Naming = Result<(IndexUid, NameBasis), PhysicalIndex>;

/// The name an index was made under and the task that made it, as its physical name tells; `None`
/// for what is no physical name of Miroir's.
///
/// ```
/// use miroir_core::{id::{PhysicalIndex, TaskUid}, recover::form_of};
/// let (uid, task) = form_of(&PhysicalIndex::from_stored("movies__7")).unwrap();
/// assert_eq!((uid.as_str(), task), ("movies", TaskUid(7)));
/// ```
#[must_use]
pub fn form_of(physical: &PhysicalIndex) -> Option<(IndexUid, TaskUid)> {
    let (name, task) = physical.as_str().rsplit_once("__")?;
    if task.is_empty() || !task.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = task.parse().ok()?;
    Some((
        IndexUid::new(name).ok()?,
        TaskUid(number & (PhysicalIndex::CUT - 1)),
    ))
}

struct Claim<'a> {
    index: &'a PhysicalIndex,
    uid: IndexUid,
    /// When it had the name, as far as is known.
    at: TaskUid,
    basis: NameBasis,
}

/// The name of each index. `told` has, for every physical name of Miroir's, the last write that told
/// a name; `said` is what the operator says.
///
/// No name is given twice, unless the operator says one twice.
#[must_use]
pub fn resolve_names(
    told: &BTreeMap<PhysicalIndex, Option<(TaskUid, IndexUid)>>,
    said: &BTreeMap<PhysicalIndex, IndexUid>,
) -> BTreeMap<PhysicalIndex, Naming> {
    let mut names: BTreeMap<PhysicalIndex, Naming> = BTreeMap::new();
    let mut takers: BTreeMap<IndexUid, &PhysicalIndex> = BTreeMap::new();
    for (index, uid) in said {
        if let Some((index, _)) = told.get_key_value(index) {
            names.insert(index.clone(), Ok((uid.clone(), NameBasis::Said)));
            takers.insert(uid.clone(), index);
        }
    }
    let mut claims: Vec<Claim<'_>> = told
        .iter()
        .filter(|(index, _)| !said.contains_key(*index))
        .filter_map(|(index, named)| claim(index, named.as_ref()))
        .collect();
    claims.sort_by(|a, b| b.at.cmp(&a.at).then_with(|| a.index.cmp(b.index)));
    let mut displaced = Vec::new();
    for claim in claims {
        if takers.contains_key(&claim.uid) {
            displaced.push(claim);
            continue;
        }
        takers.insert(claim.uid.clone(), claim.index);
        names.insert(claim.index.clone(), Ok((claim.uid, claim.basis)));
    }
    let mut taken: BTreeSet<IndexUid> = takers.keys().cloned().collect();
    for claim in displaced {
        let Some(taker) = takers.get(&claim.uid) else {
            continue;
        };
        let left = form_of(taker).map(|(uid, _)| uid);
        let naming = match left.filter(|uid| taken.insert(uid.clone())) {
            Some(uid) => Ok((uid, NameBasis::Exchanged((*taker).clone()))),
            None => Err((*taker).clone()),
        };
        names.insert(claim.index.clone(), naming);
    }
    names
}

fn claim<'a>(index: &'a PhysicalIndex, named: Option<&(TaskUid, IndexUid)>) -> Option<Claim<'a>> {
    let (form, made_by) = form_of(index)?;
    Some(match named {
        Some((task, uid)) => Claim {
            index,
            uid: uid.clone(),
            at: *task,
            basis: NameBasis::LastWrite(*task),
        },
        None => Claim {
            index,
            uid: form,
            at: made_by,
            basis: NameBasis::Form,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn uid(name: &str) -> IndexUid {
        IndexUid::new(name).unwrap()
    }

    fn physical(name: &str) -> PhysicalIndex {
        PhysicalIndex::from_stored(name)
    }

    fn told(
        list: &[(&str, Option<(u64, &str)>)],
    ) -> BTreeMap<PhysicalIndex, Option<(TaskUid, IndexUid)>> {
        let named = |(task, name): (u64, &str)| (TaskUid(task), uid(name));
        list.iter()
            .map(|(index, name)| (physical(index), name.map(named)))
            .collect()
    }

    fn resolved(list: &[(&str, Option<(u64, &str)>)]) -> Vec<(String, Option<String>)> {
        let names = resolve_names(&told(list), &BTreeMap::new());
        let text = |naming: Naming| naming.ok().map(|(uid, _)| uid.to_string());
        names
            .into_iter()
            .map(|(index, naming)| (index.to_string(), text(naming)))
            .collect()
    }

    fn check(list: &[(&str, Option<(u64, &str)>)], expected: &[(&str, Option<&str>)]) {
        let expected: Vec<(String, Option<String>)> = expected
            .iter()
            .map(|(index, name)| ((*index).to_owned(), name.map(str::to_owned)))
            .collect();
        assert_eq!(resolved(list), expected);
    }

    #[test]
    fn an_index_nobody_renamed_has_the_name_it_was_made_under() {
        check(
            &[("a__0", None), ("a__b__3", None)],
            &[("a__0", Some("a")), ("a__b__3", Some("a__b"))],
        );
    }

    #[test]
    fn the_last_write_tells_the_name() {
        check(&[("a__0", Some((9, "b")))], &[("a__0", Some("b"))]);
        // Both were written to after the swap.
        check(
            &[("a__0", Some((9, "b"))), ("b__1", Some((8, "a")))],
            &[("a__0", Some("b")), ("b__1", Some("a"))],
        );
    }

    #[test]
    fn of_two_that_were_swapped_one_write_tells_both_names() {
        check(
            &[("a__0", Some((9, "b"))), ("b__1", Some((4, "b")))],
            &[("a__0", Some("b")), ("b__1", Some("a"))],
        );
        check(
            &[("a__0", Some((9, "b"))), ("b__1", None)],
            &[("a__0", Some("b")), ("b__1", Some("a"))],
        );
    }

    #[test]
    fn an_older_index_of_a_name_has_none() {
        check(
            &[("a__0", Some((5, "a"))), ("a__7", None)],
            &[("a__0", None), ("a__7", Some("a"))],
        );
    }

    #[test]
    fn what_the_operator_says_is_so() {
        let said = BTreeMap::from([(physical("a__0"), uid("b")), (physical("x__9"), uid("y"))]);
        let names = resolve_names(&told(&[("a__0", None), ("b__1", None)]), &said);
        assert_eq!(names[&physical("a__0")], Ok((uid("b"), NameBasis::Said)));
        assert_eq!(
            names[&physical("b__1")],
            Ok((uid("a"), NameBasis::Exchanged(physical("a__0"))))
        );
        assert_eq!(names.len(), 2);
    }

    #[test]
    fn what_has_another_form_is_not_ours() {
        for name in [
            "movies",
            "movies__",
            "movies__x",
            "__7",
            "movies__7x",
            "mov ies__7",
        ] {
            assert_eq!(form_of(&physical(name)), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn every_index_is_spoken_of_and_no_name_is_given_twice(
            list in proptest::collection::btree_map(
                ("[a-c]", 0u64..20), proptest::option::of((0u64..60, "[a-c]")), 0..10),
        ) {
            let told = list
                .into_iter()
                .map(|((name, task), named)| {
                    let named = named.map(|(task, name)| (TaskUid(task), uid(&name)));
                    (physical(&format!("{name}__{task}")), named)
                })
                .collect();
            let names = resolve_names(&told, &BTreeMap::new());
            prop_assert!(names.keys().eq(told.keys()));
            let given: Vec<_> = names.values().filter_map(|n| n.as_ref().ok()).map(|n| &n.0).collect();
            let distinct: BTreeSet<_> = given.iter().collect();
            prop_assert_eq!(given.len(), distinct.len());
        }
    }
}
