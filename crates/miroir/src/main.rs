//! The `miroir` program: one Meilisearch endpoint over a striped fleet of Meilisearch nodes.
//!
//! It wires the library crates together and alone reads arguments and environment. Commands are
//! in [`cli`], what they run with in [`config`], the proxy itself behind [`wire`].

mod cli;
mod client;
mod clock;
mod config;
mod demo;
mod dev;
mod import;
mod recover;
mod screen;
mod stop_at;
mod telemetry;
mod wire;

use clap::Parser;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            screen::problem(&error);
            ExitCode::FAILURE
        }
    }
}
