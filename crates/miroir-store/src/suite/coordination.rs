//! Laws of the lease, moves, sessions, idempotency keys, aliases, keys, features and webhooks.

use super::*;
use miroir_engine::coordination::{
    ALIAS_HISTORY_MAX, AliasChange, AliasTarget, ApiKeyRecord, IdempotencyKey, IdempotencyRecord,
    Lease, LeaseEpoch, LeaseOutcome, MoveRecord, OnceOutcome, SessionRecord, WebhookRecord,
};
use std::collections::BTreeMap;
use uuid::Uuid;

on_every_store!(
    a_live_lease_is_nobody_elses,
    each_new_term_has_a_greater_epoch,
    only_the_live_term_is_renewed,
    a_released_lease_is_free_at_once,
    moves_come_back_sorted_and_rewritten,
    a_session_never_goes_back_while_it_lives,
    an_expired_session_is_gone,
    a_key_carries_one_entry_into_the_log,
    an_expired_key_is_free_again,
    inserting_a_key_does_not_replace_it,
    an_alias_counts_its_changes,
    an_alias_changes_only_from_the_expected_version,
    an_alias_remembers_its_last_states,
    api_keys_come_back_sorted_and_rewritten,
    features_keep_what_is_not_spoken_of,
    webhooks_come_back_sorted_and_rewritten,
);

fn lease(holder: &str, epoch: u64, seconds: i64) -> Lease {
    let holder = Some(holder.to_owned());
    Lease {
        holder,
        epoch: LeaseEpoch(epoch),
        expires_at: at(seconds),
    }
}

async fn a_live_lease_is_nobody_elses(store: &dyn Whole) {
    assert_eq!(store.load_lease().await.unwrap(), None);
    let first = store.acquire_lease("p1", at(0), at(10)).await.unwrap();
    assert_eq!(first, LeaseOutcome::Held(lease("p1", 1, 10)));
    let other = store.acquire_lease("p2", at(9), at(19)).await.unwrap();
    assert_eq!(other, LeaseOutcome::Taken(lease("p1", 1, 10)));
    let again = store.acquire_lease("p1", at(9), at(19)).await.unwrap();
    assert_eq!(again, LeaseOutcome::Held(lease("p1", 1, 19)));
    assert_eq!(store.load_lease().await.unwrap(), Some(lease("p1", 1, 19)));
}

async fn each_new_term_has_a_greater_epoch(store: &dyn Whole) {
    store.acquire_lease("p1", at(0), at(10)).await.unwrap();
    // At the very moment of its expiry a lease is free.
    let second = store.acquire_lease("p2", at(10), at(20)).await.unwrap();
    assert_eq!(second, LeaseOutcome::Held(lease("p2", 2, 20)));
    // Its own holder too begins anew once it was late.
    let third = store.acquire_lease("p2", at(21), at(30)).await.unwrap();
    assert_eq!(third, LeaseOutcome::Held(lease("p2", 3, 30)));
}

async fn only_the_live_term_is_renewed(store: &dyn Whole) {
    assert_conflict(store.renew_lease("p1", LeaseEpoch(1), at(0), at(10)).await);
    store.acquire_lease("p1", at(0), at(10)).await.unwrap();
    let renewed = store
        .renew_lease("p1", LeaseEpoch(1), at(5), at(15))
        .await
        .unwrap();
    assert_eq!(renewed, lease("p1", 1, 15));
    assert_conflict(store.renew_lease("p2", LeaseEpoch(1), at(6), at(16)).await);
    assert_conflict(store.renew_lease("p1", LeaseEpoch(2), at(6), at(16)).await);
    assert_conflict(store.renew_lease("p1", LeaseEpoch(1), at(15), at(25)).await);
    assert_eq!(store.load_lease().await.unwrap(), Some(lease("p1", 1, 15)));
}

