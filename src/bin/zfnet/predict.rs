//! `zfnet predict`.

use std::process::ExitCode;

/// The five most probable classes of image files.
#[derive(clap::Args)]
pub struct Args {}

/// Runs the subcommand.
pub fn run(_args: &Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not built yet")
}
