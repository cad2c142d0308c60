//! Reads a request body: decompressed as it comes, never more of it than the limit allows.

use crate::error::ApiError;
use crate::gate::{Gate, Place};
use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder};
use axum::body::Body;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use miroir_api::error::{Code, ResponseError};
use std::fmt;
use std::io;
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::time::{Instant, timeout_at};
use tokio_util::io::{ReaderStream, StreamReader};

/// How much decompressed data is handed on at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// A body beyond this size stands in memory only with a place of its own.
const SMALL_BODY_BYTES: usize = 1024 * 1024;

/// What a body has as long as it comes at [`BODY_BYTES_PER_SECOND`] thereafter: slower than any line
/// that documents are sent over, fast enough that nobody keeps a place for long with a trickle.
const BODY_GRACE: Duration = Duration::from_secs(60);
const BODY_BYTES_PER_SECOND: u64 = 4 * 1024;

/// A body, chunk by chunk.
pub(crate) struct BodyReader {
    chunks: BoxStream<'static, io::Result<Bytes>>,
    remaining: u64,
    limit: u64,
    begun: Instant,
}

impl BodyReader {
    /// Begins to read a body of at most `limit` bytes after decompression.
    ///
    /// # Errors
    /// Its encoding is not known, or its announced length is too large already.
    pub(crate) fn new(headers: &HeaderMap, body: Body, limit: u64) -> Result<Self, ResponseError> {
        let encoding = headers.get(CONTENT_ENCODING).map(|value| value.as_bytes());
        let plain = body
            .into_data_stream()
            .map_err(|cause| io::Error::other(Interrupted(cause)));
        let chunks = match encoding.map(<[u8]>::to_ascii_lowercase).as_deref() {
            None | Some(b"" | b"identity") => {
                if announced_length(headers).is_some_and(|length| length > limit) {
                    return Err(too_large(limit));
                }
                plain.boxed()
            }
            Some(b"gzip" | b"x-gzip") => {
                let mut decoder = GzipDecoder::new(StreamReader::new(plain));
                decoder.multiple_members(true);
                decoded(decoder)
            }
            // What HTTP calls `deflate` is the zlib format.
            Some(b"deflate") => decoded(ZlibDecoder::new(StreamReader::new(plain))),
            Some(b"br") => decoded(BrotliDecoder::new(StreamReader::new(plain))),
            Some(other) => {
                return Err(ResponseError::new(
                    Code::UnsupportedMediaType,
                    format!(
                        "The Content-Encoding `{}` is not supported. Supported values are: \
                         `gzip`, `deflate`, `br`",
                        String::from_utf8_lossy(other)
                    ),
                ));
            }
        };
        Ok(Self {
            chunks,
            remaining: limit,
            limit,
            begun: Instant::now(),
        })
    }

    /// The next chunk; `None` at the end.
    ///
    /// # Errors
    /// The body is too large or too slow, broken off, or not in the encoding it claims.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ResponseError> {
        let chunk = timeout_at(self.deadline(), self.chunks.next()).await;
        let Some(chunk) = chunk.map_err(|_| too_slow())? else {
            return Ok(None);
        };
        let chunk = chunk.map_err(|error| unreadable(&error))?;
        let Some(remaining) = self.remaining.checked_sub(chunk.len() as u64) else {
            return Err(too_large(self.limit));
        };
        self.remaining = remaining;
        Ok(Some(chunk))
    }

    /// The whole body, with the place it has among the large ones if it is one.
    ///
    /// # Errors
    /// Those of [`Self::next`]; too many large ones are being read.
    pub(crate) async fn collect(
        mut self,
        large: &Gate,
    ) -> Result<(Bytes, Option<Place>), ApiError> {
        let Some(first) = self.next().await? else {
            return Ok((Bytes::new(), None));
        };
        let Some(second) = self.next().await? else {
            return Ok((first, None));
        };
        let mut place = None;
        let mut whole = Vec::from(first);
        whole.extend_from_slice(&second);
        while let Some(chunk) = self.next().await? {
            if place.is_none() && whole.len() + chunk.len() > SMALL_BODY_BYTES {
                place = Some(large.enter().await?);
            }
            whole.extend_from_slice(&chunk);
        }
        Ok((whole.into(), place))
    }

    /// When the next chunk must have come. What takes Miroir itself time counts as the client's:
    /// that is little beside what is granted.
    fn deadline(&self) -> Instant {
        let received = self.limit - self.remaining;
        self.begun + BODY_GRACE + Duration::from_secs(received / BODY_BYTES_PER_SECOND)
    }
}

