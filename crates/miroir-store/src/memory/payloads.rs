//! Payloads in memory.

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use miroir_engine::port::{PayloadRef, PayloadStore, PayloadWriter, StoreError};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Payloads that last as long as the value.
#[derive(Debug, Default)]
pub struct MemoryPayloads {
    files: Arc<Mutex<Files>>,
}

#[derive(Debug, Default)]
struct Files {
    by_name: BTreeMap<String, Bytes>,
    created_count: u64,
}

impl MemoryPayloads {
    /// No payloads.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

struct MemoryWriter {
    files: Arc<Mutex<Files>>,
    name: String,
    bytes: BytesMut,
}

#[async_trait]
impl PayloadWriter for MemoryWriter {
    async fn append(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<PayloadRef, StoreError> {
        let Self { files, name, bytes } = *self;
        let payload = PayloadRef::File {
            name: name.clone(),
            bytes: bytes.len() as u64,
        };
        files.lock().by_name.insert(name, bytes.freeze());
        Ok(payload)
    }
}

#[async_trait]
impl PayloadStore for MemoryPayloads {
    async fn create(&self) -> Result<Box<dyn PayloadWriter>, StoreError> {
        let mut files = self.files.lock();
        files.created_count += 1;
        let name = format!("{:020}.payload", files.created_count);
        Ok(Box::new(MemoryWriter {
            files: Arc::clone(&self.files),
            name,
            bytes: BytesMut::new(),
        }))
    }

    async fn read_at(
        &self,
        payload: &PayloadRef,
        offset: u64,
        len: usize,
    ) -> Result<Bytes, StoreError> {
        let PayloadRef::File { name, .. } = payload;
        let files = self.files.lock();
        let bytes = files
            .by_name
            .get(name)
            .ok_or_else(|| StoreError::Io(format!("there is no payload {name}")))?;
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        let end = start.saturating_add(len).min(bytes.len());
        Ok(bytes.slice(start..end))
    }

    async fn remove(&self, payloads: &[PayloadRef]) -> Result<(), StoreError> {
        let mut files = self.files.lock();
        for PayloadRef::File { name, .. } in payloads {
            files.by_name.remove(name);
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<PayloadRef>, StoreError> {
        let files = self.files.lock();
        let to_ref = |(name, bytes): (&String, &Bytes)| PayloadRef::File {
            name: name.clone(),
            bytes: bytes.len() as u64,
        };
        Ok(files.by_name.iter().map(to_ref).collect())
    }
}
