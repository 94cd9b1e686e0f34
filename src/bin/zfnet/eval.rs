//! `zfnet eval`.

use std::process::ExitCode;

/// Top-1, top-5, per-class accuracy and confusion matrix of a run.
#[derive(clap::Args)]
pub struct Args {}

/// Runs the subcommand.
pub fn run(_args: &Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not built yet")
}
