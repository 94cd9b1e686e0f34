//! `zfnet pack`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use zfnet::data::imagefolder::ImageFolder;
use zfnet::data::packed::Manifest;
use zfnet::data::report::{Event, Summary};
use zfnet::data::synthetic::Synthetic;

use crate::print::{answer, talk};

/// Turn a folder of images (or a synthetic recipe) into a packed data set.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    source: Source,
}

#[derive(Subcommand)]
enum Source {
    Imagefolder(FolderArgs),
    Synthetic(SyntheticArgs),
}

/// Pack a folder of JPEG and PNG images, one subfolder a class.
///
/// With train/ and val/ inside DIR, each of them holds the class folders. A
/// file that cannot be decoded is reported and left out, and the exit status
/// is 1 unless --skip-bad is given.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  zfnet pack imagefolder photos -o data/photos --size 72")]
struct FolderArgs {
    /// Folder with one subfolder a class, or with train/ and val/ that have them
    dir: PathBuf,
    #[command(flatten)]
    target: Target,
    /// Side of the square records in pixels
    #[arg(long, default_value_t = ImageFolder::default().size)]
    size: usize,
    /// Share of each class held out for validation, where there is no val/
    #[arg(long, default_value_t = ImageFolder::default().val_fraction)]
    val_fraction: f64,
    /// Seed of what is held out
    #[arg(long, default_value_t = ImageFolder::default().seed)]
    seed: u64,
    /// Exit with 0 although files could not be decoded
    #[arg(long)]
    skip_bad: bool,
}

/// Draw a data set whose discriminating part has a known place, and pack it with masks.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  zfnet pack synthetic -o data/synthetic --classes 8 --train 6000 --val 400")]
struct SyntheticArgs {
    #[command(flatten)]
    target: Target,
    /// Number of classes, 2 to 10
    #[arg(long, default_value_t = Synthetic::default().classes)]
    classes: usize,
    /// Number of training images
    #[arg(long, default_value_t = Synthetic::default().train)]
    train: usize,
    /// Number of validation images
    #[arg(long, default_value_t = Synthetic::default().val)]
    val: usize,
    /// Side of the square records in pixels
    #[arg(long, default_value_t = Synthetic::default().size)]
    size: usize,
    /// Seed of every draw
    #[arg(long, default_value_t = Synthetic::default().seed)]
    seed: u64,
}

/// Where the data set goes.
#[derive(clap::Args)]
struct Target {
    /// Folder for the packed data set
    #[arg(short, long, value_name = "OUT")]
    out: PathBuf,
    /// Replace a data set that stands there already
    #[arg(long)]
    force: bool,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let progress = Progress::new();
    let hear = |event: Event| progress.hear(event);
    let (target, summary, skip_bad) = match &args.source {
        Source::Imagefolder(args) => {
            let FolderArgs { dir, target, size, val_fraction, seed, skip_bad } = args;
            let pack = ImageFolder { size: *size, val_fraction: *val_fraction, seed: *seed, force: target.force };
            (target, pack.pack(dir, &target.out, &hear)?, *skip_bad)
        }
        Source::Synthetic(args) => {
            let SyntheticArgs { target, classes, train, val, size, seed } = args;
            let (classes, train, val, size, seed) = (*classes, *train, *val, *size, *seed);
            let pack = Synthetic { classes, train, val, size, seed, force: target.force };
            (target, pack.pack(&target.out, &hear)?, false)
        }
    };
    progress.bar.finish_and_clear();
    if target.json {
        print_json(target, &summary)?;
    } else {
        print_table(target, &summary)?;
    }
    if summary.skipped > 0 && !skip_bad {
        talk!("zfnet: {} files could not be decoded; --skip-bad accepts that", summary.skipped);
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// A bar on a terminal, and lines for what has to be said.
struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Nothing is drawn where stderr is not a terminal.
    fn new() -> Self {
        Progress { bar: ProgressBar::no_length() }
    }

    fn hear(&self, event: Event) {
        match event {
            Event::Begin(images) => {
                self.bar.set_length(images as u64);
                if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} images, {per_sec}, {eta} left") {
                    self.bar.set_style(style);
                }
            }
            Event::Image => self.bar.inc(1),
            Event::Bad(path, reason) => self.bar.suspend(|| talk!("zfnet: left out {}: {reason}", path.display())),
            Event::Note(text) => self.bar.suspend(|| talk!("zfnet: note: {text}")),
        }
    }
}

fn print_json(target: &Target, summary: &Summary) -> anyhow::Result<()> {
    let Manifest { classes, size, train, val, .. } = &summary.manifest;
    let split = |images, per_class| json!({ "images": images, "per_class": per_class });
    let object = json!({
        "out": target.out,
        "classes": classes,
        "size": size,
        "train": split(train.images, &train.per_class),
        "val": split(val.images, &val.per_class),
        "skipped": summary.skipped,
        "bytes": summary.bytes(),
        "seconds": summary.time.as_secs_f64(),
        "images_per_s": summary.images_per_s(),
    });
    answer!("{object}")?;
    Ok(())
}

/// Classes to list one by one.
const LISTED: usize = 40;

fn print_table(target: &Target, summary: &Summary) -> anyhow::Result<()> {
    let Manifest { classes, size, train, val, .. } = &summary.manifest;
    let width = classes.iter().take(LISTED).map(|class| class.chars().count()).max().unwrap_or(0).max(10);
    answer!("{:width$}  {:>8}  {:>8}", "class", "train", "val")?;
    for (c, class) in classes.iter().enumerate().take(LISTED) {
        answer!("{class:width$}  {:>8}  {:>8}", train.per_class[c], val.per_class[c])?;
    }
    if classes.len() > LISTED {
        answer!("... and {} classes more", classes.len() - LISTED)?;
    }
    answer!("{:width$}  {:>8}  {:>8}", "all", train.images, val.images)?;
    answer!(
        "{} images of {size} x {size} px, {:.1} MB, {:.1} s, {:.0} images/s, {} left out",
        summary.images(),
        summary.bytes() as f64 / 1e6,
        summary.time.as_secs_f64(),
        summary.images_per_s(),
        summary.skipped
    )?;
    answer!("{}", target.out.display())?;
    Ok(())
}
