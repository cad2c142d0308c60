//! Texts that nodes have embedded elsewhere: the same documents in one node and in Miroir over three
//! nodes are embedded from the same texts, and searches by what a text means answer alike.
//!
//! The service that embeds is a small server of the test, whose vectors are made of the words of a
//! text. `MIROIR_TEST_NODE` runs it on real servers.

#![expect(clippy::unwrap_used, reason = "a step that fails shall fail its test")]

mod media;
mod service;

use miroir_testkit::{
    Client, NodeOptions, NodeProcess, PATIENCE, Programs, ProxyOptions, ProxyProcess, poll,
};
use serde_json::{Value, json};
use service::{IMPOSSIBLE, Service};
use std::collections::BTreeSet;

const DOCUMENT_COUNT: usize = 60;
const WORDS: [&str; 10] = [
    "tea", "green", "garden", "river", "stone", "mountain", "cup", "leaf", "night", "song",
];

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
        // A node that is slow is not asked what another is asked too: a text would be embedded twice,
        // and the tests count.
        let options =
            ProxyOptions::over(nodes.iter().map(NodeProcess::url)).with("hedge_percent = 0");
        let proxy = ProxyProcess::start(&programs, options).unwrap();
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
