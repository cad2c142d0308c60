//! Bodies: decompressed, bounded, and of the content type they claim.

use crate::error::ApiError;
use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder};
use axum::body::Body;
use bytes::Bytes;
use futures::TryStreamExt as _;
use http::{HeaderMap, header};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio_util::io::StreamReader;

/// The decompressed body, at most `limit` bytes.
pub(crate) async fn read(headers: &HeaderMap, body: Body, limit: u64) -> Result<Bytes, ApiError> {
    let stream = body.into_data_stream().map_err(std::io::Error::other);
    let reader = StreamReader::new(stream);
    let encoding = headers
        .get(header::CONTENT_ENCODING)
        .and_then(|value| value.to_str().ok());
    match encoding
        .unwrap_or("identity")
        .trim()
        .to_ascii_lowercase()
        .as_str()
    {
        "gzip" => read_bounded(GzipDecoder::new(reader), limit).await,
        "deflate" => read_bounded(ZlibDecoder::new(reader), limit).await,
        "br" => read_bounded(BrotliDecoder::new(reader), limit).await,
        _ => read_bounded(reader, limit).await,
    }
}

async fn read_bounded(reader: impl AsyncRead + Send, limit: u64) -> Result<Bytes, ApiError> {
    let mut bytes = Vec::new();
    // One byte more than allowed tells a full body from one that is too large.
    let mut reader = std::pin::pin!(reader.take(limit.saturating_add(1)));
    reader.read_to_end(&mut bytes).await.map_err(|error| {
        ApiError::new(
            "malformed_payload",
            format!("The payload could not be read. `{error}`."),
        )
    })?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
        return Err(too_large(limit));
    }
    Ok(bytes.into())
}

/// A JSON body as a value, after the checks of its content type.
pub(crate) async fn read_json(
    headers: &HeaderMap,
    body: Body,
    limit: u64,
) -> Result<Value, ApiError> {
    const ACCEPTED: &str = "Accepted values for the Content-Type header are: `application/json`";
    let Some(content_type) = content_type(headers) else {
        return Err(ApiError::new(
            "missing_content_type",
            format!("A Content-Type header is missing. {ACCEPTED}"),
        ));
    };
    if !content_type.ends_with("/json") && !content_type.ends_with("+json") {
        return Err(ApiError::new(
            "invalid_content_type",
            format!("The Content-Type `{content_type}` is invalid. {ACCEPTED}"),
        ));
    }
    let bytes = read(headers, body, limit).await?;
    if bytes.is_empty() {
        return Err(ApiError::new(
            "missing_payload",
            "A json payload is missing.",
        ));
    }
    serde_json::from_slice(&bytes).map_err(|error| {
        ApiError::new(
            "malformed_payload",
            format!("The json payload provided is malformed. `{error}`."),
        )
    })
}

/// The media type of a body without its parameters, in lower case.
pub(crate) fn content_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let media_type = value.split(';').next().unwrap_or_default().trim();
    (!media_type.is_empty()).then(|| media_type.to_ascii_lowercase())
}

fn too_large(limit: u64) -> ApiError {
    ApiError::new(
        "payload_too_large",
        format!(
            "The provided payload reached the size limit. The maximum accepted payload size is {}.",
            size_text(limit)
        ),
    )
}

/// `100 MB`, or a binary unit when the size is a multiple of 1024.
fn size_text(bytes: u64) -> String {
    let (base, units) = if bytes.is_multiple_of(1024) {
        (1024, ["B", "KiB", "MiB", "GiB", "TiB"])
    } else {
        (1000, ["B", "KB", "MB", "GB", "TB"])
    };
    let mut size = bytes;
    let mut unit = 0;
    while size >= base && size.is_multiple_of(base) && unit + 1 < units.len() {
        size /= base;
        unit += 1;
    }
    format!("{size} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_their_own_unit() {
        assert_eq!(size_text(100_000_000), "100 MB");
        assert_eq!(size_text(1024 * 1024), "1 MiB");
        assert_eq!(size_text(1234), "1234 B");
    }
}
