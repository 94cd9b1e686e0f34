//! `zfnet figure`.

use std::path::PathBuf;
use std::process::ExitCode;

use zfnet::error::Error;
use zfnet::paper::transfer::{FIGURE_7, draw};

use crate::machine::Machine;
use crate::print::answer;
use crate::table::aligned;
use crate::tables::save;
use crate::tables::transfer::Trial;

/// Make Figure 7 of the paper: accuracy on other data against its images of a class
///
/// The other figures are `zfnet visualize`'s. Features of the trained network's layer 7 are
/// classified by softmax; what an earlier command found out is taken as it is.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  zfnet figure 7 --run runs/paper/runs/zfnet-1 --data data/caltech256")]
pub struct Args {
    /// Number of the figure: 7
    number: u32,

    /// Packed data set, Caltech-256 in the paper
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// The trained network: folder of a run, or a checkpoint file
    #[arg(long, value_name = "RUN", default_value = "runs/paper/runs/zfnet-1")]
    run: PathBuf,

    /// Folder for results
    #[arg(long, value_name = "DIR", default_value = "runs/paper")]
    out: PathBuf,

    /// How often images are drawn
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    folds: u32,

    /// Seed of the draws
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Only print the commands that would run
    #[arg(long)]
    dry_run: bool,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    machine: Machine,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.number != FIGURE_7.number {
        let number = args.number;
        return Err(Error::Usage(format!("figure {number}: only 7 is made here; see zfnet visualize --help")).into());
    }
    let trial = Trial {
        table: &FIGURE_7,
        rows: FIGURE_7.rows.iter().collect(),
        run: args.run.clone(),
        data: std::slice::from_ref(&args.data),
        out: &args.out,
        folds: args.folds as usize,
        seed: args.seed,
        machine: &args.machine,
    };
    let Some(comparison) = trial.make(args.dry_run)? else { return Ok(ExitCode::SUCCESS) };
    save(&comparison, &args.out.join("figure7"))?;
    let picture = args.out.join("figure7.png");
    if let Some(line) = comparison.rows.first() {
        draw(&FIGURE_7, line, &picture)?;
    }
    if args.json {
        answer!("{}", serde_json::to_string(&comparison)?)?;
    } else {
        answer!("Figure 7. {}\n\n{}", FIGURE_7.title, aligned(&comparison.text(), 1))?;
        answer!("{}", picture.display())?;
    }
    Ok(ExitCode::SUCCESS)
}
