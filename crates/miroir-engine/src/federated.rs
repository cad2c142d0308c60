//! Several weighted queries into one list: each query is a list of its own, then they are merged;
//! but where one node answers for all, it merges them itself.

use crate::engine::{Engine, SearchSteps};
use crate::error::EngineError;
use crate::federated_ask::{ask_queries, ask_sole};
use crate::hybrid::{Asker, bodies_of};
use crate::port::NodeRead;
use crate::reads::ReadKind;
use crate::refusal::plan_error;
use crate::reread::READS_MAX;
use crate::scatter::{PartAnswer, Scatter};
use crate::search::elapsed_ms;
use crate::state::{IndexEntry, Snapshot};
use bytes::Bytes;
use miroir_core::cover::CoverPart;
use miroir_core::hash::document_hash;
use miroir_core::id::IndexUid;
use miroir_core::merge::{
    CountRequest, FacetOrder, FederatedPage, FederatedPlan, FederatedRequest, IndexView, QueryPlan,
    SearchPlan, find_incompatible,
};
use miroir_core::search::SearchRequest;
use miroir_core::settings::ranking_rules;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Queries of one request that are on their way at once: enough that several small ones overlap,
/// few enough that one request cannot fill the nodes' queues.
pub const QUERIES_AT_ONCE: usize = 4;
/// The first version of Meilisearch that merges several queries into one list.
pub(crate) const FEDERATION_SINCE: (u32, u32) = (1, 10);

/// A federated search failed.
#[derive(Debug, thiserror::Error)]
#[error("query {query:?} of a federated search failed")]
pub struct FederatedError {
    /// The position of the query whose fault it is, if it is one's.
    pub query: Option<usize>,
    /// What is wrong.
    #[source]
    pub error: EngineError,
}

impl FederatedError {
    pub(crate) fn of(query: usize, error: EngineError) -> Self {
        Self {
            query: Some(query),
            error,
        }
    }
}

impl From<EngineError> for FederatedError {
    fn from(error: EngineError) -> Self {
        Self { query: None, error }
    }
}

impl Engine {
    /// The page of all queries' hits that one Meilisearch would show.
    ///
    /// # Errors
    /// As [`Engine::search`], with the query it is about.
    pub async fn federated_search(
        &self,
        request: FederatedRequest,
        extras: &FederatedExtras<'_>,
    ) -> Result<Bytes, FederatedError> {
        for _ in 1..READS_MAX {
            let result = Box::pin(self.federated_once(request.clone(), extras)).await;
            let error = result.as_ref().err().map(|error| &error.error);
            if !self.is_found_by_now(error) {
                return result;
            }
        }
        Box::pin(self.federated_once(request, extras)).await
    }

