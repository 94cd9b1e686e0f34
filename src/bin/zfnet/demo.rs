//! `zfnet demo`.

use std::process::ExitCode;

/// Synthesise data, train a small ZFNet, evaluate it, and say where everything is.
#[derive(clap::Args)]
pub struct Args {}

/// Runs the subcommand.
pub fn run(_args: &Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not built yet")
}
