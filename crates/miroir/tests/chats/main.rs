//! Conversations over three nodes with two copies: what the LLM is told and what the client sees.
//!
//! The LLM is a small server of the test. `MIROIR_TEST_NODE` runs the same conversations on one real
//! server too, and both must be told and see the same; without it, only Miroir is looked at, for the
//! bundled node knows no chats.

#![expect(clippy::unwrap_used, reason = "a step that fails shall fail its test")]

mod llm;

use llm::Llm;
use miroir_testkit::{
    Answer, Body, Http, NodeOptions, NodeProcess, PATIENCE, Programs, ProxyOptions, ProxyProcess,
    Request, poll,
};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::TcpStream;

const MASTER_KEY: &str = "MASTER_KEY_OF_TESTS";
const KEY_UID: &str = "6062abda-a5aa-4414-ac91-ecd7944c0f8d";
/// The key of that uid under that master key.
const KEY: &str = "55cd525aa27a94dc227b81aefb702e62c049d5d981c04e78a5e54387600659b8";
/// A token signed with it: of `movies` those after 1980.
const TENANT: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzZWFyY2hSdWxlcyI6eyJtb3ZpZXMiOnsiZmlsdGVyIjoieWVhciA-IDE5ODAifX0sImFwaUtleVVpZCI6IjYwNjJhYmRhLWE1YWEtNDQxNC1hYzkxLWVjZDc5NDRjMGY4ZCJ9.gUhtrXWcc6_4UIJxA4V4z2HdlyT9ax9fwHomv-d79-w";

/// One server and the LLM that it talks to.
struct Side {
    address: std::net::SocketAddr,
    llm: Llm,
}

impl Side {
    fn send(&self, key: &str, method: &str, path: &str, body: &Value) -> Answer {
        let http = Http::new(self.address, Some(key));
        let text = body.to_string();
        let body = if body.is_null() {
            Body::Empty
        } else {
            Body::Bytes(text.as_bytes())
        };
        let headers = [("content-type", "application/json")];
        let request = Request {
            method,
            path,
            headers: &headers,
        };
        http.send(request, body).unwrap()
    }

    fn json(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.send(MASTER_KEY, method, path, body);
        assert!(answer.status < 300, "{method} {path}: {answer:?}");
        serde_json::from_slice(&answer.body).unwrap_or_default()
    }

    /// Sends a write and waits for its task, which is returned.
    fn write(&self, method: &str, path: &str, body: &Value) -> Value {
        let uid = self.json(method, path, body)["taskUid"].clone();
        poll("the end of a task", PATIENCE, || {
            let task = self.json("GET", &format!("/tasks/{uid}"), &Value::Null);
            let is_over = !matches!(task["status"].as_str(), Some("enqueued" | "processing"));
            Ok(is_over.then_some(task))
        })
        .unwrap()
    }

    fn set_up(&self) {
        self.json(
            "PATCH",
            "/experimental-features",
            &json!({"chatCompletions": true}),
        );
        let key = json!({
            "uid": KEY_UID, "actions": ["chatCompletions", "search"], "indexes": ["movies", "b*"],
            "expiresAt": null,
        });
        self.json("POST", "/keys", &key);
        let settings = json!({
            "baseUrl": format!("http://{}/v1", self.llm.address), "apiKey": "sk-secret",
            "orgId": "org", "projectId": "proj",
            "prompts": {
                "system": "SYSTEM", "searchDescription": "SEARCH", "searchQParam": "Q",
                "searchFilterParam": "FILTER", "searchIndexUidParam": "INDEX",
            },
        });
        self.json("PATCH", "/chats/w/settings", &settings);
        let settings = json!({
            "filterableAttributes": ["genre", "year", "tag", "nowhere"],
            "searchableAttributes": ["title", "genre", "text"],
            "displayedAttributes": ["id", "title", "year"], "sortableAttributes": ["year"],
            "chat": {"description": "Films \"of all times\"", "searchParameters": {"limit": 4}},
        });
        self.write("PATCH", "/indexes/movies/settings", &settings);
        let documents: Value = (0..60).map(document).collect();
        self.write(
            "POST",
            "/indexes/movies/documents?primaryKey=id",
            &documents,
        );
        let books =
            json!([{"isbn": "a-1", "name": "Tea", "price": 3.5}, {"isbn": "b_2", "name": null}]);
        self.write("POST", "/indexes/books/documents?primaryKey=isbn", &books);
    }

