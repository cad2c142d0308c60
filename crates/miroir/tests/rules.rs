//! Dynamic search rules over several nodes: drawn rules and searches, asked of one node and of
//! Miroir over three nodes with two copies, and the whole answers compared; and rules on their way
//! through a dump and a restart.
//!
//! Routes and mistakes are compared in `compat/rules.json`. The bundled node has no rules: there
//! only what concerns Miroir alone is tested.

#![expect(clippy::unwrap_used, reason = "a step that fails shall fail its test")]

use miroir_testkit::{Client, Cluster, ClusterOptions, NodeOptions, NodeProcess, Programs, Rng};
use serde_json::{Value, json};

const DOCUMENTS: u64 = 150;
const ROUNDS: u64 = 6;
const SEARCHES: u64 = 40;
const COLORS: [&str; 5] = ["red", "blue", "green", "white", "black"];
const THINGS: [&str; 6] = ["shoes", "hat", "shirt", "socks", "scarf", "gloves"];
const PATH: &str = "/dynamic-search-rules";

fn document(id: u64) -> Value {
    let mut rng = Rng::new(id + 100);
    json!({
        "id": id,
        "title": format!("{} {}", rng.pick(&COLORS), rng.pick(&THINGS)),
        "about": format!("{} goes well with {}", rng.pick(&COLORS), rng.pick(&COLORS)),
        "brand": format!("b{}", rng.below(9)),
        "price": rng.below(40),
        "tags": [rng.pick(&COLORS), rng.pick(&THINGS)],
    })
}

fn fill(client: &Client) {
    let settings = json!({
        "filterableAttributes": ["brand", "price", "tags"],
        "sortableAttributes": ["price"],
    });
    let documents: Value = (0..DOCUMENTS).map(document).collect();
    client
        .write("PATCH", "/indexes/shop/settings", Some(&settings))
        .unwrap();
    client
        .write("POST", "/indexes/shop/documents", Some(&documents))
        .unwrap();
    let on = json!({"dynamicSearchRules": true});
    let switched = client.patch("/experimental-features", &on).unwrap();
    switched.ok().unwrap();
}

fn words(rng: &mut Rng) -> String {
    match rng.below(6) {
        0 => String::new(),
        1 | 2 => (*rng.pick(&COLORS)).to_owned(),
        3 => (*rng.pick(&THINGS)).to_owned(),
        4 => format!("{} {}", rng.pick(&COLORS), rng.pick(&THINGS)),
        _ => format!("{} {} ", rng.pick(&THINGS), rng.pick(&COLORS)),
    }
}

fn rule(rng: &mut Rng) -> Value {
    let mut rule = json!({ "active": rng.below(8) > 0 });
    if rng.below(3) > 0 {
        rule["precedence"] = json!(rng.below(4));
    }
    match rng.below(5) {
        0 => rule["conditions"] = json!({"query": {"isEmpty": rng.below(2) == 0}}),
        1 | 2 => rule["conditions"] = json!({"query": {"words": words(rng)}}),
        3 => {
            let year = 2020 + rng.below(20);
            let side = *rng.pick(&["start", "end"]);
            rule["conditions"] = json!({"time": {side: format!("{year}-05-01T10:00:00Z")}});
        }
        _ => {}
    }
    let actions = (0..=rng.below(4)).map(|_| {
        let mut selector = json!({"id": (rng.below(170)).to_string()});
        if rng.below(3) == 0 {
            selector["indexUid"] = json!(*rng.pick(&["shop", "shop", "other"]));
        }
        let position = *rng.pick(&[0, 0, 1, 2, 3, 7, 15, 40, 400]);
        json!({"selector": selector, "action": {"type": "pin", "position": position}})
    });
    rule["actions"] = actions.collect();
    rule
}

