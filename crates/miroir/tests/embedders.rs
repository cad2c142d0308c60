//! Texts that nodes have embedded elsewhere: the same documents in one node and in Miroir over three
//! nodes are embedded from the same texts, and searches by what a text means answer alike.
//!
//! The service that embeds is a small server of the test, whose vectors are made of the words of a
//! text. `MIROIR_TEST_NODE` runs it on real servers.

#![expect(clippy::unwrap_used, reason = "a step that fails shall fail its test")]

use miroir_testkit::{
    Client, NodeOptions, NodeProcess, Programs, ProxyOptions, ProxyProcess, poll,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

const DIMENSIONS: usize = 8;
const DOCUMENT_COUNT: usize = 60;
const WORDS: [&str; 10] = [
    "tea", "green", "garden", "river", "stone", "mountain", "cup", "leaf", "night", "song",
];
/// A text with this word cannot be embedded.
const IMPOSSIBLE: &str = "impossible";

/// The service: its address, and every text it was given.
struct Service {
    address: SocketAddr,
    texts: Arc<Mutex<Vec<String>>>,
}

impl Service {
    /// Serves until the test's process ends.
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let texts = Arc::new(Mutex::new(Vec::new()));
        let given = Arc::clone(&texts);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let given = Arc::clone(&given);
                thread::spawn(move || serve(stream, &given));
            }
        });
        Self { address, texts }
    }

    fn settings(&self) -> Value {
        let url = format!("http://{}/embed", self.address);
        let rest = json!({
            "source": "rest", "url": url, "dimensions": DIMENSIONS,
            "request": {"texts": ["{{text}}", "{{..}}"]},
            "response": {"vectors": ["{{embedding}}", "{{..}}"]},
        });
        let mut titled = rest.clone();
        titled["documentTemplate"] = json!("about {{ doc.title }}");
        let mut listed = rest.clone();
        listed["documentTemplate"] =
            json!("{%- for f in fields -%} {{ f.name }}: {{ f.value }}; {%- endfor -%}");
        json!({"whole": rest, "titled": titled, "listed": listed})
    }

    /// An embedder that is asked with pieces of JSON instead of a text.
    fn by_pieces(&self, indexing: Value, search: Value) -> Value {
        json!({
            "source": "rest", "url": format!("http://{}/embed", self.address),
            "dimensions": DIMENSIONS,
            "request": {"pieces": ["{{fragment}}", "{{..}}"]},
            "response": {"vectors": ["{{embedding}}", "{{..}}"]},
            "indexingFragments": indexing, "searchFragments": search,
        })
    }

    /// Embedders of fragments, and one made of two.
    fn other_settings(&self) -> Value {
        // Its fields come in any order.
        let whole = "{% for p in doc %}.{% endfor %} {{ doc.text }}";
        let several = self.by_pieces(
            json!({
                "title": {"value": {"text": "{{ doc.title }}"}},
                "whole": {"value": {"list": [whole]}},
            }),
            json!({
                "words": {"value": {"text": "{{ q }}"}},
                "picture": {"value": {"of": "{{ media.about }}"}},
            }),
        );
        let one = self.by_pieces(
            json!({"title": {"value": "{{ doc.title }}"}}),
            json!({"both": {"value": "{{ q }} {{ media.about }}"}}),
        );
        let plain = self.settings()["whole"].clone();
        let two = json!({
            "source": "composite", "searchEmbedder": plain, "indexingEmbedder": plain,
        });
        json!({"several": several, "one": one, "two": two})
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.texts.lock().unwrap())
    }
}

