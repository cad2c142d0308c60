//! Silence, connections that die, and answers that break off or never end.

use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[tokio::test]
async fn silence_is_an_unknown_outcome() {
    let never = Router::new().fallback(|| async {
        std::future::pending::<()>().await;
    });
    let fake = FakeNode::serving(never, Arc::default()).await;
    let short = Duration::from_millis(20);
    let e = fake
        .client
        .submit(&node(), addition(&["{}"]), short)
        .await
        .unwrap_err();
    assert!(matches!(e, NodeError::UnknownOutcome { .. }), "{e:?}");
    let e = fake
        .client
        .read(&node(), NodeRead::Health, short)
        .await
        .unwrap_err();
    assert!(matches!(e, NodeError::UnknownOutcome { .. }), "{e:?}");
    let query = NodeTaskQuery {
        limit: 1,
        ..Default::default()
    };
    let e = fake
        .client
        .fetch_tasks(&node(), query, short)
        .await
        .unwrap_err();
    assert!(matches!(e, NodeError::UnknownOutcome { .. }), "{e:?}");
}

/// Reads one request without a body, or with a body that comes with its head.
async fn read_request(stream: &mut TcpStream) -> usize {
    let mut buffer = [0; 4096];
    stream.read(&mut buffer).await.unwrap()
}

async fn answer(stream: &mut TcpStream) {
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{\"taskUid\":1}";
    stream.write_all(answer).await.unwrap();
}

/// A server that answers one request on each connection, and drops the connection when the second
/// has come. Returns its address and, at the end, how many requests it dropped.
async fn forgetful_server() -> (String, JoinHandle<()>, Arc<Mutex<u32>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let dropped = Arc::new(Mutex::new(0));
    let count = Arc::clone(&dropped);
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await;
            answer(&mut stream).await;
            if read_request(&mut stream).await > 0 {
                *count.lock().unwrap() += 1;
            }
        }
    });
    (url, server, dropped)
}

#[tokio::test]
async fn a_read_on_a_connection_that_dies_is_sent_once_more() {
    let (url, server, dropped) = forgetful_server().await;
    let client = client_of(url, None);
    client
        .read(&node(), NodeRead::Health, PATIENT)
        .await
        .unwrap();
    client
        .read(&node(), NodeRead::Health, PATIENT)
        .await
        .unwrap();
    assert_eq!(*dropped.lock().unwrap(), 1);
    server.abort();
}

#[tokio::test]
async fn a_write_on_a_connection_that_dies_is_not_sent_again() {
    let (url, server, dropped) = forgetful_server().await;
    let client = client_of(url, None);
    let delete = || NodeWrite::DeleteIndex { index: index() };
    client.submit(&node(), delete(), PATIENT).await.unwrap();
    let e = client.submit(&node(), delete(), PATIENT).await.unwrap_err();
    assert!(matches!(e, NodeError::UnknownOutcome { .. }), "{e:?}");
    assert_eq!(*dropped.lock().unwrap(), 1);
    server.abort();
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_unknown_outcome() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"task")
            .await
            .unwrap();
    });
    let client = client_of(url, None);
    let e = client
        .read(&node(), NodeRead::Health, PATIENT)
        .await
        .unwrap_err();
    assert!(matches!(&e, NodeError::UnknownOutcome { .. }), "{e:?}");
    server.await.unwrap();
}

#[tokio::test]
async fn an_answer_beyond_the_bound_is_refused() {
    let mut fake = FakeNode::answering(200, "x".repeat(1001)).await;
    fake.client.http = fake.client.http.clone().with_answer_bytes_max(1000);
    let e = fake.read().await.unwrap_err();
    assert!(
        matches!(&e, NodeError::Failed { cause, .. } if cause.contains("1000")),
        "{e:?}"
    );

    fake.client.http = fake.client.http.clone().with_answer_bytes_max(1001);
    assert_eq!(fake.read().await.unwrap().len(), 1001);
}

#[tokio::test]
async fn a_long_answer_comes_whole() {
    let text: String = (0..200_000).map(|n| format!("{n},")).collect();
    let fake = FakeNode::answering(200, &text).await;
    assert_eq!(fake.read().await.unwrap(), text);
}

#[tokio::test]
async fn connections_are_kept_and_shared_by_calls_in_turn() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let accepted = Arc::new(Mutex::new(0));
    let count = Arc::clone(&accepted);
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            *count.lock().unwrap() += 1;
            tokio::spawn(async move {
                while read_request(&mut stream).await > 0 {
                    answer(&mut stream).await;
                }
            });
        }
    });
    let client = client_of(url, None);
    for _ in 0..20 {
        client
            .read(&node(), NodeRead::Health, PATIENT)
            .await
            .unwrap();
    }
    // The connection goes back to the pool just after the answer, so a quick caller may open
    // a second one; never one for each call.
    assert!(
        *accepted.lock().unwrap() < 10,
        "{} connections",
        accepted.lock().unwrap()
    );
    server.abort();
}
