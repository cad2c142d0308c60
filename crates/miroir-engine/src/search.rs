//! A search: plan, scatter, merge. Nodes are first asked for about their share of the page; one that
//! may hold more of it is asked again for the whole.

use crate::cache::{CacheKey, Found};
use crate::engine::{Engine, SearchAnswer, SearchSteps};
use crate::error::EngineError;
use crate::hybrid::{Asker, bodies_of};
use crate::partial::add_coverage;
use crate::port::NodeRead;
use crate::reads::{PartialPolicy, ReadKind};
use crate::refusal::plan_error;
use crate::scatter::{Gathered, PartAnswer, Scatter};
use crate::state::{IndexEntry, Shared, Snapshot};
use bytes::Bytes;
use miroir_core::cover::CoverPart;
use miroir_core::id::{IndexUid, ShardId};
use miroir_core::merge::{
    DisputedValue, HybridPlan, Pinned, ResponseTemplate, SearchPlan, without,
};
use miroir_core::search::SearchRequest;
use std::sync::Arc;
use std::time::Duration;
use xxhash_rust::xxh3::Xxh3;

impl Engine {
    /// The answer one Meilisearch holding all documents would give.
    ///
    /// # Errors
    /// [`EngineError::IndexNotFound`], [`EngineError::Refused`] for what nodes find wrong with the
    /// request, [`EngineError::Unavailable`] rather than an answer without some shard.
    pub async fn search(
        &self,
        uid: &IndexUid,
        request: SearchRequest,
    ) -> Result<SearchAnswer, EngineError> {
        let search = self.search_with(uid, request, Some(PartialPolicy::Error));
        Box::pin(search).await
    }

    /// The same; the answer may lack shards that cannot be reached, if the request, or else the
    /// configuration, says so.
    ///
    /// # Errors
    /// As [`Engine::search`].
    pub async fn search_with(
        &self,
        uid: &IndexUid,
        request: SearchRequest,
        wish: Option<PartialPolicy>,
    ) -> Result<SearchAnswer, EngineError> {
        let read = || Box::pin(self.search_once(uid, &request, wish));
        self.read_anew(read).await
    }

    async fn search_once(
        &self,
        uid: &IndexUid,
        request: &SearchRequest,
        wish: Option<PartialPolicy>,
    ) -> Result<SearchAnswer, EngineError> {
        let shared = self.shared();
        let started = shared.ports.clock.monotonic();
        let snapshot = shared.snapshot.load_full();
        let entry = snapshot.index(uid)?;
        let plan = plan_of(request, entry)?;
        let asker = Asker {
            shared,
            snapshot: &snapshot,
            entry,
            affinity: affinity(uid, request),
            is_partial: shared.config.reads.is_partial(uid.as_str(), wish),
        };
        let mut nodes = Duration::ZERO;
        let mut planned = None;
        let pinned = Box::pin(asker.pinned(request)).await;
        let pinned = in_own_words(&asker, request, pinned).await?;
        let key = CacheKey::new(entry, request);
        let found = match pinned.is_empty() {
            true => shared.cache.get_or_wait(&key).await,
            // What rules do hangs on the moment, and is not kept.
            false => Found::none(),
        };
        let (template, node_count, missing) = match found {
            Found::Answer(template) => {
                shared.metrics.note_cache(true);
                (template, 0, Vec::new())
            }
            Found::Turn(turn) => {
                shared.metrics.note_cache(false);
                planned = Some(shared.ports.clock.monotonic());
                let Merged {
                    template,
                    node_count,
                    missing,
                } = Box::pin(ask_pinned(&asker, request, plan, pinned, &mut nodes)).await?;
                let template = Arc::new(template);
                // What lacks shards is nobody else's answer.
                if missing.is_empty() {
                    turn.keep(&template);
                } else {
                    shared.metrics.note_degraded();
                }
                (template, node_count, missing)
            }
        };
        let template = match Box::pin(self.hydrate(entry, &template)).await? {
            Some(hydrated) => Arc::new(hydrated),
            None => template,
        };
        let mut body = Vec::new();
        let request_uid = uuid::Uuid::now_v7().to_string();
        let extras_at = template.write(&mut body, elapsed_ms(shared, started), &request_uid);
        add_coverage(&mut body, entry, &missing);
        let ended = shared.ports.clock.monotonic();
        let planned = planned.unwrap_or(ended);
        Ok(SearchAnswer {
            body: body.into(),
            missing_shards: missing,
            node_count,
            extras_at,
            steps: SearchSteps {
                plan: planned.saturating_sub(started),
                nodes,
                merge: ended.saturating_sub(planned).saturating_sub(nodes),
            },
        })
    }
}

