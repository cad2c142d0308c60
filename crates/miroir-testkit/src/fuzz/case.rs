//! One experiment as a value, and as the JSON of a kept file.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

/// How a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// `POST search`.
    Search,
    /// `GET search`, the body as query string.
    SearchByGet,
    /// `POST documents/fetch`.
    Fetch,
    /// `POST facet-search`.
    FacetSearch,
}

impl Route {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Search, "search"),
        (Self::SearchByGet, "GET search"),
        (Self::Fetch, "documents/fetch"),
        (Self::FacetSearch, "facet-search"),
    ];

    /// Its name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find_map(|(route, name)| (*route == self).then_some(*name))
            .unwrap_or_default()
    }
}

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// How it is sent.
    pub route: Route,
    /// Its body.
    pub body: Value,
}

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteStep {
    /// The method.
    pub method: String,
    /// The path below the index.
    pub path: String,
    /// The body.
    pub body: Value,
}

/// Settings, documents and requests; what both sides are given.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// A name for reports and files.
    pub name: String,
    /// What was found, for a reader.
    pub note: String,
    /// The copies of each shard.
    pub replication_factor: u32,
    /// Whether the bundled node cannot do it, or does it otherwise than a real server.
    pub real_nodes_only: bool,
    /// The field that holds the primary key.
    pub key_field: String,
    /// The settings of the index.
    pub settings: Value,
    /// What is written, in order.
    pub writes: Vec<WriteStep>,
    /// What is asked.
    pub requests: Vec<Ask>,
    /// What is known to differ, by name; empty where the answers must be the same.
    pub differs: Vec<String>,
}

impl Case {
    /// The content of its file.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let writes: Vec<Value> = self
            .writes
            .iter()
            .map(|step| json!({"method": step.method, "path": step.path, "body": step.body}))
            .collect();
        let requests: Vec<Value> = self
            .requests
            .iter()
            .map(|ask| json!({"route": ask.route.name(), "body": ask.body}))
            .collect();
        json!({
            "name": self.name,
            "note": self.note,
            "replicationFactor": self.replication_factor,
            "realNodesOnly": self.real_nodes_only,
            "primaryKey": self.key_field,
            "settings": self.settings,
            "writes": writes,
            "requests": requests,
            "differs": self.differs,
        })
    }

    /// Reads a file's content.
    ///
    /// # Errors
    /// When something is missing or unknown.
    pub fn from_json(file: &Value) -> Result<Self> {
        let file = file.as_object().context("a case is an object")?;
        let requests = list(file, "requests")?.iter().map(|ask| {
            let name = text(ask, "route")?;
            let known = Route::ALL.iter().find(|(_, known)| *known == name);
            let Some((route, _)) = known else {
                bail!("no route is called {name}");
            };
            Ok(Ask {
                route: *route,
                body: ask["body"].clone(),
            })
        });
        let writes = list(file, "writes")?.iter().map(|step| {
            Ok(WriteStep {
                method: text(step, "method")?,
                path: text(step, "path")?,
                body: step["body"].clone(),
            })
        });
        let whole = Value::Object(file.clone());
        let copies = whole["replicationFactor"].as_u64().unwrap_or(1);
        Ok(Self {
            name: text(&whole, "name")?,
            note: text(&whole, "note")?,
            replication_factor: u32::try_from(copies)?,
            real_nodes_only: whole["realNodesOnly"] == true,
            key_field: text(&whole, "primaryKey")?,
            settings: whole["settings"].clone(),
            writes: writes.collect::<Result<_>>()?,
            requests: requests.collect::<Result<_>>()?,
            differs: list(file, "differs")?
                .iter()
                .filter_map(|kind| kind.as_str().map(str::to_owned))
                .collect(),
        })
    }
}

fn list<'a>(file: &'a Map<String, Value>, name: &str) -> Result<&'a Vec<Value>> {
    file.get(name)
        .and_then(Value::as_array)
        .with_context(|| format!("no list `{name}`"))
}

fn text(value: &Value, name: &str) -> Result<String> {
    let text = value[name].as_str();
    Ok(text
        .with_context(|| format!("no text `{name}`"))?
        .to_owned())
}
