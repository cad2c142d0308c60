//! Pinned documents among those that were found.
//!
//! Laws: what was found keeps its order, pins keep theirs, nothing is lost before the page's end,
//! and pages of one size tile the whole list.

/// The ranks from `start` up to but not including `end` of the list that `found`, ranked from 0,
/// makes with the pins, each given with its position.
///
/// A pin stands at its position, or behind, if a pin before it stands later; where nothing found is
/// left, the pins that are left follow.
///
/// ```
/// use miroir_core::rules::place::place;
///
/// let pins = vec![(1, 'P'), (9, 'Q')];
/// assert_eq!(place(pins.clone(), 0, 4, "abcd".chars()), ['a', 'P', 'b', 'c']);
/// assert_eq!(place(pins, 1, 9, "ab".chars()), ['P', 'b', 'Q']);
/// ```
#[must_use]
pub fn place<T>(
    pins: impl IntoIterator<Item = (u32, T)>,
    start: usize,
    end: usize,
    found: impl IntoIterator<Item = T>,
) -> Vec<T> {
    let (mut pins, mut found) = (pins.into_iter().peekable(), found.into_iter());
    let mut page = Vec::new();
    for rank in 0..end {
        let is_due = pins
            .peek()
            .is_some_and(|(position, _)| *position as usize <= rank);
        let mut pin = || pins.next().map(|(_, pinned)| pinned);
        let next = if is_due {
            pin()
        } else {
            found.next().or_else(pin)
        };
        match next {
            Some(next) if rank >= start => page.push(next),
            Some(_) => {}
            None => break,
        }
    }
    page
}

/// Which pins, by their place among `positions`, stand before rank `end` when so many were found.
#[must_use]
pub fn placed_before(positions: &[u32], end: usize, found_count: usize) -> Vec<usize> {
    let pins = positions.iter().copied().zip((0..).map(Some));
    let found = std::iter::repeat_n(None, found_count.min(end));
    let page = place(pins, 0, end, found);
    page.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pins(positions: &[u32]) -> Vec<(u32, i64)> {
        let numbered = (1..).map(|number: i64| -number);
        positions.iter().copied().zip(numbered).collect()
    }

    #[test]
    fn a_later_position_holds_those_behind_it_back() {
        let page = place(pins(&[3, 0]), 0, 6, 0..10);
        assert_eq!(page, [0, 1, 2, -1, -2, 3]);
    }

    #[test]
    fn pins_of_one_position_follow_each_other() {
        assert_eq!(place(pins(&[1, 1, 1]), 0, 5, 0..10), [0, -1, -2, -3, 1]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_both_orders_stay(
            positions in proptest::collection::vec(0_u32..30, 0..8), found in 0_i64..20,
        ) {
            let all = place(pins(&positions), 0, usize::MAX >> 1, 0..found);
            let (shown, pinned): (Vec<i64>, Vec<i64>) = all.iter().partition(|id| **id >= 0);
            prop_assert_eq!(shown, (0..found).collect::<Vec<_>>());
            let expected: Vec<i64> = pins(&positions).into_iter().map(|(_, id)| id).collect();
            prop_assert_eq!(pinned, expected);
        }

        #[test]
        fn pages_tile_the_list(
            positions in proptest::collection::vec(0_u32..30, 0..8), found in 0_i64..20,
            size in 1_usize..7,
        ) {
            let whole = place(pins(&positions), 0, 100, 0..found);
            let mut pages = Vec::new();
            for start in (0..100).step_by(size) {
                // A page needs no more of what was found than its own end.
                let known = found.min(i64::try_from(start + size).unwrap());
                pages.extend(place(pins(&positions), start, start + size, 0..known));
            }
            prop_assert_eq!(pages, whole);
        }

        #[test]
        fn sorted_pins_stand_where_they_were_put(
            mut positions in proptest::collection::btree_set(0_u32..30, 0..8), found in 40_i64..50,
        ) {
            let sorted: Vec<u32> = std::mem::take(&mut positions).into_iter().collect();
            let page = place(pins(&sorted), 0, 40, 0..found);
            for (position, id) in pins(&sorted) {
                prop_assert_eq!(page[position as usize], id);
            }
        }

        #[test]
        fn those_before_the_end_are_those_on_the_page(
            positions in proptest::collection::vec(0_u32..30, 0..8), found in 0_usize..20,
            end in 0_usize..25,
        ) {
            let known = i64::try_from(found).unwrap();
            let page = place(pins(&positions), 0, end, 0..known);
            let pinned: Vec<i64> = page.into_iter().filter(|id| *id < 0).collect();
            let before = placed_before(&positions, end, found);
            let before: Vec<i64> = before.iter().map(|at| -1 - i64::try_from(*at).unwrap()).collect();
            prop_assert_eq!(pinned, before);
        }
    }
}
