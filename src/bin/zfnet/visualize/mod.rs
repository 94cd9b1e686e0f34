//! `zfnet visualize`: one file a figure.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use zfnet::data::packed::Dataset;
use zfnet::error::{Error, Result};
use zfnet::net::{LayerOp, Plan};
use zfnet::train::evaluate::same_classes;
use zfnet::train::model::Model;

use crate::machine::Machine;

mod correspondence;
mod diagnose;
mod evolution;
mod filters;
mod invariance;
mod marks;
mod occlusion;
mod score;
mod search;
mod top9;

/// Draw what a trained network has learned
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    figure: Figure,
}

#[derive(Subcommand)]
enum Figure {
    Correspondence(correspondence::Args),
    Evolution(evolution::Args),
    Invariance(invariance::Args),
    Diagnose(diagnose::Args),
    Filters(filters::Args),
    Occlusion(occlusion::Args),
    Score(score::Args),
    Top9(top9::Args),
}

/// Runs the subcommand.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.figure {
        Figure::Correspondence(args) => correspondence::run(args),
        Figure::Evolution(args) => evolution::run(args),
        Figure::Invariance(args) => invariance::run(args),
        Figure::Diagnose(args) => diagnose::run(args),
        Figure::Filters(args) => filters::run(args),
        Figure::Occlusion(args) => occlusion::run(args),
        Figure::Score(args) => score::run(args),
        Figure::Top9(args) => top9::run(args),
    }
}

/// What every figure of one checkpoint may be told.
#[derive(clap::Args)]
struct Common {
    /// Which checkpoint of a run: best, last, epoch-N
    #[arg(long, value_name = "WHICH", default_value = "best")]
    checkpoint: String,

    /// Folder for what is drawn, and its numbers [default: figures in the run, of several the first]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Print JSON: one object, or one for each image where there are several
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    machine: Machine,
}

/// The folder for figures, made if it is not there: `out`, or beside the checkpoint, which
/// lies in the run's folder.
fn folder(out: Option<&Path>, model: &Model) -> Result<PathBuf> {
    let beside = || model.path.parent().unwrap_or(Path::new(".")).join("figures");
    let folder = out.map_or_else(beside, Path::to_path_buf);
    fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
    Ok(folder)
}

/// A data set that the run can look at: of its classes, in records of its size.
fn open_data(path: &Path, model: &Model) -> Result<Dataset> {
    let data = Dataset::open(path)?;
    same_classes(&model.checkpoint.header.classes, data.classes(), &model.path, data.root())?;
    model.takes(&data)?;
    Ok(data)
}

/// The layers' names, checked; the convolutions if none is asked for.
fn layers(asked: &[String], plan: &Plan) -> Result<Vec<String>> {
    let chosen = plan.layers.iter().filter(|layer| match asked {
        [] => matches!(layer.op, LayerOp::Conv { .. }),
        [all] if all == "all" => true,
        names => names.contains(&layer.name),
    });
    if asked != ["all"] {
        asked.iter().try_for_each(|name| plan.layer_index(name).map(|_| ()))?;
    }
    Ok(chosen.map(|layer| layer.name.clone()).collect())
}
