//! `zfnet visualize`: one file a figure.

use std::process::ExitCode;

use clap::Subcommand;

mod evolution;
mod search;
mod subject;
mod top9;

/// Draw what a trained network has learned
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    figure: Figure,
}

#[derive(Subcommand)]
enum Figure {
    Top9(top9::Args),
    Evolution(evolution::Args),
}

/// Runs the subcommand.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.figure {
        Figure::Top9(args) => top9::run(args),
        Figure::Evolution(args) => evolution::run(args),
    }
}
