//! The documents of a dump, piece by piece as payloads of tasks.

use anyhow::{Context, anyhow};
use bytes::Bytes;
use miroir_core::payload::{DOCUMENT_BYTES_MAX, PayloadError, Splitter};
use miroir_engine::Engine;
use miroir_engine::port::Payload;
use std::fs::File;
use std::io::Read;

/// Read from disk at a time.
const READ_BYTES: usize = 512 * 1024;

/// How large a piece may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    bytes: u64,
}

impl Limits {
    /// A piece is one task's payload, as a client would send it.
    pub(super) const TASK: Self = Self {
        bytes: 24 * 1024 * 1024,
    };
    /// All of it is one piece.
    pub(super) const UNBOUNDED: Self = Self { bytes: u64::MAX };
}

/// Some documents, durable as a payload.
pub(super) struct Piece {
    pub(super) payload: Payload,
    pub(super) document_count: u64,
}

/// Cuts a file of documents into pieces.
pub(super) struct Pieces {
    file: Option<File>,
    splitter: Option<Splitter>,
    has_bytes: bool,
    limits: Limits,
}

impl Pieces {
    /// The pieces of a file; none if there is no file.
    pub(super) fn new(file: Option<File>, limits: Limits) -> Self {
        Self {
            file,
            splitter: Some(Splitter::ndjson(DOCUMENT_BYTES_MAX)),
            has_bytes: false,
            limits,
        }
    }

    /// The next piece; `None` after the last.
    pub(super) async fn next(&mut self, engine: &Engine) -> anyhow::Result<Option<Piece>> {
        if self.file.is_none() {
            return Ok(None);
        }
        let mut writer = engine.create_payload().await?;
        let mut bytes = 0u64;
        let mut document_count = 0;
        while bytes < self.limits.bytes && self.file.is_some() {
            let mut lines: Vec<u8> = Vec::new();
            let mut sink = |document: &[u8]| -> Result<(), PayloadError> {
                lines.extend_from_slice(document);
                lines.push(b'\n');
                document_count += 1;
                Ok(())
            };
            let unreadable = |error: PayloadError| {
                anyhow!(
                    "the documents of the dump cannot be read: {}",
                    error.message
                )
            };
            match self.read().await? {
                Some(chunk) => {
                    self.has_bytes = true;
                    if let Some(splitter) = &mut self.splitter {
                        splitter.push(&chunk, &mut sink).map_err(unreadable)?;
                    }
                }
                None => {
                    self.file = None;
                    // An index without documents has an empty file, which is no mistake here.
                    if let Some(splitter) = self.splitter.take()
                        && self.has_bytes
                    {
                        splitter.finish(&mut sink).map_err(unreadable)?;
                    }
                }
            }
            bytes += lines.len() as u64;
            writer.append(Bytes::from(lines)).await?;
        }
        if document_count == 0 {
            return Ok(None);
        }
        let payload = Payload::Stored(writer.finish().await?);
        Ok(Some(Piece {
            payload,
            document_count,
        }))
    }

    async fn read(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let Some(mut file) = self.file.take() else {
            return Ok(None);
        };
        let (file, chunk) = tokio::task::spawn_blocking(move || {
            let mut chunk = Vec::with_capacity(READ_BYTES);
            let read = Read::by_ref(&mut file)
                .take(READ_BYTES as u64)
                .read_to_end(&mut chunk);
            read.map(|_| (file, chunk))
        })
        .await?
        .context("the documents of the dump cannot be read")?;
        self.file = Some(file);
        Ok((!chunk.is_empty()).then_some(chunk))
    }
}