    async fn federated_once(
        &self,
        request: FederatedRequest,
        extras: &FederatedExtras<'_>,
    ) -> Result<Bytes, FederatedError> {
        let shared = self.shared();
        let clock = &shared.ports.clock;
        let started = clock.monotonic();
        let snapshot = shared.snapshot.load_full();
        let entries = entries_of(&snapshot, &request)?;
        check_compatible(&request, &entries, shared.has_legacy_nodes())?;
        check_facets(&snapshot, &request, &entries)?;
        let views: BTreeMap<String, IndexView> = entries
            .iter()
            .map(|(uid, entry)| (uid.clone(), (*entry.view).clone()))
            .collect();
        let requests: Vec<(String, SearchRequest)> = request
            .queries
            .iter()
            .map(|query| (query.uid.clone(), query.request.clone()))
            .collect();
        let plan = FederatedPlan::new(request, views).map_err(|(at, error)| {
            FederatedError::of(at, plan_error(error, &entries[&requests[at].0].record))
        })?;
        if let Some((uid, _)) = plan.shared_indexes().first()
            && !snapshot.knows_since(FEDERATION_SINCE)
        {
            let what = format!(
                "A federated search with several queries on one index (`{uid}`) over nodes older \
                 than Meilisearch 1.10"
            );
            return Err(EngineError::Unsupported(what).into());
        }
        let planned = clock.monotonic();

        let asker_of = |uid: &String| Asker {
            shared,
            snapshot: &snapshot,
            entry: &entries[uid],
            affinity: document_hash(uid),
            is_partial: false,
        };
        for (at, (uid, request)) in requests.iter().enumerate() {
            let pinned = Box::pin(asker_of(uid).pinned(request)).await;
            let pinned =
                pinned.map_err(|error| FederatedError::of(at, in_federation(error, uid)))?;
            if !pinned.is_empty() {
                let what = "A federated search in which a rule pins documents";
                let error = EngineError::Unsupported(what.to_owned());
                return Err(FederatedError::of(at, error));
            }
        }
        let garbled = |error: &dyn std::error::Error| EngineError::Answer(error.to_string());
        let finish = Finish {
            engine: self,
            entries: &entries,
            started,
            planned,
            extras,
        };
        if let Some(answer) = ask_sole(shared, &snapshot, &entries, &plan).await? {
            let answered = clock.monotonic();
            let page = plan.sole_page(&answer.body);
            if let Some(page) = page.map_err(|error| garbled(&error))? {
                return finish.write(&page, answered).await;
            }
        }
        let searching = ask_queries(&asker_of, &plan, &requests);
        // Counting asks for what the queries asked; only a vector has to be known first.
        let is_counted_beside = plan
            .query_plans()
            .zip(&requests)
            .all(|(search, (_, request))| {
                matches!(search, QueryPlan::Plain(_)) && request.embedding_body().is_none()
            });
        let (answers, counts) = if is_counted_beside {
            let meanings = vec![None; requests.len()];
            let counting = self.count(&snapshot, &entries, &plan, &meanings);
            let (answers, counts) = futures::join!(searching, Box::pin(counting));
            (answers?, Some(counts?))
        } else {
            (searching.await?, None)
        };
        let meanings: Vec<Option<&SearchPlan>> =
            answers.iter().map(|query| query.meaning.as_ref()).collect();
        let counts = match counts {
            Some(counts) => counts,
            None => self.count(&snapshot, &entries, &plan, &meanings).await?,
        };
        let answered = clock.monotonic();

        let bodies: Vec<[Vec<&[u8]>; 2]> = answers
            .iter()
            .map(|query| [bodies_of(&query.first), bodies_of(&query.second)])
            .collect();
        let mut pages = Vec::with_capacity(bodies.len());
        for ((search, [first, second]), meaning) in plan.query_plans().zip(&bodies).zip(meanings) {
            let page = match search {
                QueryPlan::Plain(search) => search.merge(first),
                QueryPlan::Mixed(mixed) => {
                    mixed.merge(first, meaning.map(|meaning| (meaning, &second[..])))
                }
            };
            pages.push(page.map_err(|error| garbled(&error))?);
        }
        let counts = counts
            .iter()
            .map(|(uid, parts)| (uid.clone(), bodies_of(parts)))
            .collect();
        let page = plan
            .merge(pages, &counts)
            .map_err(|error| garbled(&error))?;
        finish.write(&page, answered).await
    }

    /// Asks how many documents any of several queries on one index finds.
    async fn count(
        &self,
        snapshot: &Snapshot,
        entries: &BTreeMap<String, Arc<IndexEntry>>,
        plan: &FederatedPlan,
        meanings: &[Option<&SearchPlan>],
    ) -> Result<BTreeMap<String, Vec<PartAnswer>>, FederatedError> {
        let mut counts = BTreeMap::new();
        for (uid, _) in plan.shared_indexes() {
            let entry = &entries[uid];
            let requests = |part: Option<&CoverPart>| {
                let filter = part.and_then(|part| part.filter.as_deref());
                plan.count_requests(uid, meanings, filter)
            };
            let mut answers = Vec::new();
            for (number, CountRequest { positions, .. }) in requests(None).iter().enumerate() {
                let body = |part: &CoverPart| {
                    let request = requests(Some(part)).into_iter().nth(number);
                    Bytes::from(request.map(|request| request.body).unwrap_or_default())
                };
                let scatter = Scatter {
                    shared: self.shared(),
                    snapshot,
                    entry,
                    shards: None,
                    affinity: document_hash(uid),
                    kind: ReadKind::Search,
                    request: |part: &CoverPart| NodeRead::Raw {
                        path: "/multi-search".to_owned(),
                        body: Some(body(part)),
                    },
                };
                let counted = scatter.gather().await;
                answers.extend(counted.map_err(|error| counting_error(error, positions))?);
            }
            counts.insert(uid.to_owned(), answers);
        }
        Ok(counts)
    }
}