    /// What the client sees of a conversation, and what the LLM is told.
    fn talk(&self, key: &str, request: &Value) -> (Value, Value) {
        let answer = self.send(key, "POST", "/chats/w/chat/completions", request);
        let text = String::from_utf8(answer.body.clone()).unwrap();
        let told = masked(&Value::from(self.llm.take()), &self.llm);
        if answer.header("content-type") != Some("text/event-stream") {
            return (json!([answer.status, text]), told);
        }
        let mut seen = vec![json!(answer.status)];
        for name in ["x-accel-buffering", "cache-control"] {
            seen.push(json!(answer.header(name)));
        }
        for event in text.split("\n\n") {
            let data = event.strip_prefix("data: ").unwrap_or(event);
            let data = serde_json::from_str(data).unwrap_or_else(|_| json!(data));
            seen.push(masked(&data, &self.llm));
        }
        (Value::from(seen), told)
    }
}

fn document(id: usize) -> Value {
    let titles = ["Alien", "Brazil", "Casablanca", "Dune", "Amelie", "Aliens"];
    let genres = ["horror", "scifi", "drama", "comedy", "war", "crime", "noir"];
    let title = format!("{} {id}", titles[id % titles.len()]);
    // How often each genre comes tells them apart.
    let genre: Vec<&str> = (0..genres.len())
        .filter(|at| id.is_multiple_of(at + 1))
        .map(|at| genres[at])
        .collect();
    json!({
        "id": id, "title": title, "genre": genre, "year": 1960 + id,
        "text": if id.is_multiple_of(3) { json!({"a": [1, 2.5, null]}) } else { json!(null) },
        "tag": format!("tag{}", id % 3), "hidden": true,
    })
}

/// Without what no two conversations share; texts that are JSON are taken as such.
fn masked(value: &Value, llm: &Llm) -> Value {
    match value {
        Value::Array(values) => values.iter().map(|value| masked(value, llm)).collect(),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| {
                let is_made = name == "event_id"
                    || (name == "id" && value.as_str().is_some_and(|id| id.len() == 36));
                let value = if is_made && value.is_string() {
                    json!("made anew")
                } else {
                    masked(value, llm)
                };
                (name.clone(), value)
            });
            Value::Object(members.collect())
        }
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(inner @ (Value::Array(_) | Value::Object(_))) => masked(&inner, llm),
            _ => json!(text.replace(&llm.address.to_string(), "llm")),
        },
        other => other.clone(),
    }
}

/// Miroir over three nodes and, if there are real ones, one of these alone.
struct Pair {
    miroir: Side,
    single: Option<Side>,
    /// Where the two differ, shown at the end.
    unlike: RefCell<Vec<String>>,
    _proxy: ProxyProcess,
    _nodes: Vec<NodeProcess>,
}

impl Pair {
    fn start() -> Self {
        let programs = Programs::new(env!("CARGO_BIN_EXE_miroir"));
        let start = |options: NodeOptions| NodeProcess::start(&programs.node, options).unwrap();
        let mut nodes: Vec<NodeProcess> = (0..3).map(|_| start(NodeOptions::default())).collect();
        let options = ProxyOptions {
            master_key: Some(MASTER_KEY.to_owned()),
            ..ProxyOptions::over(nodes.iter().map(NodeProcess::url))
                .with("allowed_ip_networks = \"127.0.0.0/8\"")
        };
        let proxy = ProxyProcess::start(&programs, options).unwrap();
        proxy.wait_ready().unwrap();
        let single = programs.has_real_nodes().then(|| {
            let node = start(NodeOptions {
                master_key: Some(MASTER_KEY.to_owned()),
                // Else it would not speak to its own machine.
                arguments: vec!["--experimental-allowed-ip-networks=any".to_owned()],
            });
            let address = node.address();
            nodes.push(node);
            Side {
                address,
                llm: Llm::start(),
            }
        });
        let pair = Self {
            miroir: Side {
                address: proxy.client().http().address(),
                llm: Llm::start(),
            },
            single,
            unlike: RefCell::default(),
            _proxy: proxy,
            _nodes: nodes,
        };
        for side in pair.sides() {
            side.set_up();
        }
        pair
    }