/// The whole answer of an index to a search, which is kept for nobody else.
pub(crate) async fn answer_once(
    shared: &Shared,
    snapshot: &Snapshot,
    entry: &IndexEntry,
    request: &SearchRequest,
) -> Result<Vec<u8>, EngineError> {
    let asker = Asker {
        shared,
        snapshot,
        entry,
        affinity: affinity(&entry.record.uid, request),
        is_partial: false,
    };
    let started = shared.ports.clock.monotonic();
    let plan = plan_of(request, entry)?;
    let pinned = Box::pin(asker.pinned(request)).await;
    let pinned = in_own_words(&asker, request, pinned).await?;
    let nodes = &mut Duration::default();
    let merged = Box::pin(ask_pinned(&asker, request, plan, pinned, nodes)).await?;
    let mut body = Vec::new();
    let request_uid = uuid::Uuid::now_v7().to_string();
    let took = elapsed_ms(shared, started);
    merged.template.write(&mut body, took, &request_uid);
    Ok(body)
}

/// A request that nodes refuse is refused in the words of a search, not of a question about a
/// document.
async fn in_own_words(
    asker: &Asker<'_>,
    request: &SearchRequest,
    pinned: Result<Vec<Pinned>, EngineError>,
) -> Result<Vec<Pinned>, EngineError> {
    if let Err(EngineError::Refused { .. }) = &pinned {
        let plan = plan_of(request, asker.entry)?;
        let nodes = &mut Duration::default();
        Box::pin(ask_nodes(asker, request, plan, Vec::new(), nodes)).await?;
        // Nothing is wrong with the search itself.
        let what = "A search in which a rule pins documents, on an index whose filterable \
                    attributes were last set through an older Miroir,";
        return Err(EngineError::Unsupported(what.to_owned()));
    }
    pinned
}

/// Asks the nodes without the pinned documents, and puts these in.
async fn ask_pinned(
    asker: &Asker<'_>,
    request: &SearchRequest,
    plan: Planned,
    pinned: Vec<Pinned>,
    nodes: &mut Duration,
) -> Result<Merged, EngineError> {
    if pinned.is_empty() {
        return Box::pin(ask_nodes(asker, request, plan, pinned, nodes)).await;
    }
    let request = SearchRequest {
        filter: without(&pinned, request.filter.as_ref()),
        ..request.clone()
    };
    let plan = plan_of(&request, asker.entry)?;
    Box::pin(ask_nodes(asker, &request, plan, pinned, nodes)).await
}

/// Asks the nodes as the plan says; adds the time that they took.
async fn ask_nodes(
    asker: &Asker<'_>,
    request: &SearchRequest,
    plan: Planned,
    pinned: Vec<Pinned>,
    nodes: &mut Duration,
) -> Result<Merged, EngineError> {
    let plan = match plan {
        Planned::Mixed(plan) => return Box::pin(search_mixed(asker, request, &plan, nodes)).await,
        Planned::Plain(plan) => plan,
    };
    let clock = &asker.shared.ports.clock;
    let before = clock.monotonic();
    let counted = Box::pin(asker.by_frequency(request, &pinned)).await;
    let plan = plan.pin(pinned);
    let plan = Box::pin(asker.embedded(request, plan)).await?;
    *nodes += clock.monotonic().saturating_sub(before);
    match counted {
        Some((template, node_count)) => Ok(Merged {
            template,
            node_count,
            missing: Vec::new(),
        }),
        None => Box::pin(scatter_search(asker, &plan, nodes)).await,
    }
}

