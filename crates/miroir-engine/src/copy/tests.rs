use super::*;

#[test]
fn the_stored_form_of_a_refill_is_pinned() {
    let refill = Refill {
        below: BatchUid(7),
        reason: "lost".into(),
        is_running: true,
        indexes: vec![IndexCopy {
            index: PhysicalIndex::from_stored("m__1"),
            is_begun: true,
            shards: vec![ShardId(3)],
            together: 0,
            list: Some(PayloadRef::File {
                name: "x".into(),
                bytes: 9,
            }),
            offset: 4,
        }],
        shard_count: 2,
        shards_done: 1,
        documents: 5,
        bytes: 6,
    };
    let text = serde_json::to_string(&refill).unwrap();
    assert_eq!(
        text,
        r#"{"below":7,"reason":"lost","isRunning":true,"indexes":[{"index":"m__1","isBegun":true,"shards":[3],"list":{"file":{"name":"x","bytes":9}},"offset":4}],"shardCount":2,"shardsDone":1,"documents":5,"bytes":6}"#
    );
    assert_eq!(serde_json::from_str::<Refill>(&text).unwrap(), refill);
}
