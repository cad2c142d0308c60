//! `miroir topology apply --file`: the topology that a file declares.

use super::{ANSWER_MAX, say_staged, understood, waited};
use crate::cli::connection::Connection;
use crate::config::{self, Overrides};
use crate::screen;
use anyhow::{Context, bail};
use http::Method;
use miroir_api::admin::{Declaration, DeclarationOutcome};
use std::path::Path;
use std::process::ExitCode;

/// Secrets are the proxy's and not this command's: any will do to read the file.
const ANY_SECRET: &str = "not the secret, which only the proxy needs";

/// Compares, stages, applies as the file says; exit code 2 if something of it cannot be done now.
pub(super) async fn run(
    proxy: &Connection,
    file: &Path,
    dry_run: bool,
    wait: bool,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let declaration = Declaration {
        dry_run,
        ..read(file)?
    };
    let client = proxy.client(ANSWER_MAX)?;
    let body = serde_json::to_value(&declaration)?;
    let answer = client
        .send_json(Method::POST, "/_miroir/topology/declare", &body)
        .await?;
    let outcome: DeclarationOutcome = understood(answer)?;
    screen::say(if json {
        serde_json::to_string_pretty(&outcome)?
    } else {
        to_text(&outcome)
    });
    if wait && outcome.is_applied {
        let staged = understood(client.get("/_miroir/topology/staged").await?)?;
        let (staged, code) = waited(&client, staged).await?;
        if !json {
            say_staged(serde_json::to_value(&staged)?, false)?;
        }
        return Ok(code);
    }
    Ok(match outcome.objections.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(2),
    })
}

fn read(file: &Path) -> anyhow::Result<Declaration> {
    let source = std::fs::read_to_string(file)
        .with_context(|| format!("the configuration {} cannot be read", file.display()))?;
    let config = config::resolve(file, &source, Overrides::default(), |_| {
        Some(ANY_SECRET.to_owned())
    })?;
    let Some(declaration) = config.topology else {
        bail!(
            "{} declares no topology: write a `[topology]` table into it",
            file.display()
        );
    };
    Ok(declaration)
}

fn to_text(outcome: &DeclarationOutcome) -> String {
    let mut lines = Vec::new();
    if outcome.changes.is_empty() && outcome.objections.is_empty() {
        lines.push("All is as declared.".to_owned());
    }
    if !outcome.changes.is_empty() {
        lines.push("What differs from what is declared:".to_owned());
        lines.extend(outcome.changes.iter().map(|change| format!("  {change}")));
    }
    for objection in &outcome.objections {
        lines.push(format!("Not done: {objection}"));
    }
    match outcome.staged_epoch {
        _ if outcome.is_applied => lines.push(format!(
            "Epoch {} is being carried out: miroir topology status",
            outcome.epoch
        )),
        Some(epoch) => lines.push(format!(
            "\nStaged as epoch {epoch}.\nSee what would be done: miroir topology plan\nBegin:       \
             {:12}miroir topology apply --epoch {epoch}",
            ""
        )),
        None => {}
    }
    lines.join("\n")
}