/// Makes the members that only some answers have, each with a comma before it, of what took how
/// long.
pub type FederatedExtras<'f> = dyn Fn(&SearchSteps) -> Vec<u8> + Send + Sync + 'f;

/// What is left to do when the page is known.
struct Finish<'f> {
    engine: &'f Engine,
    entries: &'f BTreeMap<String, Arc<IndexEntry>>,
    started: Duration,
    planned: Duration,
    extras: &'f FederatedExtras<'f>,
}

impl Finish<'_> {
    /// The page as JSON, with the foreign documents that its hits name; `answered` is when the nodes
    /// had answered.
    async fn write(
        &self,
        page: &FederatedPage<'_>,
        answered: Duration,
    ) -> Result<Bytes, FederatedError> {
        let shared = self.engine.shared();
        let hydrating = self.engine.hydrate_federated(self.entries, page);
        let hydrated = Box::pin(hydrating).await?;
        let mut body = Vec::new();
        let request_uid = uuid::Uuid::now_v7().to_string();
        let merged = shared.ports.clock.monotonic();
        let steps = SearchSteps {
            plan: self.planned.saturating_sub(self.started),
            nodes: answered.saturating_sub(self.planned),
            merge: merged.saturating_sub(answered),
        };
        let extras = (self.extras)(&steps);
        let elapsed = elapsed_ms(shared, self.started);
        match hydrated {
            Some(hits) => {
                page.write_response_with(&mut body, &hits, elapsed, &request_uid, &extras);
            }
            None => page.write_response(&mut body, elapsed, &request_uid, &extras),
        }
        Ok(body.into())
    }
}

/// The indexes searched, or the first by name that does not exist.
fn entries_of(
    snapshot: &Snapshot,
    request: &FederatedRequest,
) -> Result<BTreeMap<String, Arc<IndexEntry>>, FederatedError> {
    let mut first: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, query) in request.queries.iter().enumerate() {
        first.entry(&query.uid).or_insert(at);
    }
    let mut entries = BTreeMap::new();
    for (uid, at) in first {
        let found = find(snapshot, uid).map_err(|error| FederatedError::of(at, error))?;
        entries.insert(uid.to_owned(), found.clone());
    }
    Ok(entries)
}

fn find<'s>(snapshot: &'s Snapshot, uid: &str) -> Result<&'s Arc<IndexEntry>, EngineError> {
    let uid = IndexUid::new(uid).map_err(|error| EngineError::Client {
        code: "invalid_index_uid",
        message: error.to_string(),
    })?;
    snapshot.index(&uid)
}

fn check_compatible(
    request: &FederatedRequest,
    entries: &BTreeMap<String, Arc<IndexEntry>>,
    is_legacy: bool,
) -> Result<(), FederatedError> {
    let rules: BTreeMap<&str, Vec<String>> = entries
        .iter()
        .map(|(uid, entry)| {
            (
                uid.as_str(),
                ranking_rules(&entry.record.settings, is_legacy),
            )
        })
        .collect();
    // Index by index, as they are searched on one node.
    let mut queries: Vec<_> = request.queries.iter().enumerate().collect();
    queries.sort_by_key(|(_, query)| &query.uid);
    let queries = queries.into_iter().map(|(at, query)| {
        let rules = rules
            .get(query.uid.as_str())
            .map(Vec::as_slice)
            .unwrap_or_default();
        (at, &query.request, rules)
    });
    match find_incompatible(queries) {
        None => Ok(()),
        Some((at, message)) => {
            let code = "invalid_multi_search_query_ranking_rules";
            Err(FederatedError::of(
                at,
                EngineError::Client { code, message },
            ))
        }
    }
}

