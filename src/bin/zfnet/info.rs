//! `zfnet info`.

use std::process::ExitCode;

/// Layers, parameters, multiply-accumulates, receptive fields and memory of a network.
#[derive(clap::Args)]
pub struct Args {}

/// Runs the subcommand.
pub fn run(_args: &Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not built yet")
}