    fn sides(&self) -> impl Iterator<Item = &Side> {
        std::iter::once(&self.miroir).chain(&self.single)
    }

    /// What is seen and told, which must be the same on both sides.
    fn check_as(&self, key: &str, words: &str, more: &Value) -> (Value, Value) {
        let mut request = json!({
            "model": "gpt-4o", "stream": true, "temperature": 0.7, "unknown": 1,
            "messages": [{"role": "user", "content": words}],
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            request[name] = value.clone();
        }
        let (seen, told) = self.miroir.talk(key, &request);
        if let Some(single) = &self.single {
            let (seen_there, told_there) = single.talk(key, &request);
            for (what, here, there) in [("sees", &seen, &seen_there), ("told", &told, &told_there)]
            {
                if here != there {
                    let unlike = format!("{what} {words} {more}\nmiroir {here}\nsingle {there}\n");
                    self.unlike.borrow_mut().push(unlike);
                }
            }
        }
        (seen, told)
    }

    fn check(&self, words: &str) -> (Value, Value) {
        self.check_as(MASTER_KEY, words, &wishes())
    }

    fn write(&self, method: &str, path: &str, body: &Value) {
        let mut tasks = self.sides().map(|side| {
            let task = side.write(method, path, body);
            json!([task["status"], task["error"], task["details"]])
        });
        let first = tasks.next();
        for other in tasks {
            if first.as_ref() != Some(&other) {
                let unlike = format!("{method} {path} {body}\nmiroir {first:?}\nsingle {other}\n");
                self.unlike.borrow_mut().push(unlike);
            }
        }
    }
}

fn wishes() -> Value {
    let names = [
        "_meiliSearchProgress",
        "_meiliSearchSources",
        "_meiliAppendConversationMessage",
    ];
    let tool = |name: &&str| json!({"type": "function", "function": {"name": name}});
    json!({"tools": names.iter().map(tool).collect::<Vec<_>>()})
}

fn search(calls: Value) -> String {
    format!("search {calls}")
}

#[test]
fn conversations_are_as_with_one_meilisearch() {
    let pair = Pair::start();
    check_what_is_told_first(&pair);
    check_searches(&pair);
    check_rights(&pair);
    check_failures(&pair);
    check_templates(&pair);
    check_a_client_that_goes(&pair);
    let unlike = pair.unlike.take();
    assert!(unlike.is_empty(), "{}", unlike.join("\n"));
}

fn check_what_is_told_first(pair: &Pair) {
    let (seen, told) = pair.check_as(MASTER_KEY, "hi", &json!({"model": "o3", "seed": -1}));
    assert_eq!(told.as_array().unwrap().len(), 1);
    assert_eq!(told[0]["path"], "/v1/chat/completions");
    assert_eq!(told[0]["headers"]["authorization"], "Bearer sk-secret");
    let body = &told[0]["body"];
    assert_eq!(
        body["messages"][0],
        json!({"role": "developer", "content": "SYSTEM"})
    );
    let function = &body["tools"][0]["function"];
    assert_eq!(
        function["description"],
        "SEARCH\n\n - books: \n\n\n\n - movies: Films \"of all times\"\n\n"
    );
    let parameters = &function["parameters"]["properties"];
    assert_eq!(parameters["index_uid"]["enum"], json!(["books", "movies"]));
    assert_eq!(
        parameters["filter"]["description"],
        "FILTER\n## Facet distributions of the books index\n\n\
         \n## Facet distributions of the movies index\n\
         genre: horror, scifi, drama, comedy, war, crime, noir.\n\
         tag: tag2, tag1, tag0.\n\
         year: 2019, 2018, 2017, 2016, 2015, 2014, 2013, 2012, 2011, 2010.\n\n"
    );
    let text = seen.to_string();
    assert!(text.contains("Hello") && text.contains("[DONE]"), "{text}");
    assert!(text.contains("retry: 10000"), "{text}");
    pair.check_as(
        MASTER_KEY,
        "parts",
        &json!({"max_tokens": 7, "stop": ["a"]}),
    );
    // What Meilisearch refuses before it asks anybody.
    for more in [
        json!({"tools": [{"type": "function", "function": {"name": "own"}}]}),
        json!({"tools": [{"type": "function", "function": {"name": "_meiliSearchInIndex"}}]}),
        json!({"n": 2}),
        json!({"stream": false}),
        json!({"messages": 1}),
        json!({"messages": [{"role": "robot"}]}),
        json!({"tool_choice": {"type": "other"}}),
    ] {
        let (seen, told) = pair.check_as(MASTER_KEY, "hi", &more);
        assert!(seen[0].as_u64() >= Some(400) && told == json!([]), "{seen}");
    }
}

fn check_searches(pair: &Pair) {
    let all = json!({"index_uid": "movies", "q": "", "filter": ""});
    let (seen, told) = pair.check(&search(json!([all])));
    assert_eq!(told.as_array().unwrap().len(), 2);
    let found = told[1]["body"]["messages"]
        .as_array()
        .unwrap()
        .last()
        .unwrap();
    let text = found["content"].as_str().unwrap();
    assert!(
        text.starts_with("title: Alien 0\ngenre: horrorscifidrama"),
        "{text}"
    );
    // Documents as clients may see them.
    let text = seen.to_string();
    assert!(text.contains("_meiliSearchSources"), "{text}");
    assert!(
        !text.contains("hidden") && !text.contains("_miroir"),
        "{text}"
    );
    for call in [
        json!({"index_uid": "movies", "q": "aliens", "filter": "year > 1980 AND genre = drama"}),
        json!({"index_uid": "movies", "q": null, "filter": null}),
        json!({"index_uid": "movies", "filter": "tag IN [tag1, tag2]"}),
        json!({"index_uid": "movies", "q": "nothing like this", "filter": ""}),
        json!({"index_uid": "books", "q": "tea", "filter": ""}),
        // Calls that are wrong.
        json!({"index_uid": "movies", "q": "", "filter": "title = x"}),
        json!({"index_uid": "movies", "q": "", "filter": "year = 1 AND text = x"}),
        json!({"index_uid": "books", "q": "", "filter": "price > 2"}),
        json!({"index_uid": "movies", "q": "", "filter": "year = = x"}),
        json!({"index_uid": "movies", "q": "", "filter": "year CONTAINS 1"}),
        json!({"index_uid": "movies", "q": "", "filter": "_geoRadius(1, 2)"}),
        json!({"index_uid": "nobody", "q": "", "filter": ""}),
        json!({"index_uid": "no name!", "q": "", "filter": ""}),
        json!({"q": "a"}),
        json!("{rubbish"),
    ] {
        pair.check(&search(json!([call])));
    }
    for parameters in [
        json!({"sort": ["year:desc"], "limit": 2}),
        json!({"sort": ["title:asc"]}),
        json!({"sort": null, "distinct": "tag", "limit": null}),
        json!({"distinct": "title"}),
        json!({"distinct": null, "attributesToSearchOn": ["nowhere"]}),
        json!({"attributesToSearchOn": ["title"], "matchingStrategy": "all"}),
        json!({"hybrid": {"embedder": "none"}}),
        json!({"hybrid": null, "rankingScoreThreshold": 0.9}),
    ] {
        let change = json!({"searchParameters": parameters});
        pair.write("PATCH", "/indexes/movies/settings/chat", &change);
        let call = json!({"index_uid": "movies", "q": "aliens", "filter": ""});
        pair.check(&search(json!([call])));
    }
    pair.write(
        "PATCH",
        "/indexes/movies/settings/chat",
        &json!({"searchParameters": null}),
    );
    // Without being told of searches, the client sees the answer alone.
    let quiet = pair
        .check_as(MASTER_KEY, &search(json!([all])), &json!({}))
        .0;
    assert!(!quiet.to_string().contains("_meili"), "{quiet}");
    // An LLM that never stops is stopped.
    let (_, told) = pair.check_as(MASTER_KEY, "again and again", &json!({}));
    assert_eq!(told.as_array().unwrap().len(), 20);
}

fn check_rights(pair: &Pair) {
    let movies = search(json!([{"index_uid": "movies", "q": "alien", "filter": "year < 2000"}]));
    let (_, told) = pair.check_as(KEY, &movies, &wishes());
    let uids = &told[0]["body"]["tools"][0]["function"]["parameters"]["properties"]["index_uid"];
    assert_eq!(uids["enum"], json!(["books", "movies"]));
    let (_, told) = pair.check_as(TENANT, &movies, &wishes());
    let parameters = &told[0]["body"]["tools"][0]["function"]["parameters"]["properties"];
    assert_eq!(parameters["index_uid"]["enum"], json!(["movies"]));
    let known = parameters["filter"]["description"].as_str().unwrap();
    assert!(known.contains("tag: tag"), "{known}");
    let text = told[1]["body"]["messages"].to_string();
    assert!(
        text.contains("Alien 24") && !text.contains("Alien 0"),
        "{text}"
    );
    let wrong = search(json!([{"index_uid": "movies", "q": "", "filter": "title = 1"}]));
    let books = search(json!([{"index_uid": "books", "q": "", "filter": ""}]));
    let (seen, _) = pair.check_as(TENANT, &books, &wishes());
    assert!(seen.to_string().contains("\"403\""), "{seen}");
    pair.check_as(KEY, &wrong, &wishes());
    pair.check_as("no key", "hi", &json!({}));
}

fn check_failures(pair: &Pair) {
    for words in [
        "status 401",
        "status 429",
        "page",
        "no stream",
        "rubbish",
        "half",
    ] {
        let (seen, _) = pair.check(words);
        assert!(
            seen.to_string().contains("\"type\":\"error\""),
            "{words}: {seen}"
        );
    }
    for side in pair.sides() {
        let azure = json!({"source": "azureOpenAi", "deploymentId": "d", "apiVersion": "v"});
        side.json("PATCH", "/chats/w/settings", &azure);
    }
    let (_, told) = pair.check("hi");
    assert_eq!(told[0]["headers"]["api-key"], "sk-secret");
    for source in ["mistral", "vLlm"] {
        for side in pair.sides() {
            side.json("PATCH", "/chats/w/settings", &json!({"source": source}));
        }
        pair.check("hi");
        pair.check("status 400");
    }
    for side in pair.sides() {
        side.json("PATCH", "/chats/w/settings", &json!({"source": null}));
    }
}

fn check_templates(pair: &Pair) {
    let all = search(json!([{"index_uid": "movies", "q": "", "filter": "tag = tag0"}]));
    for template in [
        "{{ doc.title | upcase }} ({{ doc.year }}): {{ doc.genre | join: '+' }}",
        "{{ doc.text }}|{{ doc.text.a }}|{{ doc.hidden }}|{{ fields[1].name }}",
        "{% for f in fields %}{{ f.name }}={{ f.value | json }};{% endfor %}",
        "{{ doc.nowhere }}",
        "{{ doc.title",
        "{% if %}",
        "",
    ] {
        let change = json!({"documentTemplate": template});
        pair.write("PATCH", "/indexes/movies/settings/chat", &change);
        pair.check(&all);
    }
    pair.write(
        "PATCH",
        "/indexes/movies/settings/chat",
        &json!({"documentTemplateMaxBytes": 0}),
    );
    pair.write(
        "PATCH",
        "/indexes/new/settings/chat",
        &json!({"documentTemplate": "{{"}),
    );
    pair.write("DELETE", "/indexes/new", &Value::Null);
    pair.write("DELETE", "/indexes/movies/settings/chat", &Value::Null);
    pair.check(&all);
}

/// Who goes is not talked to any longer, and neither is the LLM for him.
fn check_a_client_that_goes(pair: &Pair) {
    let side = &pair.miroir;
    let body = json!({
        "model": "m", "stream": true, "messages": [{"role": "user", "content": "wait"}],
    })
    .to_string();
    let mut client = TcpStream::connect(side.address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        client,
        "POST /chats/w/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {MASTER_KEY}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("wait") {
        let mut bytes = [0; 4096];
        let count = client.read(&mut bytes).unwrap();
        assert_ne!(count, 0, "the stream ended");
        seen.extend_from_slice(&bytes[..count]);
    }
    drop(client);
    side.llm.take();
    let ended = || Ok(side.llm.has_ended().then_some(()));
    poll("the end of the conversation", PATIENCE, ended).unwrap();
}
