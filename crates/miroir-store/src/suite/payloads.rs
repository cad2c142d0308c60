//! Laws of payloads.

use super::StoreError;
use bytes::Bytes;
use miroir_engine::port::{PayloadRef, PayloadStore};

macro_rules! on_every_payload_store {
    ($($law:ident),* $(,)?) => {
        mod memory {
            $(
                #[tokio::test]
                async fn $law() {
                    super::$law(&crate::MemoryPayloads::new()).await;
                }
            )*
        }

        mod files {
            $(
                #[tokio::test]
                async fn $law() {
                    let folder = tempfile::tempdir().unwrap();
                    super::$law(&*crate::FilePayloads::open(folder.path()).unwrap()).await;
                }
            )*
        }
    };
}

on_every_payload_store!(
    pieces_come_back_as_one,
    a_read_is_cut_at_the_end,
    an_unfinished_payload_is_not_there,
    a_removed_payload_is_gone,
    payloads_are_listed_with_their_lengths,
);

pub(super) async fn store_payload(payloads: &dyn PayloadStore, pieces: &[&[u8]]) -> PayloadRef {
    let mut writer = payloads.create().await.unwrap();
    for piece in pieces {
        writer.append(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    writer.finish().await.unwrap()
}

async fn read_all(payloads: &dyn PayloadStore, payload: &PayloadRef) -> Bytes {
    payloads.read_at(payload, 0, usize::MAX).await.unwrap()
}

async fn pieces_come_back_as_one(payloads: &dyn PayloadStore) {
    let empty = store_payload(payloads, &[]).await;
    assert_eq!(read_all(payloads, &empty).await, "");
    // Small, large and small again: through the buffer, past it, and through it.
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0] ^ 7).collect();
    let pieces: [&[u8]; 5] = [b"ab", b"", b"c", &large, b"end"];
    let payload = store_payload(payloads, &pieces).await;
    let PayloadRef::File { bytes, .. } = &payload;
    assert_eq!(*bytes, 3_000_006);
    assert_eq!(read_all(payloads, &payload).await, pieces.concat());
}

async fn a_read_is_cut_at_the_end(payloads: &dyn PayloadStore) {
    let payload = store_payload(payloads, &[b"0123456789"]).await;
    for (offset, len, expected) in [
        (0, 4, "0123"),
        (4, 4, "4567"),
        (8, 4, "89"),
        (10, 4, ""),
        (99, 4, ""),
        (3, 0, ""),
    ] {
        assert_eq!(
            payloads.read_at(&payload, offset, len).await.unwrap(),
            expected
        );
    }
}

async fn an_unfinished_payload_is_not_there(payloads: &dyn PayloadStore) {
    let mut writer = payloads.create().await.unwrap();
    writer
        .append(Bytes::from(vec![0; 1_000_000]))
        .await
        .unwrap();
    assert_eq!(payloads.list().await.unwrap(), []);
    drop(writer);
    assert_eq!(payloads.list().await.unwrap(), []);
}

async fn a_removed_payload_is_gone(payloads: &dyn PayloadStore) {
    let payload = store_payload(payloads, &[b"x"]).await;
    let kept = store_payload(payloads, &[b"y"]).await;
    payloads
        .remove(std::slice::from_ref(&payload))
        .await
        .unwrap();
    payloads
        .remove(&[payload.clone(), payload.clone()])
        .await
        .unwrap();
    payloads.remove(&[]).await.unwrap();
    let read = payloads.read_at(&payload, 0, 1).await;
    assert!(matches!(read, Err(StoreError::Io(_))), "{read:?}");
    assert_eq!(payloads.list().await.unwrap(), [kept]);
}

async fn payloads_are_listed_with_their_lengths(payloads: &dyn PayloadStore) {
    let mut expected = Vec::new();
    for text in ["a", "bb", "ccc"] {
        expected.push(store_payload(payloads, &[text.as_bytes()]).await);
    }
    let by_name = |PayloadRef::File { name, .. }: &PayloadRef| name.clone();
    expected.sort_by_key(by_name);
    assert_eq!(payloads.list().await.unwrap(), expected);
}

mod on_disk {
    use super::*;
    use crate::FilePayloads;

    fn names(folder: &std::path::Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[tokio::test]
    async fn a_writer_dropped_early_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let payloads = FilePayloads::open(folder.path()).unwrap();
        let mut writer = payloads.create().await.unwrap();
        writer
            .append(Bytes::from(vec![0; 2_000_000]))
            .await
            .unwrap();
        assert_eq!(names(folder.path()).len(), 1);
        drop(writer);
        assert!(names(folder.path()).is_empty());
    }

    #[tokio::test]
    async fn opening_sweeps_what_dead_writers_left_and_keeps_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let payloads = FilePayloads::open(folder.path()).unwrap();
        let kept = store_payload(&*payloads, &[b"x"]).await;
        std::fs::write(folder.path().join("dead.tmp"), "half").unwrap();
        let payloads = FilePayloads::open(folder.path()).unwrap();
        assert_eq!(payloads.list().await.unwrap(), [kept]);
        assert_eq!(names(folder.path()).len(), 1);
    }

    #[tokio::test]
    async fn a_name_that_leads_out_of_the_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let payloads = FilePayloads::open(folder.path()).unwrap();
        for name in ["../secret", "/etc/hosts", "", "..", "a/b", "a\\b"] {
            let payload = PayloadRef::File {
                name: name.to_owned(),
                bytes: 1,
            };
            let read = payloads.read_at(&payload, 0, 1).await;
            assert!(
                matches!(read, Err(StoreError::Corrupt { .. })),
                "{name}: {read:?}"
            );
            assert!(payloads.remove(&[payload]).await.is_err());
        }
    }
}