/// Answers the requests of one connection, one after the other.
fn serve(stream: TcpStream, given: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let body: Value = serde_json::from_slice(&body).ok()?;
        let texts: Vec<String> = match &body["pieces"] {
            Value::Array(pieces) => pieces.iter().map(Value::to_string).collect(),
            _ => serde_json::from_value(body["texts"].clone()).ok()?,
        };
        let (status, answer) = if texts.iter().any(|text| text.contains(IMPOSSIBLE)) {
            ("400 Bad Request", json!({"error": "it cannot be embedded"}))
        } else {
            let vectors: Vec<Vec<f64>> = texts.iter().map(|text| vector_of(text)).collect();
            ("200 OK", json!({ "vectors": vectors }))
        };
        given.lock().ok()?.extend(texts);
        let answer = answer.to_string();
        let length = answer.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n\
             {answer}"
        )
        .ok()?;
    }
}

/// A vector that tells texts apart by their words; no two words count the same.
fn vector_of(text: &str) -> Vec<f64> {
    let mut vector = vec![0.125; DIMENSIONS];
    for word in text.split(|c: char| !c.is_alphanumeric()) {
        for (at, byte) in word.bytes().enumerate() {
            let sum = usize::from(byte) * (at + 3);
            vector[sum % DIMENSIONS] += 0.25 + f64::from(byte) / 97.0;
        }
    }
    vector
}

fn document(id: usize) -> Value {
    let word = |step: usize| WORDS[(id * step + id / 7 + step) % WORDS.len()];
    json!({
        "id": id, "title": format!("{} {}", word(1), word(3)),
        "text": format!("{} {} {}", word(2), word(5), id), "price": id % 7,
    })
}

/// One node with a service, and Miroir over three nodes with another.
struct Pair {
    single: NodeProcess,
    proxy: ProxyProcess,
    nodes: Vec<NodeProcess>,
    services: [Service; 2],
    is_real: bool,
}

impl Pair {
    fn start() -> Self {
        let programs = Programs::new(env!("CARGO_BIN_EXE_miroir"));
        let mut options = NodeOptions::default();
        if programs.has_real_nodes() {
            // Else it would not speak to its own machine.
            options.arguments = vec!["--experimental-allowed-ip-networks=any".to_owned()];
        }
        let start = || NodeProcess::start(&programs.node, options.clone()).unwrap();
        let single = start();
        let nodes: Vec<NodeProcess> = (0..3).map(|_| start()).collect();
        let named = nodes.iter().enumerate();
        let proxy = ProxyProcess::start(
            &programs,
            ProxyOptions {
                nodes: named
                    .map(|(at, node)| (format!("node-{}", at + 1), node.url()))
                    .collect(),
                replication_factor: 2,
                shards: 8,
                config: vec!["probe_interval = \"100 ms\"".to_owned()],
                master_key: None,
                node_key: None,
            },
        )
        .unwrap();
        proxy.wait_ready().unwrap();
        Self {
            single,
            proxy,
            nodes,
            services: [Service::start(), Service::start()],
            is_real: programs.has_real_nodes(),
        }
    }

    fn clients(&self) -> [&Client; 2] {
        [self.single.client(), self.proxy.client()]
    }

    fn write(&self, method: &str, path: &str, body: &Value) {
        for client in self.clients() {
            client.write(method, path, Some(body)).unwrap();
        }
    }

    /// Both answers, without what no two answers share.
    #[track_caller]
    fn check(&self, path: &str, body: &Value) -> Value {
        let [expected, found] = self.clients().map(|client| {
            let reply = client.post(path, body).unwrap();
            let mut answer = reply.body;
            if let Some(answer) = answer.as_object_mut() {
                for name in ["processingTimeMs", "requestUid", "message"] {
                    answer.remove(name);
                }
            }
            (reply.status, answer)
        });
        assert_eq!(found, expected, "{path} {body}");
        found.1
    }

    /// The texts given since the last time, each once; they are to be the same on both sides.
    #[track_caller]
    fn check_texts(&self) -> BTreeSet<String> {
        let [expected, found] = self.services.each_ref().map(|service| {
            let texts: BTreeSet<String> = service.take().into_iter().collect();
            texts
        });
        assert_eq!(found, expected);
        found
    }
}