/// What the nodes' answers came to.
struct Merged {
    template: ResponseTemplate,
    /// Nodes asked.
    node_count: usize,
    /// Shards that nobody answered for, ascending.
    missing: Vec<ShardId>,
}

/// A search as it is asked.
enum Planned {
    Plain(Box<SearchPlan>),
    Mixed(Box<HybridPlan>),
}

fn plan_of(request: &SearchRequest, entry: &IndexEntry) -> Result<Planned, EngineError> {
    let wrong = |error| plan_error(error, &entry.record);
    if let Some(mixed) = HybridPlan::new(request, &entry.view).map_err(wrong)? {
        return Ok(Planned::Mixed(Box::new(mixed)));
    }
    SearchPlan::new(request, &entry.view)
        .map(|plan| Planned::Plain(Box::new(plan)))
        .map_err(wrong)
}

/// Asks by words and, if need be, by vector, and mixes; adds the time that nodes took.
async fn search_mixed(
    asker: &Asker<'_>,
    request: &SearchRequest,
    plan: &HybridPlan,
    nodes: &mut Duration,
) -> Result<Merged, EngineError> {
    let clock = &asker.shared.ports.clock;
    let before = clock.monotonic();
    let answers = asker.mixed(request, plan).await?;
    *nodes += clock.monotonic().saturating_sub(before);
    let second = answers.meaning.as_ref();
    let second = second.map(|(search, parts)| (search, bodies_of(parts)));
    let second = second
        .as_ref()
        .map(|(search, bodies)| (*search, &bodies[..]));
    let page = plan
        .merge(&bodies_of(&answers.words), second)
        .map_err(|error| EngineError::Answer(error.to_string()))?;
    Ok(Merged {
        template: page.to_template(),
        node_count: answers.words.len(),
        missing: answers.missing,
    })
}