fn decoded(decoder: impl AsyncRead + Send + 'static) -> BoxStream<'static, io::Result<Bytes>> {
    ReaderStream::with_capacity(decoder, CHUNK_BYTES).boxed()
}

fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The connection broke before the end of the body.
#[derive(Debug)]
struct Interrupted(axum::Error);

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Interrupted {}

fn unreadable(error: &io::Error) -> ResponseError {
    let message = if error
        .get_ref()
        .is_some_and(|source| source.is::<Interrupted>())
    {
        "The provided payload is incomplete and cannot be parsed".to_owned()
    } else {
        format!("The provided payload is not in the encoding its header names. `{error}`.")
    };
    ResponseError::new(Code::BadRequest, message)
}

fn too_slow() -> ResponseError {
    let message = "The provided payload did not arrive in time and cannot be parsed";
    ResponseError::new(Code::BadRequest, message).with_status(408)
}

fn too_large(limit: u64) -> ResponseError {
    ResponseError::new(
        Code::PayloadTooLarge,
        format!(
            "The provided payload reached the size limit. The maximum accepted payload size is {}.",
            format_size(limit)
        ),
    )
}

/// A size in its largest unit: binary units if it is a multiple of 1024, else decimal ones.
fn format_size(bytes: u64) -> String {
    let (step, units) = if bytes.is_multiple_of(1024) {
        (1024.0, ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"])
    } else {
        (1000.0, ["B", "KB", "MB", "GB", "TB", "PB", "EB"])
    };
    let mut size = bytes as f64;
    let mut unit_idx = 0;
    while size >= step && unit_idx + 1 < units.len() {
        size /= step;
        unit_idx += 1;
    }
    format!("{size} {}", units[unit_idx])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_in_their_largest_unit() {
        assert_eq!(format_size(100_000_000), "100 MB");
        assert_eq!(format_size(100 * 1024 * 1024), "100 MiB");
        assert_eq!(format_size(1_500), "1.5 KB");
        assert_eq!(format_size(10), "10 B");
    }

    fn large_bodies() -> Gate {
        Gate::new(crate::gate::GateLimits::LARGE_BODIES, "large payloads")
    }

    async fn read(
        headers: &[(http::HeaderName, &str)],
        body: Vec<u8>,
        limit: u64,
    ) -> Result<Bytes, u16> {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().expect("a header")))
            .collect();
        let reader = BodyReader::new(&headers, Body::from(body), limit);
        let read = match reader {
            Ok(reader) => reader.collect(&large_bodies()).await,
            Err(error) => Err(error.into()),
        };
        read.map(|(bytes, _)| bytes)
            .map_err(|error| error.0.status())
    }

    async fn compress(encoding: &str, body: &[u8]) -> Vec<u8> {
        use async_compression::tokio::bufread::{BrotliEncoder, GzipEncoder, ZlibEncoder};
        use tokio::io::AsyncReadExt;
        let mut out = Vec::new();
        let written = match encoding {
            "gzip" => GzipEncoder::new(body).read_to_end(&mut out).await,
            "deflate" => ZlibEncoder::new(body).read_to_end(&mut out).await,
            _ => BrotliEncoder::new(body).read_to_end(&mut out).await,
        };
        written.expect("memory can be compressed");
        out
    }

    #[tokio::test]
    async fn every_known_encoding_is_undone() {
        let body = "some text ".repeat(50_000).into_bytes();
        for encoding in ["gzip", "deflate", "br"] {
            let compressed = compress(encoding, &body).await;
            let read = read(&[(CONTENT_ENCODING, encoding)], compressed, 1_000_000).await;
            assert_eq!(read.as_deref(), Ok(&body[..]), "{encoding}");
        }
        assert_eq!(
            read(&[], body.clone(), 1_000_000).await.as_deref(),
            Ok(&body[..])
        );
    }

    #[tokio::test]
    async fn the_limit_counts_decompressed_bytes() {
        let body = vec![b'a'; 10_000];
        let compressed = compress("gzip", &body).await;
        assert!(compressed.len() < 1_000);
        assert_eq!(
            read(&[(CONTENT_ENCODING, "gzip")], compressed.clone(), 9_999).await,
            Err(413)
        );
        assert!(
            read(&[(CONTENT_ENCODING, "gzip")], compressed, 10_000)
                .await
                .is_ok()
        );
        assert_eq!(read(&[], body.clone(), 9_999).await, Err(413));
        assert_eq!(
            read(&[(CONTENT_LENGTH, "10000")], body, 9_999).await,
            Err(413)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_is_given_up_and_a_slow_line_is_not() {
        for (bytes, outcome) in [(1, Err(408)), (5_000, Ok(500_000))] {
            let trickle = futures::stream::unfold(0, move |count| async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let chunk = Ok::<_, io::Error>(Bytes::from(vec![b' '; bytes]));
                (count < 100).then_some((chunk, count + 1))
            });
            let body = Body::from_stream(trickle);
            let reader = BodyReader::new(&HeaderMap::new(), body, 1_000_000).expect("it is plain");
            let read = reader.collect(&large_bodies()).await;
            let read = read.map(|(bytes, _)| bytes.len());
            assert_eq!(read.map_err(|error| error.0.status()), outcome);
        }
    }

    #[tokio::test]
    async fn large_bodies_are_few_at_once() {
        let gate = Gate::new(
            crate::gate::GateLimits {
                inside_max: 1,
                waiting_max: 0,
                wait_max: Duration::ZERO,
            },
            "large payloads",
        );
        let read = async |size: usize| {
            let chunk = Bytes::from(vec![b' '; size / 4]);
            let chunks = std::iter::repeat_n(chunk, 4).map(Ok::<_, io::Error>);
            let body = Body::from_stream(futures::stream::iter(chunks));
            let reader = BodyReader::new(&HeaderMap::new(), body, 10_000_000);
            reader.expect("it is plain").collect(&gate).await
        };
        let (_, place) = read(2 * SMALL_BODY_BYTES).await.expect("it is the first");
        assert!(place.is_some());
        let second = read(2 * SMALL_BODY_BYTES)
            .await
            .expect_err("it is one more");
        assert_eq!(second.0.status(), 503);
        assert!(read(SMALL_BODY_BYTES / 2).await.is_ok(), "it is small");
        drop(place);
        assert!(read(2 * SMALL_BODY_BYTES).await.is_ok());
    }

    #[tokio::test]
    async fn broken_and_unknown_encodings_are_refused() {
        assert_eq!(
            read(&[(CONTENT_ENCODING, "gzip")], b"no gzip".to_vec(), 100).await,
            Err(400)
        );
        assert_eq!(
            read(&[(CONTENT_ENCODING, "zstd")], b"x".to_vec(), 100).await,
            Err(415)
        );
    }
}
