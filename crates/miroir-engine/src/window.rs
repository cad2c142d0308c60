//! The window of batches in flight: prepared and not done.
//!
//! It bounds what is held in memory and what must be found again after a crash. Each index has a
//! window of its own, so that one whose node is away does not keep the others waiting; all together
//! are bounded too, and while much is in flight an index that has little goes before one that has
//! much.

use miroir_core::id::PhysicalIndex;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Batches of one index.
const INDEX_BATCHES_MAX: usize = 64;
/// Batches of all indexes.
const BATCHES_MAX: usize = 2048;
/// Payloads in memory, of all indexes.
const BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Batches of one index while half of what all may have is taken.
const INDEX_BATCHES_SCARCE: usize = 4;

#[derive(Debug, Default)]
struct Taken {
    by_index: BTreeMap<PhysicalIndex, usize>,
    batches: usize,
    bytes: u64,
}

/// Counts the batches in flight.
#[derive(Debug, Default)]
pub(crate) struct Window {
    taken: Mutex<Taken>,
}

/// One batch's place in the window; given back when dropped.
#[derive(Debug)]
pub struct Place {
    window: Arc<Window>,
    index: PhysicalIndex,
    bytes: u64,
}

impl Window {
    /// No index may have another batch.
    pub(crate) fn is_full(&self) -> bool {
        let taken = self.taken.lock();
        taken.batches >= BATCHES_MAX || taken.bytes >= BYTES_MAX
    }

    /// This index may have another batch.
    pub(crate) fn has_room(&self, index: &PhysicalIndex) -> bool {
        let taken = self.taken.lock();
        let own = taken.by_index.get(index).copied().unwrap_or(0);
        let is_scarce = taken.batches >= BATCHES_MAX / 2 || taken.bytes >= BYTES_MAX / 2;
        let is_full = taken.batches >= BATCHES_MAX || taken.bytes >= BYTES_MAX;
        let own_max = if is_scarce {
            INDEX_BATCHES_SCARCE
        } else {
            INDEX_BATCHES_MAX
        };
        !is_full && own < own_max
    }

    /// The batches of this index.
    pub(crate) fn count(&self, index: &PhysicalIndex) -> usize {
        self.taken.lock().by_index.get(index).copied().unwrap_or(0)
    }

    /// Counts a batch with so many bytes of payload in memory, whether there is room or not: what
    /// is in flight already is counted too.
    pub(crate) fn take(self: &Arc<Self>, index: PhysicalIndex, bytes: u64) -> Place {
        let mut taken = self.taken.lock();
        *taken.by_index.entry(index.clone()).or_default() += 1;
        taken.batches += 1;
        taken.bytes += bytes;
        Place {
            window: self.clone(),
            index,
            bytes,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.window.taken.lock();
        taken.batches -= 1;
        taken.bytes -= self.bytes;
        if let Some(count) = taken.by_index.get_mut(&self.index) {
            *count -= 1;
            if *count == 0 {
                taken.by_index.remove(&self.index);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use miroir_core::id::{IndexUid, TaskUid};

    fn index(number: u64) -> PhysicalIndex {
        PhysicalIndex::new(&IndexUid::new("i").unwrap(), TaskUid(number))
    }

    #[test]
    fn an_index_that_is_full_leaves_room_for_others() {
        let window = Arc::new(Window::default());
        let places: Vec<Place> = (0..INDEX_BATCHES_MAX)
            .map(|_| window.take(index(1), 1))
            .collect();
        assert!(!window.has_room(&index(1)));
        assert!(window.has_room(&index(2)));
        drop(places);
        assert!(window.has_room(&index(1)));
        assert_eq!(window.taken.lock().batches, 0);
        assert_eq!(window.taken.lock().bytes, 0);
    }

    #[test]
    fn while_room_is_scarce_those_with_little_go_first_and_the_whole_is_bounded() {
        let window = Arc::new(Window::default());
        let mut places = vec![window.take(index(1), BYTES_MAX / 2)];
        while window.has_room(&index(1)) {
            places.push(window.take(index(1), 1));
        }
        assert_eq!(window.count(&index(1)), INDEX_BATCHES_SCARCE);
        assert!(window.has_room(&index(2)));
        for number in 3.. {
            if !window.has_room(&index(number)) {
                break;
            }
            places.push(window.take(index(number), 1));
        }
        assert!(window.is_full());
        assert_eq!(places.len(), BATCHES_MAX);
    }
}