/// Refuses facets of an index that does not exist, and facets that cannot be added up because
/// their indexes order them differently.
fn check_facets(
    snapshot: &Snapshot,
    request: &FederatedRequest,
    entries: &BTreeMap<String, Arc<IndexEntry>>,
) -> Result<(), FederatedError> {
    for uid in request
        .facets
        .keys()
        .filter(|uid| !entries.contains_key(*uid))
    {
        if find(snapshot, uid).is_err() {
            let message = format!(
                "Inside `.federation.facetsByIndex.{uid}`: Index `{uid}` not found.\n - Note: \
                 index `{uid}` is not used in queries"
            );
            return Err(EngineError::Client {
                code: "index_not_found",
                message,
            }
            .into());
        }
    }
    if request.merge_facets.is_none() {
        return Ok(());
    }
    let mut seen: BTreeMap<&str, (&str, FacetOrder)> = BTreeMap::new();
    for (uid, facets) in &request.facets {
        let Some(entry) = entries.get(uid) else {
            continue;
        };
        for facet in facets.iter().filter(|facet| !facet.contains('*')) {
            let order = entry.view.facet_order(facet);
            let (previous, previous_order) = *seen.entry(facet).or_insert((uid, order));
            if previous_order != order {
                let message = format!(
                    "Inside `.federation.facetsByIndex.{uid}`: Inconsistent order for values in \
                     facet `{facet}`: index `{previous}` orders {}, but index `{uid}` orders \
                     {}.\n - Hint: Remove `federation.mergeFacets` or change \
                     `faceting.sortFacetValuesBy` to be consistent in settings.",
                    name_of(previous_order),
                    name_of(order)
                );
                let code = "invalid_multi_search_facet_order";
                let at = request.queries.iter().position(|query| query.uid == *uid);
                return Err(FederatedError {
                    query: at,
                    error: EngineError::Client { code, message },
                });
            }
        }
    }
    Ok(())
}

fn name_of(order: FacetOrder) -> &'static str {
    match order {
        FacetOrder::Alpha => "alphabetically",
        FacetOrder::Count => "by count",
    }
}

/// Facets are the federation's, so a mistake in them is told as its.
pub(crate) fn in_federation(error: EngineError, uid: &str) -> EngineError {
    let prefix = format!("Inside `.federation.facetsByIndex.{uid}`: ");
    match error {
        EngineError::Refused { status, mut body }
            if body.get("code") == Some(&json!("invalid_search_facets")) =>
        {
            if let Some(Value::String(message)) = body.get_mut("message") {
                message.insert_str(0, &prefix);
            }
            EngineError::Refused { status, body }
        }
        EngineError::Client {
            code: "invalid_search_facets",
            message,
        } => EngineError::Client {
            code: "invalid_search_facets",
            message: prefix + &message,
        },
        other => other,
    }
}

/// What a counting request is refused for. It holds only the queries on one index, which stand at
/// these positions of the client's request.
fn counting_error(error: EngineError, queries: &[usize]) -> FederatedError {
    let EngineError::Refused { status, mut body } = error else {
        return error.into();
    };
    let unsupported = match body.get("code").and_then(Value::as_str) {
        // Compatible as the client sees them, so it is the hidden last rule that differs.
        Some("invalid_multi_search_query_ranking_rules") => {
            Some("A federated search with queries on one index that rank by different rules")
        }
        Some("invalid_multi_search_federated") => {
            Some("A federated search with several queries on one index over nodes without any")
        }
        _ => None,
    };
    if let Some(what) = unsupported {
        return EngineError::Unsupported(what.into()).into();
    }
    let mut query = None;
    if let Some(Value::String(message)) = body.get_mut("message")
        && let Some(rest) = message.strip_prefix("Inside `.queries[")
        && let Some((position, rest)) = rest.split_once("]`: ")
    {
        query = position
            .parse()
            .ok()
            .and_then(|at: usize| queries.get(at).copied());
        *message = rest.to_owned();
    }
    FederatedError {
        query,
        error: EngineError::Refused { status, body },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counting_requests_refusal_is_told_of_the_clients_query() {
        let refused = |code: &str, message: &str| EngineError::Refused {
            status: 400,
            body: json!({"code": code, "message": message}),
        };
        let error = refused("invalid_search_filter", "Inside `.queries[1]`: wrong");
        let FederatedError { query, error } = counting_error(error, &[2, 5]);
        assert_eq!(query, Some(5));
        let EngineError::Refused { body, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(body["message"], "wrong");
        let error = refused("invalid_multi_search_query_ranking_rules", "m");
        let FederatedError { error, .. } = counting_error(error, &[0]);
        assert!(matches!(error, EngineError::Unsupported(_)), "{error}");
    }

    #[test]
    fn a_mistake_in_facets_is_the_federations() {
        let code = "invalid_search_facets";
        let error = EngineError::Client {
            code,
            message: "wrong".into(),
        };
        let EngineError::Client { message, .. } = in_federation(error, "a") else {
            panic!("it stays what it is")
        };
        assert_eq!(message, "Inside `.federation.facetsByIndex.a`: wrong");
    }
}
