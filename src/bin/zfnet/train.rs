//! `zfnet train`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use zfnet::data::packed::Dataset;
use zfnet::error::{Error, Result};
use zfnet::ops::Backend;
use zfnet::section::Place;
use zfnet::train::checkpoint::Checkpoint;
use zfnet::train::device::Job;
use zfnet::train::run::{Resumed, Run};
use zfnet::train::trainer::{Options, Summary, Trainer, plan};
use zfnet::train::{Config, Recipe, TrainEdit};

use crate::machine::Machine;
use crate::print::answer;
use crate::terminal::Terminal;

/// Train a network on a packed data set
///
/// The folder OUT gets config.toml (every setting), metrics.jsonl (a line per
/// epoch), log.txt, last.safetensors and best.safetensors. Ctrl-C finishes the
/// step under way, saves and exits with status 130; --resume goes on from there.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  zfnet train --preset small --data data/photos --out runs/photos --epochs 40")]
pub struct Args {
    /// Network that comes with the program (`zfnet info --help` lists them)
    #[arg(long, value_name = "NAME", required_unless_present_any = ["config", "resume"], conflicts_with = "config")]
    preset: Option<String>,

    /// Description of network and training
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Packed data set
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// Folder for the run
    #[arg(long, value_name = "RUN")]
    out: PathBuf,

    /// Initialisation, weight decay and schedule together: paper or practical
    #[arg(long, value_parser = ["paper", "practical"])]
    recipe: Option<String>,

    /// Passes over the training images
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,

    /// Images in a batch
    #[arg(long, value_name = "N")]
    batch: Option<usize>,

    /// Learning rate at the beginning
    #[arg(long, value_name = "X")]
    lr: Option<f64>,

    /// Seed of weights, order, crops and dropout
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Epochs of which to keep a checkpoint, e.g. 1,2,5,10 (say it again with --resume)
    #[arg(long, value_name = "N,..", value_delimiter = ',')]
    keep_epochs: Vec<u64>,

    /// Minutes between checkpoints within an epoch
    #[arg(long, value_name = "MINUTES", default_value_t = 10.0)]
    save_every: f64,

    /// Run every operation of a step by itself, for comparison: the same results, to rounding at most
    #[arg(long)]
    unfused: bool,

    /// Go on with the run in OUT, with its configuration
    #[arg(long, conflicts_with_all = ["preset", "config", "recipe", "epochs", "batch", "lr", "seed"])]
    resume: bool,

    /// Print the summary as one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    machine: Machine,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let device = args.machine.open()?;
    let save_every = Duration::try_from_secs_f64(args.save_every * 60.0)
        .map_err(|e| Error::Usage(format!("--save-every {}: {e}", args.save_every)))?;
    let data = Arc::new(Dataset::open(&args.data)?);
    let Resumed { mut run, config, checkpoint } = open_run(args, &data)?;
    let options =
        Options { save_every, keep_epochs: args.keep_epochs.clone(), loader_threads: 2, fused: !args.unfused };
    let mut terminal = Terminal::new()?;
    let job =
        Train { config: &config, data: &data, run: &mut run, checkpoint, options: &options, terminal: &mut terminal };
    let summary = match device.run(job) {
        Ok(summary) => summary,
        Err(error) => {
            if !args.resume {
                run.withdraw()?;
            }
            return Err(error.into());
        }
    };
    drop(terminal);
    print(args, &run, &summary)?;
    Ok(ExitCode::SUCCESS)
}

/// The folder, fresh or resumed, with its configuration.
fn open_run(args: &Args, data: &Dataset) -> anyhow::Result<Resumed> {
    if args.resume {
        return Ok(Run::resume(&args.out)?);
    }
    let mut config = match (&args.preset, &args.config) {
        (Some(name), _) => Config::preset(name)?,
        (None, Some(file)) => Config::file(file)?,
        (None, None) => return Err(Error::Usage("--preset NAME or --config FILE says which network".into()).into()),
    };
    let recipe = |name: &String| Recipe::NAMES.into_iter().find(|(known, _)| known == name).map(|(_, recipe)| recipe);
    let edit = TrainEdit {
        recipe: args.recipe.as_ref().and_then(recipe),
        epochs: args.epochs,
        batch: args.batch,
        seed: args.seed,
        lr: args.lr,
        ..TrainEdit::default()
    };
    edit.check(|_| Place::whole("command line"))?;
    config.train.apply(&edit);
    // What does not fit is refused before the folder exists.
    plan(&config, data)?;
    config.net = config.net.with_classes(data.classes().len());
    let run = Run::create(&args.out, &config.to_toml())?;
    Ok(Resumed { run, config, checkpoint: None })
}

/// Training, on whichever backend.
pub struct Train<'a> {
    /// Network and settings.
    pub config: &'a Config,
    /// The data set.
    pub data: &'a Arc<Dataset>,
    /// Its folder.
    pub run: &'a mut Run,
    /// Where it goes on.
    pub checkpoint: Option<Checkpoint>,
    /// How to go about it.
    pub options: &'a Options,
    /// Who watches.
    pub terminal: &'a mut Terminal,
}

impl Job for Train<'_> {
    type Output = Summary;

    fn run<B: Backend>(self, backend: B) -> Result<Summary> {
        Trainer::new(backend, self.config, self.data, self.run, self.checkpoint, self.options, self.terminal)?.train()
    }
}

/// The result, and where everything is.
fn print(args: &Args, run: &Run, summary: &Summary) -> anyhow::Result<()> {
    let file = |path: PathBuf| path.exists().then(|| path.display().to_string());
    if args.json {
        let answer = json!({
            "run": args.out,
            "epochs": summary.epochs,
            "steps": summary.steps,
            "best_epoch": summary.best.map(|b| b.epoch),
            "best_score": summary.best.map(|b| b.score),
            "best": file(run.best()),
            "last": file(run.last()),
            "metrics": run.metrics(),
        });
        answer!("{answer}")?;
        return Ok(());
    }
    answer!("{} epochs, {} updates", summary.epochs, summary.steps)?;
    if let Some(best) = summary.best {
        answer!("best   top-1 {:.4} after epoch {}: {}", best.score, best.epoch, run.best().display())?;
    }
    answer!("last   {}", run.last().display())?;
    answer!("curves {}", run.metrics().display())?;
    answer!("next   zfnet eval {} --data {} --crops 10", args.out.display(), args.data.display())?;
    Ok(())
}
