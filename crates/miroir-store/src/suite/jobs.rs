//! Laws of jobs and their claims.

use super::*;
use miroir_engine::coordination::{JobClaim, JobEnd, JobRecord, JobState, NewJob};

on_every_store!(
    a_new_job_is_queued_and_its_id_taken,
    the_oldest_claimable_job_of_a_kind_comes_first,
    an_expired_claim_is_anybodys,
    only_a_live_claim_is_renewed_or_finished,
    a_failed_job_tells_why,
    a_canceled_job_stops_its_worker,
    only_a_job_that_ended_is_removed,
);

fn job(id: &str, kind: &str) -> NewJob {
    NewJob {
        id: id.to_owned(),
        kind: kind.to_owned(),
        params: json!({"of": id}),
    }
}

async fn claim(store: &dyn Whole, kinds: &[&str], holder: &str, now: i64) -> Option<JobRecord> {
    store
        .claim_job(kinds, holder, at(now), at(now + 10))
        .await
        .unwrap()
}

async fn a_new_job_is_queued_and_its_id_taken(store: &dyn Whole) {
    let added = store.add_job(job("j1", "dump"), at(1)).await.unwrap();
    let expected = JobRecord {
        id: "j1".to_owned(),
        kind: "dump".to_owned(),
        params: json!({"of": "j1"}),
        state: JobState::Queued,
        claim: None,
        progress: json!(null),
        error: None,
        created_at: at(1),
        updated_at: at(1),
    };
    assert_eq!(added, expected);
    assert_eq!(store.load_job("j1").await.unwrap(), Some(expected));
    assert_conflict(store.add_job(job("j1", "other"), at(2)).await);
    assert_eq!(store.load_job("missing").await.unwrap(), None);
}

async fn the_oldest_claimable_job_of_a_kind_comes_first(store: &dyn Whole) {
    for (id, kind, moment) in [("c", "x", 3), ("b", "x", 1), ("a", "x", 1), ("d", "y", 0)] {
        store.add_job(job(id, kind), at(moment)).await.unwrap();
    }
    let ids: Vec<String> = store
        .load_jobs()
        .await
        .unwrap()
        .into_iter()
        .map(|job| job.id)
        .collect();
    assert_eq!(ids, ["d", "a", "b", "c"]);
    for expected in ["a", "b", "c"] {
        let claimed = claim(store, &["x", "z"], "p1", 5).await.unwrap();
        assert_eq!(
            (claimed.id.as_str(), claimed.state),
            (expected, JobState::Running)
        );
        let claim = JobClaim {
            holder: "p1".to_owned(),
            expires_at: at(15),
        };
        assert_eq!(
            (claimed.claim.as_ref(), claimed.updated_at),
            (Some(&claim), at(5))
        );
        assert_eq!(store.load_job(expected).await.unwrap(), Some(claimed));
    }
    assert_eq!(claim(store, &["x", "z"], "p1", 5).await, None);
    assert_eq!(claim(store, &[], "p1", 5).await, None);
}

async fn an_expired_claim_is_anybodys(store: &dyn Whole) {
    store.add_job(job("j", "x"), at(0)).await.unwrap();
    claim(store, &["x"], "p1", 0).await.unwrap();
    store
        .renew_job("j", "p1", json!({"done": 3}), at(5), at(10))
        .await
        .unwrap();
    assert_eq!(claim(store, &["x"], "p2", 9).await, None);
    let taken = claim(store, &["x"], "p2", 10).await.unwrap();
    assert_eq!(taken.claim.unwrap().holder, "p2");
    assert_eq!(taken.progress, json!({"done": 3}));
}

async fn only_a_live_claim_is_renewed_or_finished(store: &dyn Whole) {
    assert_conflict(store.renew_job("j", "p1", json!(1), at(0), at(9)).await);
    store.add_job(job("j", "x"), at(0)).await.unwrap();
    assert_conflict(store.renew_job("j", "p1", json!(1), at(0), at(9)).await);
    claim(store, &["x"], "p1", 0).await.unwrap();
    assert_conflict(store.renew_job("j", "p2", json!(1), at(1), at(9)).await);
    assert_conflict(store.renew_job("j", "p1", json!(1), at(10), at(19)).await);
    assert_conflict(store.finish_job("j", "p2", JobEnd::Succeeded, at(1)).await);
    assert_conflict(store.finish_job("j", "p1", JobEnd::Succeeded, at(10)).await);

    let renewed = store
        .renew_job("j", "p1", json!(1), at(9), at(20))
        .await
        .unwrap();
    assert_eq!(
        (renewed.progress.clone(), renewed.updated_at),
        (json!(1), at(9))
    );
    let ended = store
        .finish_job("j", "p1", JobEnd::Succeeded, at(19))
        .await
        .unwrap();
    let expected = JobRecord {
        state: JobState::Succeeded,
        updated_at: at(19),
        ..renewed
    };
    assert_eq!(ended, expected);
    assert_eq!(store.load_job("j").await.unwrap(), Some(expected));
    assert_eq!(claim(store, &["x"], "p2", 99).await, None);
}

async fn a_failed_job_tells_why(store: &dyn Whole) {
    store.add_job(job("j", "x"), at(0)).await.unwrap();
    claim(store, &["x"], "p1", 0).await.unwrap();
    let end = JobEnd::Failed(json!({"message": "no space"}));
    store.finish_job("j", "p1", end, at(1)).await.unwrap();
    let job = store.load_job("j").await.unwrap().unwrap();
    assert_eq!(
        (job.state, job.error),
        (JobState::Failed, Some(json!({"message": "no space"})))
    );
}

async fn a_canceled_job_stops_its_worker(store: &dyn Whole) {
    assert_conflict(store.cancel_job("j", at(0)).await);
    store.add_job(job("j", "x"), at(0)).await.unwrap();
    claim(store, &["x"], "p1", 0).await.unwrap();
    let canceled = store.cancel_job("j", at(1)).await.unwrap();
    assert_eq!(canceled.state, JobState::Canceled);
    assert_conflict(store.renew_job("j", "p1", json!(1), at(2), at(9)).await);
    assert_eq!(claim(store, &["x"], "p2", 99).await, None);
    assert_eq!(store.cancel_job("j", at(5)).await.unwrap(), canceled);
}

async fn only_a_job_that_ended_is_removed(store: &dyn Whole) {
    store.add_job(job("j", "x"), at(0)).await.unwrap();
    assert_conflict(store.remove_job("j").await);
    store.cancel_job("j", at(1)).await.unwrap();
    store.remove_job("j").await.unwrap();
    store.remove_job("j").await.unwrap();
    assert_eq!(store.load_job("j").await.unwrap(), None);
}
