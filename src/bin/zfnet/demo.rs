//! `zfnet demo`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use zfnet::data::packed::{Dataset, Split};
use zfnet::error::Error;

use crate::Cli;
use crate::print::answer;

/// Images that are looked at one by one.
const IMAGES: usize = 3;

/// Draw a data set, train a small ZFNet on it, evaluate it, and show what it learned
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
    #[arg(long, value_name = "auto|cpu|cuda:N|emulator", default_value = "auto")]
    device: String,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let (data, run) = (args.out.join("data"), args.out.join("run"));
    clear(&run)?;
    let (data, run) = (text(&data)?, text(&run)?);
    let (train, val, epochs, kept) =
        if args.quick { ("512", "128", "2", "1,2") } else { ("6000", "400", "12", "1,2,4,8,12") };
    let device = args.device.as_str();

    step(&["pack", "synthetic", "-o", data, "--train", train, "--val", val, "--force"])?;
    let training = ["train", "--preset", "small", "--data", data, "--out", run, "--epochs", epochs];
    step(&[&training[..], &["--keep-epochs", kept, "--device", device]].concat())?;
    step(&["eval", run, "--data", data, "--crops", "10", "--device", device])?;
    let images = images(&args.out.join("images"), Path::new(data))?;
    let images = images.iter().map(|path| text(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let figure = |kind, more: &[&str]| step(&[&["visualize", kind, run], more, &["--device", device]].concat());
    figure("top9", &["--data", data, "--maps", "random:8"])?;
    figure("evolution", &["--data", data, "--maps", "random:6", "--epochs", kept])?;
    figure("occlusion", &[&images[..], &["--data", data]].concat())?;
    figure("invariance", &images)?;
    figure("correspondence", &["--data", data])?;
    figure("score", &["--data", data, "--images", if args.quick { "128" } else { "60" }])?;
    step(&["visualize", "filters", run])?;
    figure("diagnose", &["--data", data])?;
    step(&["report", run])?;

    answer!("\nThe demo took {:.0} s. What it left:", started.elapsed().as_secs_f64())?;
    answer!("  {data}  the packed data set, with the mask of every badge")?;
    answer!("  {run}  checkpoints, config.toml, log.txt, and a line for each epoch in metrics.jsonl")?;
    answer!("  {run}/report.html  all of it on one page: open it in a browser")?;
    answer!("Now with your own photographs, one folder for each class:")?;
    answer!("  zfnet pack imagefolder PHOTOS -o data/photos --size 72")?;
    answer!("  zfnet train --preset small --data data/photos --out runs/photos")?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the first validation image of some classes as a PNG into a folder of the class's
/// name, as photographs would lie there.
fn images(folder: &Path, data: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let data = Dataset::open(data)?;
    let (records, side) = (data.split(Split::Val), data.size() as u32);
    let mut images = Vec::new();
    for (class, name) in data.classes().iter().enumerate().rev().take(IMAGES) {
        let Some(i) = (0..records.len()).find(|&i| records.label(i) == class) else { continue };
        let path = folder.join(name).join(format!("{name}.png"));
        let at = folder.join(name);
        fs::create_dir_all(&at).map_err(Error::io("create", &at))?;
        image::save_buffer(&path, records.record(i), side, side, image::ColorType::Rgb8)?;
        images.push(path);
    }
    Ok(images)
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