/// Asks a cover and merges; returns the answer and how many nodes were asked.
async fn scatter_search(
    asker: &Asker<'_>,
    plan: &SearchPlan,
    nodes: &mut Duration,
) -> Result<Merged, EngineError> {
    let &Asker {
        shared,
        snapshot,
        entry,
        affinity,
        is_partial,
    } = asker;
    let clock = &shared.ports.clock;
    let shard_count = entry.record.shard_count as usize;
    let is_cut_by_node = plan.is_cut_by_node();
    // A node that answers for all cuts the page itself.
    let is_sole = |part: &CoverPart| is_cut_by_node && part.shards.len() == shard_count;
    let ask = |part: &CoverPart, depth: usize| NodeRead::Search {
        index: entry.record.physical.clone(),
        body: Bytes::from(match part.filter.as_deref() {
            filter if is_sole(part) => plan.sole_body(filter),
            filter => plan.node_body_to(filter, depth),
        }),
    };
    let first_depth = |part: &CoverPart| plan.first_depth(part.shards.len(), shard_count);
    let first = Scatter {
        shared,
        snapshot,
        entry,
        shards: None,
        affinity,
        kind: ReadKind::Search,
        request: |part: &CoverPart| ask(part, first_depth(part)),
    };
    let before = clock.monotonic();
    let Gathered {
        answers: first,
        mut missing,
    } = first.gather_as(is_partial).await?;
    *nodes += clock.monotonic().saturating_sub(before);
    if let [answer] = &first[..]
        && is_sole(&answer.part)
    {
        let page = plan.sole_page(&answer.body);
        let page = page.map_err(|error| EngineError::Answer(error.to_string()))?;
        return Ok(Merged {
            template: page.to_template(),
            node_count: 1,
            missing,
        });
    }
    let mut answers: Vec<(PartAnswer, usize)> = first
        .into_iter()
        .map(|answer| {
            let depth = first_depth(&answer.part);
            (
                answer,
                if depth < plan.depth() {
                    depth
                } else {
                    usize::MAX
                },
            )
        })
        .collect();
    let node_count = answers.len();
    // Each round replaces one answer by a whole one, so there are at most as many as nodes.
    loop {
        let bodies: Vec<&[u8]> = answers.iter().map(|(answer, _)| &answer.body[..]).collect();
        let asked: Vec<usize> = answers.iter().map(|(_, asked)| *asked).collect();
        let merged = plan.merge_asked(&bodies, &asked);
        let dry = match merged.map_err(|error| EngineError::Answer(error.to_string()))? {
            Ok(mut page) => {
                missing.sort_unstable();
                if !page.disputed.is_empty() {
                    let before = clock.monotonic();
                    let replies = ask_spellings(asker, plan, &page.disputed).await;
                    *nodes += clock.monotonic().saturating_sub(before);
                    page.respell(&bodies_of(&replies));
                }
                return Ok(Merged {
                    template: page.to_template(),
                    node_count,
                    missing,
                });
            }
            Err(dry) => dry,
        };
        let (answer, _) = answers.swap_remove(dry);
        let whole = Scatter {
            shared,
            snapshot,
            entry,
            shards: Some(&answer.part.shards),
            affinity,
            kind: ReadKind::Search,
            request: |part: &CoverPart| ask(part, plan.depth()),
        };
        let before = clock.monotonic();
        let whole = whole.gather_as(is_partial).await;
        *nodes += clock.monotonic().saturating_sub(before);
        let whole = match whole {
            Err(EngineError::Unavailable { .. } | EngineError::Busy)
                if is_partial && !answers.is_empty() =>
            {
                // Its first hits alone would leave a hole in the page.
                Gathered {
                    answers: Vec::new(),
                    missing: answer.part.shards.clone(),
                }
            }
            whole => whole?,
        };
        missing.extend(whole.missing);
        let whole = whole.answers.into_iter();
        answers.extend(whole.map(|answer| (answer, usize::MAX)));
        answers.sort_by(|(a, _), (b, _)| a.part.node.cmp(&b.part.node));
    }
}

/// The nodes' oldest documents with facet values that they spell differently; nothing where they do
/// not tell, for it is only a spelling.
pub(crate) async fn ask_spellings(
    asker: &Asker<'_>,
    plan: &SearchPlan,
    disputed: &[DisputedValue],
) -> Vec<PartAnswer> {
    let scatter = Scatter {
        shared: asker.shared,
        snapshot: asker.snapshot,
        entry: asker.entry,
        shards: None,
        affinity: asker.affinity,
        kind: ReadKind::Search,
        request: |part: &CoverPart| NodeRead::Raw {
            path: "/multi-search".to_owned(),
            body: Some(plan.spelling_body(disputed, part.filter.as_deref()).into()),
        },
    };
    scatter.gather().await.unwrap_or_default()
}

pub(crate) fn elapsed_ms(shared: &Shared, started: Duration) -> u64 {
    let elapsed = shared.ports.clock.monotonic().saturating_sub(started);
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

/// A hash of what is searched without the page shown, so that the pages of one query come from the
/// same replicas.
pub(crate) fn affinity(uid: &IndexUid, request: &SearchRequest) -> u64 {
    let mut hash = Xxh3::new();
    let mut add = |text: &str| {
        hash.update(text.as_bytes());
        hash.update(&[0]);
    };
    add(uid.as_str());
    add(request.q.as_deref().unwrap_or(""));
    for value in [
        &request.filter,
        &request.vector,
        &request.hybrid,
        &request.media,
    ]
    .into_iter()
    .flatten()
    {
        add(&value.to_string());
    }
    for text in request.sort.iter().flatten() {
        add(text);
    }
    hash.digest()
}
