//! `zfnet report`.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;
use zfnet::report::page::Page;
use zfnet::train::model::Model;
use zfnet::train::replace::replace_file;

use crate::print::{answer, talk};
use crate::table::bytes;

/// Write the page of a run: curves, layers, figures and settings in one HTML file
///
/// The page needs no network and no other file. It shows the figures that
/// `zfnet visualize` has left in RUN/figures, and says which of them are not made yet.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  zfnet report runs/photos && xdg-open runs/photos/report.html")]
pub struct Args {
    /// Folder of a run
    #[arg(value_name = "RUN")]
    run: PathBuf,

    /// The page [default: RUN/report.html]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Folder with the figures [default: RUN/figures]
    #[arg(long, value_name = "DIR")]
    figures: Option<PathBuf>,

    /// Which checkpoint the page is about: best, last, epoch-N
    #[arg(long, value_name = "WHICH", default_value = "best")]
    checkpoint: String,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.run.is_file() {
        anyhow::bail!("{} is a file: give the folder of a run, where its curves are", args.run.display());
    }
    let model = Model::open(&args.run, &args.checkpoint)?;
    let figures = args.figures.clone().unwrap_or_else(|| args.run.join("figures"));
    let Page { html, missing } = Page::build(&args.run, &model, &figures)?;
    let out = args.out.clone().unwrap_or_else(|| args.run.join("report.html"));
    replace_file(&out, |file| file.write_all(html.as_bytes()))?;
    if args.json {
        let missing: Vec<_> =
            missing.iter().map(|(section, command)| json!({ "section": section, "command": command })).collect();
        answer!("{}", json!({ "page": out, "bytes": html.len(), "missing": missing }))?;
    } else {
        missing.iter().for_each(|(section, command)| talk!("not made yet: {section} (zfnet {command})"));
        answer!("{}  ({})", out.display(), bytes(html.len() as u64))?;
    }
    Ok(ExitCode::SUCCESS)
}
