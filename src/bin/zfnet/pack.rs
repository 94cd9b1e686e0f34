//! `zfnet pack`.

use std::process::ExitCode;

/// Turn a folder of images (or a synthetic recipe) into a packed data set.
#[derive(clap::Args)]
pub struct Args {}

/// Runs the subcommand.
pub fn run(_args: &Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not built yet")
}
