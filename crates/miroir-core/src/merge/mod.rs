//! The answers of several nodes to one search, merged into the page that one node would give.
//!
//! Three steps, all pure. [`SearchPlan::new`] turns what the client asked into what each node is
//! asked ([`SearchPlan::node_body`]): the whole ranking down to the page's last hit, with the
//! details that the order needs. [`SearchPlan::merge`] walks the nodes' lists as one, always
//! taking the best head, until the page is full. [`MergedPage`] writes the answer, with all that
//! only Miroir may see taken out and the index's own display rules applied.
//!
//! **Laws.** Merging the parts of a partition gives what sorting the whole gives; a shorter page
//! is a prefix of a longer one; the order of the answers does not matter as long as documents
//! carry their place in the insertion order. Nothing here looks at a clock or reaches a socket,
//! and no answer of a node, however broken, makes it panic.
//!
//! **What is not exact**, because the nodes' answers do not tell it:
//! - the order among documents less than about a metre apart under a geo sort: a node reports one
//!   distance for the whole group, that of the first it met;
//! - under `distinct`, where more is found than the page's last rank: totals in offset mode (one
//!   node's own are estimates) and facet counts of other fields; totals of a search by meaning; and
//!   all of it for fields that hold arrays;
//! - with a score threshold: totals and facets where one node stops early;
//! - which spelling of a facet value is shown when nodes show several and words find very many
//!   documents with it (see `spelling`), and a field that holds both the number 3 and the string
//!   "3";
//! - vectors of hits under a list of displayed attributes, which are shown if the list names
//!   `_vectors` (Meilisearch 1.50 does the reverse once a document has brought its own vectors);
//! - proximity where a node's bucket holds only matches through joined words, whose scale differs.

mod answer;
mod attribute;
mod body;
mod compatible;
mod detail;
mod distinct;
mod facet;
mod facet_search;
mod federated;
mod federated_count;
mod federated_facets;
mod federated_sole;
mod fields;
mod frequency;
mod frequency_hit;
mod hit;
mod hybrid;
mod hydrate;
mod key;
mod members;
mod nearness;
mod page;
mod pinned;
mod plan;
mod response;
mod score;
mod similar;
mod sole;
mod spelling;
mod strip;
mod view;
mod walk;
mod weighted;

#[cfg(test)]
mod federated_law;
#[cfg(test)]
mod law;
#[cfg(test)]
mod sample;

pub use answer::{AnswerFault, MergeError, NodeAnswer};
pub use compatible::find_incompatible;
pub use facet::normalize_facet;
pub use facet_search::{FacetHit, FacetSearchPlan, FacetSearchRequest};
pub use federated::{FederatedPage, FederatedPlan, FederatedQuery, FederatedRequest, QueryPlan};
pub use federated_count::CountRequest;
pub use fields::{FieldsRequest, merge_fields};
pub use frequency::{FrequencyPlan, FrequencyWalk, WalkStep};
pub use hybrid::{HybridPlan, read_embedding};
pub use hydrate::{ForeignDocuments, HitKeys, displayed_only, hydrated, named_ids};
pub use nearness::{NearnessUnknown, Target};
pub use page::Totals;
pub use pinned::{PinPlan, PinRound, Pinned, UnclearPin, without};
pub use plan::{SearchPlan, SearchPlanError};
pub use response::{MergedPage, ResponseTemplate};
pub use similar::{SimilarAnswer, SimilarPage, SimilarPlan, SimilarRequest};
pub use spelling::DisputedValue;
pub use strip::{retagged, strip_document, strip_field_distribution, without_empty_vectors};
pub use view::{FacetOrder, IndexView};