/// What a node would embed can be seen.
fn check_rendering(pair: &Pair) {
    for client in pair.clients() {
        let feature = json!({"renderRoute": true});
        client.patch("/experimental-features", &feature).unwrap();
    }
    for (embedder, id) in [("whole", "3"), ("titled", "4"), ("listed", "5")] {
        let template = json!({"kind": "documentTemplate", "indexUid": "e", "embedder": embedder});
        let input = json!({"kind": "indexDocument", "indexUid": "e", "id": id});
        let rendered = json!({"template": template, "input": input});
        let answer = pair.check("/render-template", &rendered);
        assert!(answer["rendered"].is_string(), "{answer}");
        pair.check("/render-template", &json!({ "template": template }));
        let inline = json!({"kind": "inlineDocument", "inline": {"title": "a", "x": [1]}});
        pair.check(
            "/render-template",
            &json!({"template": template, "input": inline}),
        );
    }
}

#[test]
fn texts_are_embedded_and_searched_as_on_one_meilisearch() {
    let pair = Pair::start();
    for (client, service) in pair.clients().into_iter().zip(&pair.services) {
        let settings = json!({"embedders": service.settings(), "filterableAttributes": ["price"]});
        client
            .write("PATCH", "/indexes/e/settings", Some(&settings))
            .unwrap();
        let shown = client.get("/indexes/e/settings/embedders").unwrap().body;
        for (name, template) in [
            ("titled", "about {{ doc.title }}"),
            (
                "listed",
                "{%- for f in fields -%} {{ f.name }}: {{ f.value }}; {%- endfor -%}",
            ),
            (
                "whole",
                "{% for field in fields %}{% if field.is_searchable and field.value != nil %}\
                 {{ field.name }}: {{ field.value }}\n{% endif %}{% endfor %}",
            ),
        ] {
            assert_eq!(shown[name]["documentTemplate"], template);
        }
    }
    let documents: Value = (0..DOCUMENT_COUNT).map(document).collect();
    pair.write("POST", "/indexes/e/documents?primaryKey=id", &documents);
    let texts = pair.check_texts();
    assert!(texts.iter().any(|text| text.starts_with("about ")));
    assert!(
        texts.iter().any(|text| text.contains("price: ")),
        "{texts:?}"
    );

    let search = "/indexes/e/search";
    for embedder in ["whole", "titled", "listed"] {
        for (q, ratio) in [
            ("tea garden", 1.0),
            ("tea garden", 0.5),
            ("mountain river song", 0.3),
            ("nothing of this", 0.7),
            ("green", 0.0),
        ] {
            let mut body = json!({
                "q": q, "hybrid": {"embedder": embedder, "semanticRatio": ratio}, "limit": 7,
                "showRankingScore": true,
            });
            pair.check(search, &body);
            body["filter"] = json!("price > 2");
            pair.check(search, &body);
        }
    }
    pair.check_texts();

    if pair.is_real {
        check_rendering(&pair);
    }

    // Each text that is searched for is embedded once, however many nodes answer.
    let once =
        json!({"q": "a stone at night", "hybrid": {"embedder": "titled", "semanticRatio": 1}});
    pair.check(search, &once);
    assert_eq!(pair.services[1].take(), ["a stone at night"]);
    let mixed = json!({"q": "songs", "hybrid": {"embedder": "titled", "semanticRatio": 0.9}});
    pair.check(search, &mixed);
    assert_eq!(pair.services[1].take(), ["songs"]);

    // What cannot be embedded is an error where only the meaning counts, and else words suffice.
    let status = |body: &Value| pair.proxy.client().post(search, body).unwrap().status;
    let by = |ratio: f64| json!({"q": IMPOSSIBLE, "hybrid": {"embedder": "whole", "semanticRatio": ratio}});
    pair.check(search, &by(1.0));
    assert_ne!(status(&by(1.0)), 200);
    pair.check(search, &by(0.5));

    // A changed document is embedded anew where its text changed.
    pair.services
        .iter()
        .for_each(|service| drop(service.take()));
    let change = json!([{"id": 5, "title": "river song"}, {"id": 6, "price": 6}]);
    pair.write("PUT", "/indexes/e/documents", &change);
    let texts = pair.check_texts();
    assert!(texts.contains("about river song"), "{texts:?}");
    let body = json!({"q": "river song", "hybrid": {"embedder": "titled", "semanticRatio": 1}});
    pair.check(search, &body);
    pair.check(
        "/indexes/e/similar",
        &json!({"id": 5, "embedder": "whole", "limit": 5}),
    );

    // A template that changes is in force at once, and so is the default one again.
    for template in [json!("{{ doc.text }}"), Value::Null] {
        let change = json!({"titled": {"documentTemplate": template}});
        pair.write("PATCH", "/indexes/e/settings/embedders", &change);
        pair.check_texts();
        pair.check(search, &body);
        pair.services
            .iter()
            .for_each(|service| drop(service.take()));
    }
}