async fn a_released_lease_is_free_at_once(store: &dyn Whole) {
    store.acquire_lease("p1", at(0), at(10)).await.unwrap();
    store.release_lease("p2", LeaseEpoch(1)).await.unwrap();
    store.release_lease("p1", LeaseEpoch(0)).await.unwrap();
    assert_eq!(store.load_lease().await.unwrap(), Some(lease("p1", 1, 10)));
    store.release_lease("p1", LeaseEpoch(1)).await.unwrap();
    let released = Lease {
        holder: None,
        ..lease("p1", 1, 10)
    };
    assert_eq!(store.load_lease().await.unwrap(), Some(released));
    assert_conflict(store.renew_lease("p1", LeaseEpoch(1), at(1), at(11)).await);
    let next = store.acquire_lease("p2", at(1), at(11)).await.unwrap();
    assert_eq!(next, LeaseOutcome::Held(lease("p2", 2, 11)));
}

async fn moves_come_back_sorted_and_rewritten(store: &dyn Whole) {
    let record = |id: &str, step: &str| MoveRecord {
        id: id.to_owned(),
        state: json!({"step": step}),
        updated_at: at(1),
    };
    for (id, step) in [("m2", "copy"), ("m1", "copy"), ("m2", "verify")] {
        store.put_move(record(id, step)).await.unwrap();
    }
    let expected = [record("m1", "copy"), record("m2", "verify")];
    assert_eq!(store.load_moves().await.unwrap(), expected);
    store.remove_move("m1").await.unwrap();
    store.remove_move("m1").await.unwrap();
    assert_eq!(store.load_moves().await.unwrap(), expected[1..]);
}

fn session(min_task: Option<u64>, seconds: i64) -> SessionRecord {
    SessionRecord {
        id: "s".to_owned(),
        min_task: min_task.map(TaskUid),
        pinned: Some("z1".to_owned()),
        expires_at: at(seconds),
    }
}

async fn a_session_never_goes_back_while_it_lives(store: &dyn Whole) {
    assert_eq!(
        store.put_session(session(None, 10), at(0)).await.unwrap(),
        session(None, 10)
    );
    store
        .put_session(session(Some(7), 10), at(1))
        .await
        .unwrap();
    let kept = store
        .put_session(session(Some(3), 12), at(2))
        .await
        .unwrap();
    assert_eq!(kept, session(Some(7), 12));
    assert_eq!(store.load_session("s", at(3)).await.unwrap(), Some(kept));
    let anew = store
        .put_session(session(Some(3), 30), at(12))
        .await
        .unwrap();
    assert_eq!(anew, session(Some(3), 30));
}

async fn an_expired_session_is_gone(store: &dyn Whole) {
    store
        .put_session(session(Some(1), 10), at(0))
        .await
        .unwrap();
    let other = SessionRecord {
        id: "t".to_owned(),
        pinned: None,
        ..session(None, 20)
    };
    store.put_session(other.clone(), at(0)).await.unwrap();
    assert!(store.load_session("s", at(9)).await.unwrap().is_some());
    assert_eq!(store.load_session("s", at(10)).await.unwrap(), None);
    assert_eq!(store.remove_expired_sessions(at(10)).await.unwrap(), 1);
    assert_eq!(store.remove_expired_sessions(at(10)).await.unwrap(), 0);
    assert_eq!(store.load_session("s", at(0)).await.unwrap(), None);
    assert_eq!(store.load_session("t", at(10)).await.unwrap(), Some(other));
    store.remove_session("t").await.unwrap();
    assert_eq!(store.load_session("t", at(10)).await.unwrap(), None);
}

fn key(digest: u8, seconds: i64) -> IdempotencyKey {
    let body_sha256 = [digest; 32];
    IdempotencyKey {
        key: "k".to_owned(),
        body_sha256,
        expires_at: at(seconds),
    }
}

fn record(digest: u8, seconds: i64, task: u64) -> IdempotencyRecord {
    IdempotencyRecord {
        key: key(digest, seconds),
        task: TaskUid(task),
    }
}

