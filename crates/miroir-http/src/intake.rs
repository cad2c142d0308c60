//! Takes in the payload of a write, however large, in a few hundred KiB of memory.
//!
//! ```text
//! body ─► decompress ─► size limit ─► split ─► lines ─► spool: memory, then a file
//! ```
//! Everything Meilisearch refuses at once is refused here: a missing, malformed or too large
//! payload leaves neither a task nor a file. What a document says is checked later, by the task.

mod ids;
mod spool;

use crate::app::App;
use crate::body::BodyReader;
use crate::error::ApiError;
use axum::body::Body;
use http::HeaderMap;
use ids::IdSplitter;
use miroir_api::error::ResponseError;
use miroir_core::payload::{DOCUMENT_BYTES_MAX, PayloadError, PayloadFormat, Splitter};
use miroir_engine::port::Payload;
use spool::{BeginFile, Spool};

/// A payload taken in: where it lies and how many entries it has.
pub(crate) struct Taken {
    pub(crate) payload: Payload,
    pub(crate) count: u64,
}

/// Takes in documents, as one JSON object a line.
pub(crate) async fn take_documents(
    app: &App,
    headers: &HeaderMap,
    body: Body,
    format: PayloadFormat,
) -> Result<Taken, ApiError> {
    let mut reader = BodyReader::new(headers, body, app.options.http_payload_size_limit)?;
    // Until then the client keeps what it has not sent.
    let _place = app.uploads.enter().await?;
    let mut spool = Spool::new(spool_file(app));
    let mut splitter = Splitter::new(format, DOCUMENT_BYTES_MAX);
    while let Some(chunk) = reader.next().await? {
        splitter
            .push(&chunk, &mut |document| keep(&mut spool, document))
            .map_err(refusal)?;
        spool.spill().await?;
    }
    let count = splitter
        .finish(&mut |document| keep(&mut spool, document))
        .map_err(refusal)?;
    Ok(Taken {
        payload: spool.finish().await?,
        count,
    })
}

/// Takes in a list of document ids, as one JSON string a line.
pub(crate) async fn take_ids(
    app: &App,
    headers: &HeaderMap,
    body: Body,
) -> Result<Taken, ApiError> {
    let mut reader = BodyReader::new(headers, body, app.options.http_payload_size_limit)?;
    let _place = app.uploads.enter().await?;
    let mut spool = Spool::new(spool_file(app));
    let mut splitter = IdSplitter::default();
    while let Some(chunk) = reader.next().await? {
        splitter.push(&chunk, &mut |id| spool.push_id(id))?;
        spool.spill().await?;
    }
    let count = splitter.finish()?;
    Ok(Taken {
        payload: spool.finish().await?,
        count,
    })
}

/// One document id, as a payload of its own.
pub(crate) fn one_id(id: &str) -> Taken {
    let line = format!("{}\n", serde_json::Value::String(id.to_owned()));
    Taken {
        payload: Payload::Inline(line.into()),
        count: 1,
    }
}

/// How the spool begins a file.
fn spool_file(app: &App) -> impl Fn() -> BeginFile + use<> {
    let engine = app.engine.clone();
    move || {
        let engine = engine.clone();
        Box::pin(async move { engine.create_payload().await })
    }
}

fn keep<F: Fn() -> BeginFile>(spool: &mut Spool<F>, document: &[u8]) -> Result<(), PayloadError> {
    spool.push_line(document);
    Ok(())
}

/// A payload refused as a whole.
fn refusal(error: PayloadError) -> ResponseError {
    ResponseError::from_code_name(error.code, error.message)
}
