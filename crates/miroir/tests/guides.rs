//! The pages of the guide tell the truth: their commands are run as they stand.
//!
//! Each fenced block marked `sh` is run line by line by a shell, in the order of the page, over a
//! cluster as the page describes it. Replaced are only, and documented here:
//!
//! - `http://127.0.0.1:7700` by the address of the proxy (which is also in `MIROIR_URL`),
//! - `http://10.0.0.N:7700` by the address of an empty node that is started for it; where a node that
//!   is there moves (`node set`), by another spelling of its own address,
//! - `/backups` by a folder of the test, and the name of the dump by that of the dump that the page
//!   has made before.
//!
//! What a reader does between commands is done too: the machine that is told to be lost is switched
//! off, a change or a re-shard is waited for before the next is begun, proxies are stopped before
//! their folder is replaced, and `serve` goes on in the background. While a page steers what it has
//! begun, documents are copied slowly.
//!
//! Besides, every command that any page names exists, with the flags that the page gives it.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a step that fails shall fail its test")]

use miroir_testkit::{
    Client, NodeOptions, NodeProcess, PATIENCE, Programs, ProxyOptions, ProxyProcess,
    clean_command, free_port, poll, spawn_bound,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

const MIROIR: &str = env!("CARGO_BIN_EXE_miroir");
const MASTER_KEY: &str = "a-master-key-for-the-guide";
const DOCUMENTS: u64 = 120;
/// Copies so slow that a reader who pauses them or takes them back always comes in time.
const SLOW: &str = "copy_documents_per_second = 1\n";

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

/// The lines of the fenced blocks of a language.
fn commands(page: &str) -> Vec<String> {
    let text = fs::read_to_string(docs().join("guide").join(page)).unwrap();
    let mut lines = Vec::new();
    let mut is_inside = false;
    for line in text.lines() {
        match line.strip_prefix("```") {
            Some(language) => is_inside = !is_inside && language == "sh",
            None if is_inside && !line.trim().is_empty() => lines.push(line.to_owned()),
            None => {}
        }
    }
    assert!(!lines.is_empty(), "{page} has no commands");
    lines
}

/// A reader with a cluster, who does what the page says.
struct Reader {
    programs: Programs,
    /// The proxy, and then whatever `serve` started.
    proxy: Option<ProxyProcess>,
    served: Option<Child>,
    client: Client,
    nodes: BTreeMap<String, NodeProcess>,
    /// What `/backups` stands for.
    backups: TempDir,
    /// Where commands run.
    folder: PathBuf,
    _folder: TempDir,
    dump: Option<PathBuf>,
    is_slow: bool,
}

/// Whether a command begins something without waiting for its end.
fn begins(line: &str) -> bool {
    let is_begun = line.starts_with("miroir topology apply ")
        || (line.starts_with("miroir index reshard ") && line.contains("--shards"));
    is_begun
        && !["--wait", "--plan", "--dry-run"]
            .iter()
            .any(|flag| line.contains(flag))
}

/// Whether a command shows or steers what was begun before.
fn steers(line: &str) -> bool {
    let words = ["status", "pause", "resume", "cancel"];
    let last = line.rsplit(' ').next().unwrap_or_default();
    words.contains(&last.trim_start_matches("--")) || line == "miroir index reshard movies"
}

impl Reader {
    fn new(names: &[&str]) -> Self {
        let programs = Programs::new(MIROIR);
        let nodes: BTreeMap<String, NodeProcess> = names
            .iter()
            .map(|name| {
                let node = NodeProcess::start(&programs.node, NodeOptions::default()).unwrap();
                ((*name).to_owned(), node)
            })
            .collect();
        let urls = nodes.iter().map(|(name, node)| (name.clone(), node.url()));
        let options = ProxyOptions {
            nodes: urls.collect(),
            replication_factor: 2,
            shards: 8,
            config: vec![
                "probe_interval = \"100 ms\"".to_owned(),
                "log_retention = \"7 d\"".to_owned(),
            ],
            master_key: Some(MASTER_KEY.to_owned()),
            node_key: None,
        };
        let proxy = ProxyProcess::start(&programs, options).unwrap();
        proxy.wait_ready().unwrap();
        let folder = TempDir::new().unwrap();
        let reader = Self {
            programs,
            client: proxy.client().clone(),
            folder: folder.path().to_owned(),
            _folder: folder,
            proxy: Some(proxy),
            served: None,
            nodes,
            backups: TempDir::new().unwrap(),
            dump: None,
            is_slow: false,
        };
        for document in 0..DOCUMENTS {
            let document = json!([{ "id": document, "title": format!("movie {document}") }]);
            let path = "/indexes/movies/documents";
            reader.client.post(path, &document).unwrap();
        }
        reader.wait_tasks();
        reader
    }

    fn wait_tasks(&self) {
        poll("the end of all tasks", PATIENCE, || {
            let open = self.client.get("/tasks?statuses=enqueued,processing")?;
            Ok((open.ok()?["total"] == 0).then_some(()))
        })
        .unwrap();
    }

    /// Runs the commands of a page.
    fn follow(&mut self, page: &str) {
        for line in commands(page) {
            self.prepare(&line);
            let line = self.replaced(&line);
            match line.strip_prefix("miroir serve ") {
                Some(arguments) => self.serve(arguments),
                None => self.run(page, &line),
            }
            self.note(&line);
        }
        self.set_slow(false);
    }

    /// Has documents copied slowly, or as fast as usual.
    fn set_slow(&mut self, is_slow: bool) {
        if is_slow == std::mem::replace(&mut self.is_slow, is_slow) {
            return;
        }
        let proxy = self.proxy.as_mut().unwrap();
        let file = proxy.folder().join("miroir.toml");
        let text = fs::read_to_string(&file).unwrap();
        let text = match is_slow {
            true => format!("{SLOW}{text}"),
            false => text.replacen(SLOW, "", 1),
        };
        fs::write(file, text).unwrap();
        proxy.restart(&[]).unwrap();
        proxy.wait_ready().unwrap();
    }

    /// What a reader does before a command.
    fn prepare(&mut self, line: &str) {
        if !steers(line) {
            self.set_slow(false);
        }
        if line.starts_with("miroir topology apply ") {
            self.wait_change();
        }
        if let Some(name) = line.strip_prefix("miroir node lost ") {
            self.nodes.get_mut(name.trim()).unwrap().kill();
        }
        if line.starts_with("miroir index reshard ") {
            if line.contains("--shards") && !line.contains("--plan") {
                self.wait_reshard(&["done", "cancelled"]);
            }
            if line.contains("--back") || line.contains("--drop") {
                self.wait_reshard(&["wayBackKept"]);
            }
        }
        if begins(line) {
            self.set_slow(true);
        }
        if line.starts_with("miroir import-dump ") {
            self.begin_anew(true);
        }
        if line.starts_with("miroir recover ") && line.contains("writes nothing") {
            self.begin_anew(false);
        }
        if line.starts_with("miroir restore ") {
            self.wait_tasks();
            self.begin_anew(false);
        }
    }

    /// The command with what the test has in the place of what a page has.
    fn replaced(&mut self, line: &str) -> String {
        let mut line = line.to_owned();
        while let Some(start) = line.find("http://10.0.0.") {
            let end = line[start..].find(' ').map_or(line.len(), |at| start + at);
            let shown = line[start..end].to_owned();
            let url = match line.contains(" node set ") {
                true => {
                    let name = line.split(' ').nth(3).unwrap();
                    let node = self.nodes.get(name).unwrap();
                    node.url().replace("127.0.0.1", "localhost")
                }
                false => {
                    let options = NodeOptions::default();
                    let node = NodeProcess::start(&self.programs.node, options).unwrap();
                    let url = node.url();
                    let words: Vec<&str> = line.split(' ').collect();
                    let by = words.iter().position(|word| *word == "--by");
                    let name = words[by.map_or(3, |at| at + 1)].to_owned();
                    self.nodes.insert(name, node);
                    url
                }
            };
            line = line.replace(&shown, &url);
        }
        line = line.replace("http://127.0.0.1:7700", &self.client.url());
        line = line.replace("/backups/", &format!("{}/", self.backups.path().display()));
        match (line.strip_prefix("miroir import-dump "), &self.dump) {
            (Some(rest), Some(dump)) => {
                let (_, flags) = rest.split_once(' ').unwrap();
                format!("miroir import-dump {} {flags}", dump.display())
            }
            _ => line,
        }
    }

    fn shell(&self, line: &str) -> Command {
        let mut command = clean_command("sh");
        let programs = Path::new(MIROIR).parent().unwrap();
        let path = std::env::var("PATH").unwrap();
        command
            .args(["-euc", line])
            .env("PATH", format!("{}:{path}", programs.display()))
            .env("MIROIR_URL", self.client.url())
            .env("MIROIR_MASTER_KEY", MASTER_KEY)
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        command
    }

    fn run(&self, page: &str, line: &str) {
        println!("$ {line}");
        let output = self.shell(line).output().unwrap();
        let out = String::from_utf8_lossy(&output.stdout);
        let told = String::from_utf8_lossy(&output.stderr);
        println!("{out}{told}");
        assert!(
            output.status.success() && !out.contains("\"code\""),
            "{page} says `{line}`, which ends with {}: {out}{told}",
            output.status
        );
    }

    /// What a reader notes of a command that was carried out.
    fn note(&mut self, line: &str) {
        if line.starts_with("curl ") && line.contains("/dumps") {
            self.wait_tasks();
            let task = self
                .client
                .get("/tasks?types=dumpCreation&limit=1")
                .unwrap();
            let task = task.ok().unwrap()["results"][0].clone();
            assert_eq!(task["status"], "succeeded", "{task}");
            let uid = task["details"]["dumpUid"].as_str().unwrap();
            let dumps = self.proxy.as_ref().unwrap().folder().join("data/dumps");
            let dump = dumps.join(format!("{uid}.dump"));
            assert!(dump.exists(), "{}", dump.display());
            self.dump = Some(dump);
        }
    }

    fn wait_change(&self) {
        poll("the end of a change", PATIENCE, || {
            let staged = self.client.get("/_miroir/topology/staged")?.ok()?;
            Ok(staged
                .get("underway")
                .is_none_or(Value::is_null)
                .then_some(()))
        })
        .unwrap();
    }

    /// Waits until the newest re-shard, if there is one, stands so.
    fn wait_reshard(&self, states: &[&str]) {
        poll("a re-shard", PATIENCE, || {
            let shown = self.client.get("/_miroir/reshards")?.ok()?;
            let newest = shown["results"].as_array().and_then(|all| all.last());
            let state = newest.and_then(|newest| newest["state"].as_str());
            Ok(state
                .is_none_or(|state| states.contains(&state))
                .then_some(()))
        })
        .unwrap();
    }

    fn stop(&mut self) {
        if let Some(proxy) = &mut self.proxy {
            proxy.kill();
        }
        if let Some(mut served) = self.served.take() {
            // It may have ended by itself.
            let _ = served.kill();
            let _ = served.wait();
        }
    }

    /// An empty Miroir: over the same nodes, or over empty ones.
    fn begin_anew(&mut self, are_nodes_empty: bool) {
        self.stop();
        if are_nodes_empty {
            let names: Vec<String> = self.nodes.keys().cloned().collect();
            for name in names {
                let options = NodeOptions::default();
                let node = NodeProcess::start(&self.programs.node, options).unwrap();
                self.nodes.insert(name, node);
            }
        }
        let data = self.folder.join("data.miroir");
        if data.exists() {
            fs::remove_dir_all(&data).unwrap();
        }
        let address = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
        let mut text = format!(
            "http_addr = \"{address}\"\ndata_dir = \"data.miroir\"\nreplication_factor = 2\n\
             default_shards = 8\nlog_retention = \"7 d\"\n"
        );
        for (name, node) in &self.nodes {
            let url = node.url();
            let _ = write!(text, "\n[[nodes]]\nname = \"{name}\"\nurl = \"{url}\"\n");
        }
        fs::write(self.folder.join("miroir.toml"), text).unwrap();
        self.client = Client::new(address, Some(MASTER_KEY));
    }

    fn serve(&mut self, arguments: &str) {
        println!("$ miroir serve {arguments}");
        self.stop();
        let command = self.shell(&format!("exec miroir serve {arguments}"));
        let served = spawn_bound(&command, |streams| {
            streams.stdin(Stdio::null());
        });
        self.served = Some(served.unwrap());
        poll("a proxy that serves", PATIENCE, || {
            let ready = self.client.get("/_miroir/ready");
            Ok(ready.is_ok_and(|ready| ready.status == 200).then_some(()))
        })
        .unwrap();
    }

    fn check_documents(&self, index: &str, count: u64) {
        let query = json!({ "limit": 1000 });
        let found = self.client.search(index, &query).unwrap().ok().unwrap();
        let hits = found["hits"].as_array().unwrap();
        let ids: BTreeSet<u64> = hits.iter().filter_map(|hit| hit["id"].as_u64()).collect();
        assert!(ids.into_iter().eq(0..count), "{found}");
        assert_eq!(hits.len() as u64, count);
    }

    /// The names of the nodes there are, in order.
    fn names(&self) -> Vec<String> {
        let topology = self.client.get("/_miroir/topology").unwrap().ok().unwrap();
        let nodes = topology["nodes"].as_array().unwrap().iter();
        let mut names: Vec<String> = nodes
            .map(|node| node["name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop();
    }
}

#[test]
fn the_page_of_growing_tells_the_truth() {
    let mut reader = Reader::new(&["a", "b", "c"]);
    reader.follow("growing.md");
    assert_eq!(reader.names(), ["a", "b", "c", "d"]);
    reader.check_documents("movies", DOCUMENTS);
}

#[test]
fn the_page_of_shrinking_tells_the_truth() {
    let mut reader = Reader::new(&["a", "b", "c", "d"]);
    reader.follow("shrinking.md");
    reader.wait_change();
    assert_eq!(reader.names(), ["a", "b", "c"]);
    reader.check_documents("movies", DOCUMENTS);
}

#[test]
fn the_page_of_replacing_tells_the_truth() {
    let mut reader = Reader::new(&["a", "b", "c"]);
    reader.follow("replacing.md");
    assert_eq!(reader.names(), ["a", "b2"]);
    reader.check_documents("movies", DOCUMENTS);
}

#[test]
fn the_page_of_resharding_tells_the_truth() {
    let mut reader = Reader::new(&["a", "b"]);
    reader.follow("resharding.md");
    reader.wait_reshard(&["done"]);
    let shards = reader.client.get("/_miroir/indexes/movies/shards").unwrap();
    let shards = shards.ok().unwrap()["shards"].as_array().unwrap().len();
    assert_eq!(shards, 8, "the way back was taken");
    reader.check_documents("movies", DOCUMENTS);
}

#[test]
fn the_page_of_backups_tells_the_truth() {
    let mut reader = Reader::new(&["a", "b"]);
    reader.follow("backups.md");
    assert_eq!(reader.names(), ["a", "b"]);
    reader.check_documents("movies", DOCUMENTS);
}

#[test]
fn the_page_of_operations_tells_the_truth() {
    let mut reader = Reader::new(&["a", "b"]);
    reader.follow("operations.md");
    assert!(reader.folder.join("data.miroir/miroir.db").exists());
    reader.check_documents("movies", DOCUMENTS);
}

/// All pages below a folder.
fn pages(folder: &Path) -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages.extend(self::pages(&path));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
    pages.sort();
    pages
}

/// The commands that a page names: in blocks and within sentences.
fn named_commands(text: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    let mut is_inside = false;
    for line in text.lines() {
        if line.starts_with("```") {
            is_inside = !is_inside;
        } else if is_inside {
            let line = line.split('#').next().unwrap_or_default().trim();
            named.extend(line.starts_with("miroir ").then(|| line.to_owned()));
        } else {
            let spans = line.split('`').skip(1).step_by(2);
            let commands = spans.filter(|span| span.starts_with("miroir "));
            named.extend(commands.map(str::to_owned));
        }
    }
    named
}

/// What `miroir … --help` says, if there is such a command.
fn help(words: &[&str]) -> Option<String> {
    let mut command = Command::new(MIROIR);
    let output = command.args(words).arg("--help").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(text)
}

#[test]
fn every_command_that_a_page_names_exists_with_its_flags() {
    let mut pages = pages(&docs());
    pages.push(docs().join("../README.md"));
    let mut wrong = String::new();
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        let page = page.file_name().unwrap().display().to_string();
        for command in named_commands(&text) {
            let words: Vec<&str> = command.split_whitespace().skip(1).collect();
            let is_name = |word: &&&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
            let names: Vec<&str> = words
                .iter()
                .take_while(|word| !word.starts_with('-'))
                .take_while(is_name)
                .copied()
                .collect();
            // What follows a command's name may be an argument.
            let known = (1..=names.len())
                .rev()
                .find_map(|count| help(&names[..count]));
            let Some(known) = known else {
                let _ = writeln!(wrong, "{page}: there is no `{command}`");
                continue;
            };
            for flag in words.iter().filter(|word| word.starts_with("--")) {
                let flag = flag.split('=').next().unwrap_or_default();
                if !known.contains(flag) {
                    let _ = writeln!(wrong, "{page}: `{command}` has no {flag}");
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