async fn a_key_carries_one_entry_into_the_log(store: &dyn Whole) {
    append(store, entry("a")).await;
    let first = store
        .append_once(key(1, 10), entry("a"), at(0))
        .await
        .unwrap();
    assert_eq!(first, OnceOutcome::First(record(1, 10, 1)));
    for digest in [1, 2] {
        let again = store
            .append_once(key(digest, 20), entry("a"), at(9))
            .await
            .unwrap();
        assert_eq!(again, OnceOutcome::Repeated(record(1, 10, 1)));
    }
    assert_eq!(store.load_task(TaskUid(2)).await.unwrap(), None);
    assert_eq!(
        store.load_idempotency("k", at(9)).await.unwrap(),
        Some(record(1, 10, 1))
    );
    assert_eq!(store.load_idempotency("other", at(9)).await.unwrap(), None);
}

async fn an_expired_key_is_free_again(store: &dyn Whole) {
    store
        .append_once(key(1, 10), entry("a"), at(0))
        .await
        .unwrap();
    assert_eq!(store.load_idempotency("k", at(10)).await.unwrap(), None);
    let anew = store
        .append_once(key(2, 20), entry("a"), at(10))
        .await
        .unwrap();
    assert_eq!(anew, OnceOutcome::First(record(2, 20, 1)));
    assert_eq!(store.remove_expired_idempotency(at(19)).await.unwrap(), 0);
    assert_eq!(store.remove_expired_idempotency(at(20)).await.unwrap(), 1);
    assert_eq!(store.load_idempotency("k", at(0)).await.unwrap(), None);
}

async fn inserting_a_key_does_not_replace_it(store: &dyn Whole) {
    let first = store
        .insert_idempotency(record(1, 10, 5), at(0))
        .await
        .unwrap();
    assert_eq!(first, OnceOutcome::First(record(1, 10, 5)));
    let second = store
        .insert_idempotency(record(2, 20, 6), at(5))
        .await
        .unwrap();
    assert_eq!(second, OnceOutcome::Repeated(record(1, 10, 5)));
    let third = store
        .insert_idempotency(record(2, 20, 6), at(10))
        .await
        .unwrap();
    assert_eq!(third, OnceOutcome::First(record(2, 20, 6)));
    assert_eq!(store.load_task(TaskUid(0)).await.unwrap(), None);
}

fn single(name: &str) -> AliasTarget {
    AliasTarget::Single(index(name))
}

async fn an_alias_counts_its_changes(store: &dyn Whole) {
    let name = index("current");
    let multi = AliasTarget::Multi(vec![index("b"), index("a")]);
    let first = store
        .put_alias(&name, single("a"), None, at(0))
        .await
        .unwrap();
    let second = store
        .put_alias(&name, multi.clone(), None, at(1))
        .await
        .unwrap();
    assert_eq!((first.version, second.version), (1, 2));
    let other = store
        .put_alias(&index("another"), single("x"), None, at(2))
        .await
        .unwrap();
    assert_eq!(store.load_aliases().await.unwrap(), [other, second]);

    store.remove_alias(&name, at(3)).await.unwrap();
    store.remove_alias(&name, at(4)).await.unwrap();
    assert_eq!(store.load_aliases().await.unwrap().len(), 1);
    let anew = store
        .put_alias(&name, single("c"), None, at(5))
        .await
        .unwrap();
    assert_eq!((anew.version, anew.updated_at), (4, at(5)));
    let change = |version, target, seconds| AliasChange {
        version,
        target,
        changed_at: at(seconds),
    };
    let expected = [
        change(4, Some(single("c")), 5),
        change(3, None, 3),
        change(2, Some(multi), 1),
        change(1, Some(single("a")), 0),
    ];
    assert_eq!(store.load_alias_history(&name).await.unwrap(), expected);
}

