//! Keeps the lines of a payload: in memory while they are few, then in a file.

use bytes::Bytes;
use miroir_engine::EngineError;
use miroir_engine::port::{INLINE_PAYLOAD_BYTES_MAX, Payload, PayloadWriter};
use std::future::Future;
use std::pin::Pin;

/// How much is written to the file at once: large enough that a write costs little beside the
/// copying, small enough that a thousand uploads at once fit in memory.
const APPEND_BYTES: usize = 256 * 1024;

/// A file being begun.
pub(super) type BeginFile =
    Pin<Box<dyn Future<Output = Result<Box<dyn PayloadWriter>, EngineError>> + Send>>;

/// A payload being kept. Dropped before [`Self::finish`], it leaves nothing behind.
pub(super) struct Spool<F> {
    begin_file: F,
    buffer: Vec<u8>,
    file: Option<Box<dyn PayloadWriter>>,
}

impl<F: Fn() -> BeginFile> Spool<F> {
    pub(super) fn new(begin_file: F) -> Self {
        Self {
            begin_file,
            buffer: Vec::new(),
            file: None,
        }
    }

    /// Adds a line, without its end.
    pub(super) fn push_line(&mut self, line: &[u8]) {
        self.buffer.extend_from_slice(line);
        self.buffer.push(b'\n');
    }

    /// Adds an id as a line of JSON.
    pub(super) fn push_id(&mut self, id: &str) {
        let line = serde_json::Value::String(id.to_owned()).to_string();
        self.push_line(line.as_bytes());
    }

    /// Moves what has gathered to the file, if it is much.
    pub(super) async fn spill(&mut self) -> Result<(), EngineError> {
        if self.buffer.len() < APPEND_BYTES {
            return Ok(());
        }
        self.append().await
    }

    /// Makes the payload ready to be registered.
    pub(super) async fn finish(mut self) -> Result<Payload, EngineError> {
        if self.file.is_none() && self.buffer.len() <= INLINE_PAYLOAD_BYTES_MAX {
            return Ok(Payload::Inline(self.buffer.into()));
        }
        self.append().await?;
        match self.file {
            Some(file) => Ok(Payload::Stored(file.finish().await?)),
            // `append` has begun one.
            None => Ok(Payload::Inline(Bytes::new())),
        }
    }

    async fn append(&mut self) -> Result<(), EngineError> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert((self.begin_file)().await?),
        };
        // One allocation moves to the writer, the next begins at the size it will reach.
        let gathered = std::mem::replace(&mut self.buffer, Vec::with_capacity(APPEND_BYTES));
        if !gathered.is_empty() {
            file.append(gathered.into()).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use miroir_engine::port::{PayloadRef, StoreError};
    use std::sync::{Arc, Mutex};

    /// Remembers what was appended; a finished file tells its length.
    struct Notebook(Arc<Mutex<Vec<Bytes>>>);

    #[async_trait]
    impl PayloadWriter for Notebook {
        async fn append(&mut self, bytes: Bytes) -> Result<(), StoreError> {
            self.0.lock().unwrap().push(bytes);
            Ok(())
        }
        async fn finish(self: Box<Self>) -> Result<PayloadRef, StoreError> {
            let bytes = self
                .0
                .lock()
                .unwrap()
                .iter()
                .map(|piece| piece.len() as u64)
                .sum();
            Ok(PayloadRef::File {
                name: "notes".into(),
                bytes,
            })
        }
    }

    fn spool(pieces: &Arc<Mutex<Vec<Bytes>>>) -> Spool<impl Fn() -> BeginFile> {
        let pieces = Arc::clone(pieces);
        Spool::new(move || {
            let file: Box<dyn PayloadWriter> = Box::new(Notebook(Arc::clone(&pieces)));
            Box::pin(async move { Ok(file) })
        })
    }

    #[tokio::test]
    async fn a_small_payload_stays_in_memory() {
        let pieces = Arc::default();
        let mut spool = spool(&pieces);
        spool.push_line(b"{}");
        spool.push_id("a\"b");
        spool.spill().await.unwrap();
        let Payload::Inline(bytes) = spool.finish().await.unwrap() else {
            panic!("a file")
        };
        assert_eq!(&bytes[..], b"{}\n\"a\\\"b\"\n");
        assert!(pieces.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_large_payload_goes_to_a_file_piece_by_piece() {
        let pieces = Arc::default();
        let mut spool = spool(&pieces);
        let line = vec![b'x'; 999];
        for _ in 0..1_000 {
            spool.push_line(&line);
            spool.spill().await.unwrap();
            assert!(spool.buffer.len() < APPEND_BYTES);
        }
        let Payload::Stored(PayloadRef::File { bytes, .. }) = spool.finish().await.unwrap() else {
            panic!("in memory")
        };
        assert_eq!(bytes, 1_000_000);
        let pieces = pieces.lock().unwrap();
        assert_eq!(pieces.len(), 4);
        assert!(
            pieces
                .iter()
                .all(|piece| piece.len() <= APPEND_BYTES + 1_000)
        );
    }
}
