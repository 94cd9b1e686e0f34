//! `zfnet demo`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use zfnet::error::Error;

use crate::Cli;
use crate::print::answer;

/// Draw a data set, train a small ZFNet on it, evaluate it, and say where everything is
///
/// The data set has eight classes that differ in the texture of one badge, drawn
/// at a random place, size, tilt and colour among distractors. The demo is a few
/// commands of this program in a row; it prints each before it runs it.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  zfnet demo --out runs/demo")]
pub struct Args {
    /// Folder for data set and run; what an earlier demo left there is replaced
    #[arg(long, value_name = "DIR", default_value = "runs/demo")]
    out: PathBuf,

    /// Fewer images and epochs: shows that everything works, not how well
    #[arg(long)]
    quick: bool,

    /// Device: auto takes the fastest there is
    #[arg(long, value_name = "auto|cpu", default_value = "auto")]
    device: String,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let (data, run) = (args.out.join("data"), args.out.join("run"));
    clear(&run)?;
    let (data, run) = (text(&data)?, text(&run)?);
    let (train, val, epochs) = if args.quick { ("512", "128", "2") } else { ("2000", "400", "16") };
    let device = args.device.as_str();

    step(&["pack", "synthetic", "-o", data, "--train", train, "--val", val, "--force"])?;
    step(&["train", "--preset", "small", "--data", data, "--out", run, "--epochs", epochs, "--device", device])?;
    step(&["eval", run, "--data", data, "--crops", "10", "--device", device])?;

    answer!("\nThe demo took {:.0} s. What it left:", started.elapsed().as_secs_f64())?;
    answer!("  {data}  the packed data set, with the mask of every badge")?;
    answer!("  {run}  checkpoints, config.toml, log.txt, and a line for each epoch in metrics.jsonl")?;
    answer!("Now with your own photographs, one folder for each class:")?;
    answer!("  zfnet pack imagefolder PHOTOS -o data/photos --size 72")?;
    answer!("  zfnet train --preset small --data data/photos --out runs/photos")?;
    Ok(ExitCode::SUCCESS)
}

/// Prints and runs one command of this program.
fn step(words: &[&str]) -> anyhow::Result<()> {
    answer!("\n$ zfnet {}", words.join(" "))?;
    crate::dispatch(&Cli::try_parse_from([&["zfnet"], words].concat())?.command)?;
    Ok(())
}

/// Removes the run of an earlier demo, and nothing else.
fn clear(run: &Path) -> anyhow::Result<()> {
    if run.join("config.toml").exists() {
        fs::remove_dir_all(run).map_err(Error::io("remove", run))?;
    }
    Ok(())
}

/// A path as a word of a command line.
fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str()
        .ok_or_else(|| Error::Usage(format!("--out {}: the demo needs a path in UTF-8", path.display())).into())
}