async fn an_alias_changes_only_from_the_expected_version(store: &dyn Whole) {
    let name = index("current");
    assert_conflict(store.put_alias(&name, single("a"), Some(1), at(0)).await);
    store
        .put_alias(&name, single("a"), Some(0), at(0))
        .await
        .unwrap();
    assert_conflict(store.put_alias(&name, single("b"), Some(0), at(1)).await);
    let second = store
        .put_alias(&name, single("b"), Some(1), at(1))
        .await
        .unwrap();
    assert_eq!(store.load_aliases().await.unwrap(), [second]);
    store.remove_alias(&name, at(2)).await.unwrap();
    assert_conflict(store.put_alias(&name, single("c"), Some(3), at(3)).await);
    let anew = store
        .put_alias(&name, single("c"), Some(0), at(3))
        .await
        .unwrap();
    assert_eq!(anew.version, 4);
}

async fn an_alias_remembers_its_last_states(store: &dyn Whole) {
    let name = index("current");
    let change_count = ALIAS_HISTORY_MAX as u64 + 3;
    for version in 1..=change_count {
        let alias = store
            .put_alias(&name, single("a"), None, at(0))
            .await
            .unwrap();
        assert_eq!(alias.version, version);
    }
    let history = store.load_alias_history(&name).await.unwrap();
    assert_eq!(history.len(), ALIAS_HISTORY_MAX);
    assert_eq!(history[0].version, change_count);
    assert_eq!(history[ALIAS_HISTORY_MAX - 1].version, 4);
}

async fn api_keys_come_back_sorted_and_rewritten(store: &dyn Whole) {
    let record = |uid: u128, name: &str| ApiKeyRecord {
        uid: Uuid::from_u128(uid),
        record: json!(name),
    };
    store.add_api_key(record(2, "b")).await.unwrap();
    store.add_api_key(record(1, "a")).await.unwrap();
    assert_conflict(store.add_api_key(record(1, "other")).await);
    store.put_api_key(record(2, "c")).await.unwrap();
    assert_eq!(
        store.load_api_keys().await.unwrap(),
        [record(1, "a"), record(2, "c")]
    );
    assert!(store.remove_api_key(Uuid::from_u128(1)).await.unwrap());
    assert!(!store.remove_api_key(Uuid::from_u128(1)).await.unwrap());
    assert_eq!(store.load_api_keys().await.unwrap(), [record(2, "c")]);
}

async fn features_keep_what_is_not_spoken_of(store: &dyn Whole) {
    assert!(store.load_features().await.unwrap().is_empty());
    let features = |list: &[(&str, bool)]| -> BTreeMap<String, bool> {
        list.iter()
            .map(|(name, is_enabled)| ((*name).to_owned(), *is_enabled))
            .collect()
    };
    store
        .put_features(features(&[("metrics", true), ("network", false)]))
        .await
        .unwrap();
    store
        .put_features(features(&[("network", true)]))
        .await
        .unwrap();
    let expected = features(&[("metrics", true), ("network", true)]);
    assert_eq!(store.load_features().await.unwrap(), expected);
}

async fn webhooks_come_back_sorted_and_rewritten(store: &dyn Whole) {
    let record = |uuid: u128, url: &str| WebhookRecord {
        uuid: Uuid::from_u128(uuid),
        record: json!(url),
    };
    for (uuid, url) in [(2, "b"), (1, "a"), (2, "c")] {
        store.put_webhook(record(uuid, url)).await.unwrap();
    }
    assert_eq!(
        store.load_webhooks().await.unwrap(),
        [record(1, "a"), record(2, "c")]
    );
    assert!(store.remove_webhook(Uuid::from_u128(2)).await.unwrap());
    assert!(!store.remove_webhook(Uuid::from_u128(2)).await.unwrap());
    assert_eq!(store.load_webhooks().await.unwrap(), [record(1, "a")]);
}
