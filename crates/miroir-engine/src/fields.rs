//! The fields of an index, from the nodes of a cover.

use crate::engine::Engine;
use crate::error::EngineError;
use crate::port::NodeRead;
use crate::reads::ReadKind;
use crate::scatter::Scatter;
use crate::state::Snapshot;
use bytes::Bytes;
use miroir_core::cover::CoverPart;
use miroir_core::id::IndexUid;
use miroir_core::merge::{FieldsRequest, merge_fields};

/// More fields than a document may have: nodes are asked for all at once.
const FIELDS_MAX: usize = 1_000_000;
/// The first version of Meilisearch that lists fields.
const FIELDS_SINCE: (u32, u32) = (1, 33);

impl Engine {
    /// A listing of the fields, as the whole JSON body `{results, offset, limit, total}`.
    ///
    /// # Errors
    /// As [`Engine::search`]; [`EngineError::Unsupported`] when the nodes are too old to tell.
    pub async fn fields(
        &self,
        uid: &IndexUid,
        request: &FieldsRequest,
    ) -> Result<Bytes, EngineError> {
        let read = || self.fields_once(uid, request);
        self.read_named(std::iter::once(uid), read).await
    }

    async fn fields_once(
        &self,
        uid: &IndexUid,
        request: &FieldsRequest,
    ) -> Result<Bytes, EngineError> {
        let shared = self.shared();
        let snapshot = shared.snapshot.load_full();
        let entry = snapshot.index(uid)?;
        if !snapshot.knows_since(FIELDS_SINCE) {
            let what = "Listing fields over nodes older than Meilisearch 1.33";
            return Err(EngineError::Unsupported(what.into()));
        }
        let scatter = Scatter {
            shared,
            snapshot: &snapshot,
            entry,
            shards: None,
            affinity: 0,
            kind: ReadKind::Other,
            request: |_: &CoverPart| NodeRead::Raw {
                path: format!("/indexes/{}/fields", entry.record.physical),
                body: Some(Bytes::from(format!(r#"{{"limit":{FIELDS_MAX}}}"#))),
            },
        };
        let answers = scatter.gather().await?;
        let bodies: Vec<&[u8]> = answers.iter().map(|answer| &answer.body[..]).collect();
        let listing = merge_fields(&bodies, &entry.record.settings, request)
            .map_err(|error| EngineError::Answer(error.to_string()))?;
        Ok(Bytes::from(listing.to_string()))
    }
}

impl Snapshot {
    /// Whether every node that has told its version is at least of this one. A node that does not
    /// know a route must not be asked: its 404 would look like an illness.
    pub(crate) fn knows_since(&self, since: (u32, u32)) -> bool {
        let mut versions = self
            .nodes
            .values()
            .filter_map(|node| node.version.as_deref());
        versions.all(|version| {
            let mut parts = version
                .split('.')
                .map(|part| part.parse::<u32>().unwrap_or(0));
            (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= since
        })
    }
}
