//! The command line: one module for each command.

mod backup;
mod connection;
mod dev;
#[cfg(feature = "devnode")]
mod devnode;
mod explain;
mod guard;
mod import_dump;
mod index;
mod node;
mod orphans;
mod plan_capacity;
mod recover;
mod reshard;
mod restore;
mod rewind;
mod serve;
mod standing;
mod status;
mod stop;
mod topology;
mod verify;

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use tokio::runtime::Runtime;

/// One Meilisearch endpoint over a striped fleet of Meilisearch nodes.
#[derive(Debug, Parser)]
#[command(
    name = "miroir",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(after_help = "Start here:  miroir dev --demo")]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Dev(dev::Args),
    Serve(serve::Args),
    ImportDump(import_dump::Args),
    Status(status::Args),
    Node(node::Args),
    Topology(topology::Args),
    Explain(explain::Args),
    Index(index::Args),
    PlanCapacity(plan_capacity::Args),
    Verify(verify::Args),
    Orphans(orphans::Args),
    Backup(backup::Args),
    Rewind(rewind::Args),
    Restore(restore::Args),
    Recover(recover::Args),
    Guard(guard::Args),
    #[cfg(feature = "devnode")]
    Devnode(devnode::Args),
}

impl Cli {
    /// Runs the command that was asked for.
    ///
    /// # Errors
    /// Whatever stopped it, in words for the person who typed it.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = match &self.command {
            // It waits for one process and one pipe.
            Command::Guard(_) => tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build(),
            _ => Runtime::new(),
        }?;
        let code = match self.command {
            Command::Dev(args) => runtime.block_on(Box::pin(dev::run(args))),
            Command::Serve(args) => runtime.block_on(Box::pin(serve::run(args))),
            Command::ImportDump(args) => runtime.block_on(Box::pin(import_dump::run(args))),
            Command::Status(args) => runtime.block_on(Box::pin(status::run(args))),
            Command::Node(args) => runtime.block_on(Box::pin(node::run(args))),
            Command::Topology(args) => runtime.block_on(Box::pin(topology::run(args))),
            Command::Explain(args) => runtime.block_on(Box::pin(explain::run(args))),
            Command::Index(args) => runtime.block_on(Box::pin(index::run(args))),
            Command::PlanCapacity(args) => runtime.block_on(Box::pin(plan_capacity::run(&args))),
            Command::Verify(args) => runtime.block_on(Box::pin(verify::run(args))),
            Command::Orphans(args) => runtime.block_on(Box::pin(orphans::run(args))),
            Command::Backup(args) => runtime.block_on(Box::pin(backup::run(args))),
            Command::Rewind(args) => runtime.block_on(Box::pin(rewind::run(args))),
            Command::Restore(args) => restore::run(&args),
            Command::Recover(args) => runtime.block_on(Box::pin(recover::run(args))),
            Command::Guard(args) => runtime.block_on(Box::pin(guard::run(args))),
            #[cfg(feature = "devnode")]
            Command::Devnode(args) => runtime.block_on(Box::pin(devnode::run(args))),
        };
        // What is still blocked on a read of standard input must not keep the process alive.
        runtime.shutdown_background();
        code
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