fn search(rng: &mut Rng) -> Value {
    let mut search = json!({"q": words(rng)});
    if rng.below(2) == 0 {
        search["offset"] = json!(rng.below(12));
        search["limit"] = json!(rng.below(15));
    } else {
        search["page"] = json!(rng.below(4) + 1);
        search["hitsPerPage"] = json!(rng.below(9));
    }
    if rng.below(3) == 0 {
        search["filter"] = match rng.below(3) {
            0 => json!(format!("price > {}", rng.below(30))),
            1 => json!([[
                format!("brand = b{}", rng.below(9)),
                format!("tags = {}", rng.pick(&COLORS))
            ]]),
            _ => json!(format!("NOT tags = {}", rng.pick(&THINGS))),
        };
    }
    if rng.below(4) == 0 {
        search["sort"] = json!(["price:desc"]);
    }
    match rng.below(5) {
        0 => search["facets"] = json!(["*"]),
        1 => search["facets"] = json!(["brand", "price"]),
        _ => {}
    }
    match rng.below(5) {
        // Totals and facets under `distinct` are exact in page mode.
        0 if search.get("page").is_some() => {
            search["distinct"] = json!("brand");
            search.as_object_mut().unwrap().shift_remove("facets");
        }
        1 => search["attributesToHighlight"] = json!(["*"]),
        2 => {
            search["attributesToCrop"] = json!(["about"]);
            search["cropLength"] = json!(3);
        }
        3 => search["showMatchesPosition"] = json!(true),
        _ => {}
    }
    if rng.below(4) == 0 {
        search["matchingStrategy"] = json!("all");
    }
    search
}

fn plain(mut answer: Value) -> Value {
    let members = answer.as_object_mut().unwrap();
    for name in ["processingTimeMs", "requestUid"] {
        members.shift_remove(name);
    }
    answer
}

#[test]
fn drawn_searches_under_drawn_rules_answer_as_one_node_does() {
    let programs = Programs::new(env!("CARGO_BIN_EXE_miroir"));
    if !programs.has_real_nodes() {
        return;
    }
    let single = NodeProcess::start(&programs.node, NodeOptions::default()).unwrap();
    let cluster = Cluster::start(&programs, &ClusterOptions::new(3, 2, 7)).unwrap();
    let clients = [single.client(), cluster.client()];
    clients.iter().for_each(|client| fill(client));
    let mut rng = Rng::new(7);
    let (mut pinned, mut unclear) = (0, 0);
    for round in 0..ROUNDS {
        let rules: Vec<Value> = (0..7).map(|_| rule(&mut rng)).collect();
        for client in clients {
            client.write("DELETE", PATH, None).unwrap();
            for (at, rule) in rules.iter().enumerate() {
                client
                    .write("PATCH", &format!("{PATH}/r{at}"), Some(rule))
                    .unwrap();
            }
        }
        for _ in 0..SEARCHES {
            let search = search(&mut rng);
            let [expected, found] =
                clients.map(|client| client.post("/indexes/shop/search", &search).unwrap());
            if found.status == 501 {
                unclear += 1;
                continue;
            }
            let (expected, found) = (plain(expected.body), plain(found.body));
            assert_eq!(
                found.to_string(),
                expected.to_string(),
                "round {round}: {search}\n{}",
                json!(rules)
            );
            pinned += 1;
        }
    }
    // Neighbours written as one word are not among the documents, so nothing is unclear.
    assert_eq!((pinned, unclear), (ROUNDS * SEARCHES, 0));
}

#[test]
fn rules_survive_a_restart() {
    let programs = Programs::new(env!("CARGO_BIN_EXE_miroir"));
    let mut cluster = Cluster::start(&programs, &ClusterOptions::new(2, 1, 4)).unwrap();
    fill(cluster.client());
    let rule = json!({"actions": [
        {"selector": {"id": "77"}, "action": {"type": "pin", "position": 0}},
        {"selector": {"indexUid": "shop", "id": "3"}, "action": {"type": "pin", "position": 2}},
    ]});
    let path = format!("{PATH}/kept");
    cluster.client().write("PATCH", &path, Some(&rule)).unwrap();
    let ids = |client: &Client| -> Vec<u64> {
        let search = json!({"limit": 4, "attributesToRetrieve": ["id"]});
        let answer = client.search("shop", &search).unwrap().ok().unwrap();
        let hits = answer["hits"].as_array().unwrap().iter();
        hits.map(|hit| hit["id"].as_u64().unwrap()).collect()
    };
    assert_eq!(ids(cluster.client()), [77, 0, 3, 1]);
    cluster.proxy.kill();
    cluster.proxy.restart(&[]).unwrap();
    assert_eq!(ids(cluster.client()), [77, 0, 3, 1]);
    let shown = cluster.client().get(&path).unwrap().ok().unwrap();
    assert_eq!(shown["actions"], rule["actions"]);
}
