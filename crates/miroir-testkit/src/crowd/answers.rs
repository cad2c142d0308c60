//! The same questions to the cluster and to a node alone that got the same writes.

use super::ledger::{Ledger, State};
use crate::{Client, Expectations, compare};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

/// Searches whose answers are determined by the documents: a node alone numbers documents of
/// neighbouring tasks as it happens to join them, so each order ends with the key.
fn searches() -> Vec<Value> {
    vec![
        json!({ "limit": 1000, "sort": ["id:asc"], "facets": ["group"] }),
        json!({ "q": "wind", "limit": 1000, "sort": ["id:desc"], "showRankingScore": true }),
        json!({ "q": "north sun", "sort": ["version:desc", "id:asc"], "facets": ["group"] }),
        json!({ "q": "travel", "offset": 5, "limit": 7, "sort": ["id:asc"] }),
        json!({ "q": "cloke", "hitsPerPage": 9, "page": 2, "sort": ["id:asc"] }),
        json!({ "filter": "group IN [1, 4]", "sort": ["version:asc", "id:asc"] }),
        json!({ "filter": "group > 3", "limit": 0, "facets": ["group"] }),
        json!({ "q": "\"the north\"", "attributesToHighlight": ["text"], "sort": ["id:asc"] }),
    ]
}

pub(super) fn check(proxy: &Client, alone: &Client, ledger: &Ledger) -> Result<()> {
    if ledger.state() != State::Ready {
        return Ok(());
    }
    let name = &ledger.name;
    let expectations = Expectations {
        key_field: "id",
        totals: true,
        facets_by_count: &[],
    };
    for search in searches() {
        let (found, expected) = (proxy.search(name, &search)?, alone.search(name, &search)?);
        let differences = compare(&expected, &found, &expectations);
        ensure!(
            differences.is_empty() && found.status == 200,
            "{name}, {search}: {differences:?}"
        );
    }
    for path in ["stats", "settings"] {
        let path = format!("/indexes/{name}/{path}");
        let (found, expected) = (proxy.get(&path)?.ok()?, alone.get(&path)?.ok()?);
        for member in [
            "numberOfDocuments",
            "fieldDistribution",
            "synonyms",
            "stopWords",
        ] {
            ensure!(
                found[member] == expected[member],
                "{path}, {member}: {} and of a node alone {}",
                found[member],
                expected[member]
            );
        }
    }
    Ok(())
}
