//! The facets of a federated search: by index, or of all indexes as one.

use super::facet::remove_shown;
use super::view::{FacetOrder, IndexView};
use super::walk::RankedHit;
use serde_json::{Map, Value, json};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Facets as they are shown.
#[derive(Debug, Default)]
pub(super) struct Facets {
    pub(super) distribution: Map<String, Value>,
    pub(super) stats: Map<String, Value>,
}

impl Facets {
    /// Takes a document out of the counts.
    pub(super) fn remove(&mut self, ranked: &RankedHit<'_>) {
        remove_shown(&mut self.distribution, &ranked.hit);
    }
}

/// The facets of all indexes added up by the text shown, as Meilisearch does it.
pub(super) fn merge(
    facets: &BTreeMap<String, Facets>,
    views: &BTreeMap<String, IndexView>,
    limit: Option<usize>,
) -> Facets {
    let mut merged = Facets::default();
    let mut order_of: BTreeMap<&str, FacetOrder> = BTreeMap::new();
    for (uid, of_index) in facets {
        for (field, values) in &of_index.distribution {
            let view = views.get(uid);
            let order = view.map(|view| view.facet_order(field)).unwrap_or_default();
            order_of.entry(field).or_insert(order);
            let sums = merged
                .distribution
                .entry(field.clone())
                .or_insert_with(|| json!({}));
            let (Value::Object(sums), Value::Object(values)) = (sums, values) else {
                continue;
            };
            for (value, count) in values {
                let sum = sums.get(value).and_then(Value::as_u64).unwrap_or(0);
                let sum = sum + count.as_u64().unwrap_or(0);
                sums.insert(value.clone(), sum.into());
            }
        }
        for (field, range) in &of_index.stats {
            let merged = merged
                .stats
                .entry(field.clone())
                .or_insert_with(|| range.clone());
            widen(merged, range);
        }
    }
    for (field, values) in &mut merged.distribution {
        let Value::Object(values) = values else {
            continue;
        };
        let mut sorted: Vec<(String, Value)> = std::mem::take(values).into_iter().collect();
        match order_of.get(field.as_str()).copied().unwrap_or_default() {
            FacetOrder::Alpha => sorted.sort_by(|(a, _), (b, _)| a.cmp(b)),
            FacetOrder::Count => {
                sorted.sort_by_key(|(_, count)| Reverse(count.as_u64().unwrap_or(0)));
            }
        }
        values.extend(sorted.into_iter().take(limit.unwrap_or(usize::MAX)));
    }
    merged.distribution.sort_keys();
    merged.stats.sort_keys();
    merged
}

fn widen(range: &mut Value, other: &Value) {
    for (name, wants_larger) in [("min", false), ("max", true)] {
        let number = |value: &Value| value.get(name).and_then(Value::as_f64);
        if let (Some(a), Some(b)) = (number(range), number(other))
            && (if wants_larger { b > a } else { b < a })
        {
            range[name] = b.into();
        }
    }
}