/// Settings and features as both show them, whatever the address of the service.
#[track_caller]
fn check_shown(pair: &Pair, path: &str) {
    let shown = pair.clients().into_iter().zip(&pair.services);
    let shown = shown.map(|(client, service)| {
        let text = client.get(path).unwrap().body.to_string();
        // One node shows the secrets of parts.
        let text = text.replace("a-secret", "XXX...");
        text.replace(&service.address.to_string(), "service")
    });
    let [expected, found] = <[String; 2]>::try_from(Vec::from_iter(shown)).unwrap();
    assert_eq!(found, expected, "{path}");
}

fn switch(pair: &Pair, features: &Value) {
    for client in pair.clients() {
        let reply = client.patch("/experimental-features", features).unwrap();
        assert_eq!(reply.status, 200, "{}", reply.body);
    }
}

/// What is found by media, by words, and by both.
fn check_media(pair: &Pair) {
    let search = "/indexes/e/search";
    let media = json!({"about": "green tea"});
    for body in [
        json!({"media": media, "hybrid": {"embedder": "several"}}),
        json!({"media": media, "hybrid": {"embedder": "several", "semanticRatio": 1}}),
        json!({"media": media, "hybrid": {"embedder": "several", "semanticRatio": 0}}),
        json!({"q": "river", "hybrid": {"embedder": "several", "semanticRatio": 1}}),
        json!({"q": "river stone", "hybrid": {"embedder": "several", "semanticRatio": 0.7}}),
        // Both of its fragments could be made of this.
        json!({"q": "river", "media": media, "hybrid": {"embedder": "several", "semanticRatio": 1}}),
        json!({"q": "river", "media": media, "hybrid": {"embedder": "several", "semanticRatio": 0.5}}),
        json!({"q": "river", "media": media, "hybrid": {"embedder": "one", "semanticRatio": 1}}),
        json!({"q": "river", "media": media, "hybrid": {"embedder": "one", "semanticRatio": 0.6}}),
        json!({"q": "", "media": media, "hybrid": {"embedder": "one"}}),
        json!({"media": media, "hybrid": {"embedder": "one"}}),
        json!({"media": {"other": 1}, "hybrid": {"embedder": "several"}}),
        json!({"media": media, "hybrid": {"embedder": "two"}}),
        json!({"q": "tea garden", "hybrid": {"embedder": "two", "semanticRatio": 1}}),
        json!({"q": "tea garden", "hybrid": {"embedder": "two", "semanticRatio": 0.5}}),
    ] {
        for more in [
            json!({"limit": 9, "showRankingScore": true}),
            json!({"filter": "price > 2", "facets": ["price"], "limit": 5}),
            json!({"page": 2, "hitsPerPage": 4, "retrieveVectors": true}),
        ] {
            let mut body = body.clone();
            for (name, value) in more.as_object().unwrap() {
                body[name] = value.clone();
            }
            pair.check(search, &body);
        }
        let mut query = body.clone();
        query["indexUid"] = json!("e");
        let words = json!({"indexUid": "e", "q": "mountain"});
        pair.check(
            "/multi-search",
            &json!({"federation": {"limit": 8}, "queries": [query, words]}),
        );
        let mut query = body;
        query["facetName"] = json!("price");
        pair.check("/indexes/e/facet-search", &query);
    }
    pair.check_texts();

    // A picture is embedded once, however many nodes answer.
    let once = json!({"media": {"about": "a quiet garden"}, "hybrid": {"embedder": "several"}});
    pair.check(search, &once);
    assert_eq!(pair.services[1].take(), [r#"{"of":"a quiet garden"}"#]);
    let mut facets =
        json!({"media": {"about": "a loud garden"}, "hybrid": {"embedder": "several"}});
    facets["facetName"] = json!("price");
    pair.check("/indexes/e/facet-search", &facets);
    assert_eq!(pair.services[1].take(), [r#"{"of":"a loud garden"}"#]);
    pair.services[0].take();
}

/// What a node would send for a document and for a search can be seen.
fn check_rendered_fragments(pair: &Pair) {
    switch(pair, &json!({"renderRoute": true}));
    let of = |kind: &str, fragment: &str| json!({"kind": kind, "indexUid": "e", "embedder": "several", "fragment": fragment});
    let input = json!({"kind": "indexDocument", "indexUid": "e", "id": "7"});
    for fragment in ["title", "whole"] {
        let template = of("indexingFragment", fragment);
        let answer = pair.check(
            "/render-template",
            &json!({"template": template, "input": input}),
        );
        assert!(answer.get("rendered").is_some(), "{answer}");
        pair.check("/render-template", &json!({ "template": template }));
    }
    let input = json!({"kind": "inlineSearch", "inline": {"q": "a", "media": {"about": "b"}}});
    for fragment in ["words", "picture"] {
        let template = of("searchFragment", fragment);
        pair.check(
            "/render-template",
            &json!({"template": template, "input": input}),
        );
    }
    let template = json!({"kind": "documentTemplate", "indexUid": "e", "embedder": "two"});
    let input = json!({"kind": "indexDocument", "indexUid": "e", "id": "8"});
    let answer = pair.check(
        "/render-template",
        &json!({"template": template, "input": input}),
    );
    assert!(answer["rendered"].is_string(), "{answer}");
}

/// A node that lost its disk gets the index back, though the features are off that it needs.
fn refill_a_node(pair: &mut Pair) {
    pair.nodes[1].kill_and_wipe().unwrap();
    pair.nodes[1].restart().unwrap();
    let client = pair.proxy.client();
    poll(
        "a node that was filled again",
        Duration::from_secs(120),
        || {
            let held = pair.nodes[1].client().get("/stats")?.ok()?;
            let has_index = held["indexes"]
                .as_object()
                .is_some_and(|all| !all.is_empty());
            let topology = client.get("/_miroir/topology")?.ok()?;
            let nodes = topology["nodes"].as_array().cloned().unwrap_or_default();
            let is_well = |node: &Value| node["inSync"] == true && node["state"] == "up";
            Ok((has_index && nodes.iter().all(is_well)).then_some(()))
        },
    )
    .unwrap();
}

#[test]
fn media_and_embedders_of_parts_are_those_of_one_meilisearch() {
    if !Programs::new(env!("CARGO_BIN_EXE_miroir")).has_real_nodes() {
        // The bundled node knows neither.
        return;
    }
    let mut pair = Pair::start();
    let features = json!({"multimodal": true, "compositeEmbedders": true});
    switch(&pair, &features);
    for (client, service) in pair.clients().into_iter().zip(&pair.services) {
        let settings =
            json!({"embedders": service.other_settings(), "filterableAttributes": ["price"]});
        client
            .write("PATCH", "/indexes/e/settings", Some(&settings))
            .unwrap();
    }
    check_shown(&pair, "/indexes/e/settings");
    let documents: Value = (0..DOCUMENT_COUNT).map(document).collect();
    pair.write("POST", "/indexes/e/documents?primaryKey=id", &documents);
    let texts = pair.check_texts();
    for start in [r#"{"list":[".... "#, r#"{"text":"#, "id: "] {
        assert!(
            texts.iter().any(|text| text.starts_with(start)),
            "{start}: {texts:?}"
        );
    }
    assert!(
        texts.iter().all(|text| !text.contains("_miroir")),
        "{texts:?}"
    );
    check_media(&pair);
    check_rendered_fragments(&pair);

    // The part for searches is replaced by a change, that for documents is merged.
    for (client, service) in pair.clients().into_iter().zip(&pair.services) {
        let mut plain = service.settings()["whole"].clone();
        plain["headers"] = json!({"x-part": "1"});
        let change = json!({"two": {"searchEmbedder": plain, "indexingEmbedder": {
            "source": "rest", "documentTemplate": "about {{ doc.title }}", "apiKey": "a-secret",
        }}});
        client
            .write("PATCH", "/indexes/e/settings/embedders", Some(&change))
            .unwrap();
    }
    pair.check_texts();
    let shown = pair
        .proxy
        .client()
        .get("/indexes/e/settings/embedders")
        .unwrap();
    let part = &shown.body["two"]["indexingEmbedder"];
    assert_eq!(part["documentTemplate"], "about {{ doc.title }}");
    assert_eq!(part["apiKey"], "XXX...");

    // A change makes anew what it touches, and so does one of the fragments.
    let change = json!([{"id": 5, "title": "river song"}, {"id": 6, "price": 6}]);
    pair.write("PUT", "/indexes/e/documents", &change);
    pair.check_texts();
    let fragments = json!({"several": {"indexingFragments": {
        "title": null, "text": {"value": {"words": "{{ doc.text }}"}},
    }}});
    pair.write("PATCH", "/indexes/e/settings/embedders", &fragments);
    pair.check_texts();
    check_shown(&pair, "/indexes/e/settings/embedders");
    let by_media =
        json!({"media": {"about": "river song"}, "hybrid": {"embedder": "several"}, "limit": 8});
    pair.check("/indexes/e/search", &by_media);
    for filter in [
        "_vectors.several.fragments.text EXISTS",
        "_vectors.two EXISTS",
    ] {
        let found = pair.check("/indexes/e/search", &json!({"filter": filter}));
        assert_eq!(found["estimatedTotalHits"], DOCUMENT_COUNT, "{filter}");
    }
    pair.check(
        "/indexes/e/similar",
        &json!({"id": 5, "embedder": "one", "limit": 5}),
    );
    check_media(&pair);

    // Switched off it is refused, and what is there goes on.
    switch(
        &pair,
        &json!({"multimodal": false, "compositeEmbedders": false}),
    );
    assert_eq!(
        pair.check("/indexes/e/search", &by_media)["code"],
        "feature_not_enabled"
    );
    let vectors = json!({"filter": "price = 1 AND _vectors EXISTS"});
    assert_eq!(
        pair.check("/indexes/e/search", &vectors)["code"],
        "feature_not_enabled"
    );
    let by_words = json!({"q": "river", "hybrid": {"embedder": "several", "semanticRatio": 1}});
    pair.check("/indexes/e/search", &by_words);
    let more: Value = (DOCUMENT_COUNT..DOCUMENT_COUNT + 9).map(document).collect();
    pair.write("POST", "/indexes/e/documents", &more);
    pair.check_texts();
    refill_a_node(&mut pair);
    pair.nodes[0].kill();
    pair.check("/indexes/e/search", &by_words);
    check_shown(&pair, "/indexes/e/settings/embedders");
    pair.nodes[0].restart().unwrap();
    switch(&pair, &features);
    for (q, ratio) in [("", 0.5), ("river", 0.7), ("river", 1.0)] {
        let hybrid = json!({"embedder": "one", "semanticRatio": ratio});
        let media = json!({"about": "green tea"});
        let body = json!({"q": q, "media": media, "hybrid": hybrid, "limit": 12});
        pair.check("/indexes/e/search", &body);
    }
    pair.check("/indexes/e/search", &by_media);
}
