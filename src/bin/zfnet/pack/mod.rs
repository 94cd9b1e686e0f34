//! `zfnet pack`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Subcommand;

use crate::print::talk;

mod progress;
mod source;
mod summary;
mod synthetic;

use progress::Progress;

/// Turn a data set (or a synthetic recipe) into the packed form that training reads.
///
/// Every source is read as it is distributed, from folders or straight from its
/// tar files. A pack that was stopped goes on where it was when the same
/// command is given again. An image that cannot be decoded is reported and left
/// out, and the exit status is 1 unless --skip-bad is given.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    source: Source,
}

#[derive(Subcommand)]
enum Source {
    #[command(flatten)]
    DataSet(DataSet),
    Synthetic(synthetic::Args),
}

#[derive(Subcommand)]
enum DataSet {
    Imagefolder(source::ImageFolderArgs),
    Imagenet(source::ImageNetArgs),
    Caltech101(source::Caltech101Args),
    Caltech256(source::Caltech256Args),
    Voc2012(source::Voc2012Args),
    Cifar10(source::CifarArgs),
    Cifar100(source::CifarArgs),
    Csv(source::CsvArgs),
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
    let (target, summary, skip_bad) = match &args.source {
        Source::Synthetic(args) => (&args.target, args.pack(&progress)?, false),
        Source::DataSet(set) => {
            let (job, stop) = (source::job(set), heard_ctrl_c()?);
            (job.target, job.pack(&progress, &stop)?, job.skip_bad)
        }
    };
    progress.finish();
    if target.json {
        summary::print_json(target, &summary)?;
    } else {
        summary::print_table(target, &summary)?;
    }
    if summary.skipped() > 0 && !skip_bad {
        talk!("zfnet: {} files could not be decoded; --skip-bad accepts that", summary.skipped());
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// A flag that Ctrl-C raises.
fn heard_ctrl_c() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if asked.swap(true, Ordering::SeqCst) {
            // The second time: at once. What the journal has stands.
            std::process::exit(130);
        }
    })?;
    Ok(stop)
}
