//! `zfnet visualize filters`.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;
use zfnet::report::filters;
use zfnet::train::model::Model;
use zfnet::understand::diagnose::{dominance, first_filters, rms};

use crate::print::answer;
use crate::visualize::folder;

/// The filters of the first layer as pictures
///
/// Twice: in one contrast for all, so that a filter that dominates shows, and each in its
/// own, so that the pattern of every one shows. Grey is 0.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  zfnet visualize filters runs/photos")]
pub struct Args {
    /// Folder of a run, or a checkpoint file
    #[arg(value_name = "RUN")]
    run: PathBuf,

    /// Which checkpoint of the run: best, last, epoch-N
    #[arg(long, value_name = "WHICH", default_value = "best")]
    checkpoint: String,

    /// Folder for the figure [default: RUN/figures]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let model = Model::open(&args.run, &args.checkpoint)?;
    let weights = first_filters(&model.plan, &model.checkpoint.weights)?;
    let out = folder(args.out.as_deref(), &model)?;
    // The picture goes places; where the run lies on this machine concerns nobody there.
    let name = args.run.file_stem().unwrap_or(args.run.as_os_str()).to_string_lossy();
    let files = filters::draw(weights, &name, &out)?;
    match args.json {
        false => answer!("{}", files.png.display())?,
        true => answer!(
            "{}",
            json!({
                "checkpoint": model.path,
                "filters": weights.shape[0],
                "dominance": dominance(&rms(weights)),
                "png": files.png,
                "csv": files.csv,
            })
        )?,
    }
    Ok(ExitCode::SUCCESS)
}
