//! Asking for the lists of a federated search: in one request to each node where queries search one
//! index by words, and for the page itself where one node answers for all shards.

use crate::error::EngineError;
use crate::federated::{FEDERATION_SINCE, FederatedError, QUERIES_AT_ONCE, in_federation};
use crate::hybrid::{Asker, MixedAnswers};
use crate::port::NodeRead;
use crate::reads::ReadKind;
use crate::scatter::{PartAnswer, Scatter};
use crate::state::{IndexEntry, NodeView, Shared, Snapshot};
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt};
use miroir_core::cover::CoverPart;
use miroir_core::hash::document_hash;
use miroir_core::merge::{FederatedPlan, QueryPlan, SearchPlan};
use miroir_core::search::SearchRequest;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A node works on the queries of one request one after the other, so no more go together: others
/// may go beside.
const QUERIES_TOGETHER: usize = 8;

/// What nodes answered to one query.
#[derive(Default)]
pub(crate) struct QueryAnswers {
    pub(crate) first: Vec<PartAnswer>,
    /// The search by meaning that was sent: besides the first list, or, of a search by meaning
    /// alone, as the first list.
    pub(crate) meaning: Option<SearchPlan>,
    pub(crate) second: Vec<PartAnswer>,
}

/// The page of a node that answers for every shard, if all queries search one index, there is such
/// a node, and it takes the request; what it refuses is better told query by query.
pub(crate) async fn ask_sole(
    shared: &Shared,
    snapshot: &Snapshot,
    entries: &BTreeMap<String, Arc<IndexEntry>>,
    plan: &FederatedPlan,
) -> Result<Option<PartAnswer>, EngineError> {
    let sole = plan.sole_index().and_then(|uid| entries.get_key_value(uid));
    let Some((uid, entry)) = sole else {
        return Ok(None);
    };
    if !snapshot.knows_since(FEDERATION_SINCE) || !has_sole_node(snapshot, entry) {
        return Ok(None);
    }
    let scatter = Scatter {
        shared,
        snapshot,
        entry,
        shards: None,
        affinity: document_hash(uid),
        kind: ReadKind::Search,
        request: |part: &CoverPart| NodeRead::Raw {
            path: "/multi-search".to_owned(),
            body: Some(plan.sole_body(part.filter.as_deref()).into()),
        },
    };
    let mut answers = match scatter.gather().await {
        Ok(answers) => answers,
        Err(EngineError::Refused { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    // Who is busy or slow may have been passed by, and then several answered.
    let answer = answers.pop().filter(|_| answers.is_empty());
    let shard_count = entry.record.shard_count as usize;
    Ok(answer.filter(|answer| answer.part.shards.len() == shard_count))
}

/// Whether a node that may be read holds every shard.
fn has_sole_node(snapshot: &Snapshot, entry: &IndexEntry) -> bool {
    let shard_count = entry.record.shard_count as usize;
    entry.placement.nodes().iter().any(|node| {
        let is_readable = snapshot.nodes.get(node).is_some_and(NodeView::is_readable);
        is_readable && entry.placement.shards_of(node).len() == shard_count
    })
}

/// What the nodes answer to each query, in the order of the queries.
pub(crate) async fn ask_queries<'a>(
    asker_of: &(dyn Fn(&String) -> Asker<'a> + Sync),
    plan: &FederatedPlan,
    requests: &[(String, SearchRequest)],
) -> Result<Vec<QueryAnswers>, FederatedError> {
    let plans: Vec<&QueryPlan> = plan.query_plans().collect();
    let mut together: BTreeMap<&String, Vec<usize>> = BTreeMap::new();
    for (at, (search, (uid, request))) in plans.iter().zip(requests).enumerate() {
        if matches!(search, QueryPlan::Plain(_)) && request.embedding_body().is_none() {
            together.entry(uid).or_default().push(at);
        }
    }
    let groups: Vec<(&String, &[usize])> = together
        .iter()
        .flat_map(|(uid, queries)| queries.chunks(QUERIES_TOGETHER).map(|some| (*uid, some)))
        .filter(|(_, queries)| queries.len() > 1)
        .collect();
    let mut searches: Vec<BoxFuture<'_, Vec<(usize, QueryAnswers)>>> = Vec::new();
    for (uid, queries) in &groups {
        let asker = asker_of(uid);
        let lists: Vec<&SearchPlan> = queries
            .iter()
            .filter_map(|at| match plans[*at] {
                QueryPlan::Plain(plan) => Some(&**plan),
                QueryPlan::Mixed(_) => None,
            })
            .collect();
        searches.push(Box::pin(async move {
            // What is refused is asked again query by query, so that it is told of the query whose
            // fault it is.
            let answers = asker.lists(&lists).await.ok().flatten();
            let answers = answers.unwrap_or_default().into_iter();
            let answers = answers.zip(&lists).map(|(first, plan)| QueryAnswers {
                first,
                meaning: Some((*plan).clone()),
                second: Vec::new(),
            });
            queries.iter().copied().zip(answers).collect()
        }));
    }
    let answered: Vec<Vec<(usize, QueryAnswers)>> = futures::stream::iter(searches)
        .buffered(QUERIES_AT_ONCE)
        .collect()
        .await;
    let mut answered: BTreeMap<usize, QueryAnswers> = answered.into_iter().flatten().collect();
    let mut searches: Vec<BoxFuture<'_, Result<QueryAnswers, FederatedError>>> = Vec::new();
    for (at, (search, (uid, request))) in plans.into_iter().zip(requests).enumerate() {
        let known = answered.remove(&at);
        let asker = asker_of(uid);
        searches.push(Box::pin(async move {
            if let Some(known) = known {
                return Ok(known);
            }
            let answers = ask_query(&asker, request, search).await;
            answers.map_err(|error| FederatedError::of(at, in_federation(error, uid)))
        }));
    }
    // In the queries' order, so that the first error is that of the first query that fails.
    futures::stream::iter(searches)
        .buffered(QUERIES_AT_ONCE)
        .try_collect()
        .await
}

async fn ask_query(
    asker: &Asker<'_>,
    request: &SearchRequest,
    plan: &QueryPlan,
) -> Result<QueryAnswers, EngineError> {
    match plan {
        QueryPlan::Plain(plan) => {
            let sent = asker.embedded(request, (**plan).clone()).await?;
            let first = asker.list(&sent).await?;
            Ok(QueryAnswers {
                first,
                meaning: Some(sent),
                second: Vec::new(),
            })
        }
        QueryPlan::Mixed(plan) => {
            let MixedAnswers { words, meaning, .. } = Box::pin(asker.mixed(request, plan)).await?;
            let (meaning, second) = meaning.unzip();
            Ok(QueryAnswers {
                first: words,
                meaning,
                second: second.unwrap_or_default(),
            })
        }
    }
}

#[derive(Deserialize)]
struct Lists<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
}

impl Asker<'_> {
    /// The answers of a whole cover to several lists, each down to the list's end, in one request to
    /// each node; `None` if one of them is not understood.
    async fn lists(
        &self,
        plans: &[&SearchPlan],
    ) -> Result<Option<Vec<Vec<PartAnswer>>>, EngineError> {
        let scatter = Scatter {
            shared: self.shared,
            snapshot: self.snapshot,
            entry: self.entry,
            shards: None,
            affinity: self.affinity,
            kind: ReadKind::Search,
            request: |part: &CoverPart| NodeRead::Raw {
                path: "/multi-search".to_owned(),
                body: Some(SearchPlan::lists_body(plans, part.filter.as_deref()).into()),
            },
        };
        let mut lists: Vec<Vec<PartAnswer>> = vec![Vec::new(); plans.len()];
        for answer in scatter.gather().await? {
            let Ok(found) = serde_json::from_slice::<Lists<'_>>(&answer.body) else {
                return Ok(None);
            };
            if found.results.len() != plans.len() {
                return Ok(None);
            }
            for (list, result) in lists.iter_mut().zip(found.results) {
                list.push(PartAnswer {
                    part: answer.part.clone(),
                    body: answer.body.slice_ref(result.get().as_bytes()),
                });
            }
        }
        Ok(Some(lists))
    }
}
