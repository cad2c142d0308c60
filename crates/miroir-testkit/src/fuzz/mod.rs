//! Random settings, documents and requests, sent to one node and to Miroir over three; what is
//! answered otherwise is made small and kept.
//!
//! A [`Case`] is one such experiment as a value: it is generated from a seed ([`generate`]), put on
//! servers that run all the time ([`Arena`]), judged request by request, made small ([`shrink()`])
//! and written to a file, from which a test plays it again for ever.

mod arena;
mod ask;
mod case;
mod dataset;
mod judge;
mod mistake;
mod schema;
mod shrink;
mod text;

pub use arena::{Arena, Stage};
pub use case::{Ask, Case, Route, WriteStep};
pub use judge::Finding;
pub use shrink::shrink;

use crate::Rng;

/// What is generated.
#[derive(Debug, Clone, Copy)]
pub struct Taste {
    /// Whether the nodes are real servers, which know more settings than the bundled one.
    pub real_nodes: bool,
    /// Requests for each data set.
    pub requests: usize,
    /// Whether every search drops words by their frequency; otherwise none does, as that strategy
    /// is known to depend on what each node holds.
    pub frequency: bool,
}

/// The `number`th case of a seed.
#[must_use]
pub fn generate(seed: u64, number: u64, taste: &Taste) -> Case {
    let mut rng = Rng::of(&[seed, number, 0xF022]);
    let dataset = dataset::generate(&mut rng, taste);
    let mut asks = ask::Asker::new(&dataset, taste);
    let requests = (0..taste.requests).map(|_| asks.next(&mut rng)).collect();
    Case {
        name: format!("seed-{seed}-{number}"),
        note: String::new(),
        replication_factor: 1 + u32::try_from(rng.below(3)).unwrap_or_default(),
        real_nodes_only: taste.real_nodes,
        key_field: dataset.key_field.to_owned(),
        settings: dataset.settings,
        writes: dataset.writes,
        requests,
        differs: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_and_number_give_the_same_case() {
        let taste = Taste {
            real_nodes: true,
            requests: 30,
            frequency: false,
        };
        assert_eq!(generate(3, 4, &taste), generate(3, 4, &taste));
        assert_ne!(generate(3, 4, &taste), generate(3, 5, &taste));
    }

    #[test]
    fn a_case_is_read_back_as_it_was_written() {
        let taste = Taste {
            real_nodes: true,
            requests: 30,
            frequency: false,
        };
        for number in 0..20 {
            let case = generate(9, number, &taste);
            assert_eq!(Case::from_json(&case.to_json()).expect("readable"), case);
        }
    }
}
