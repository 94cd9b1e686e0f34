//! `zfnet table`.

mod networks;
pub mod transfer;
mod voc;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use zfnet::data::packed::Dataset;
use zfnet::error::{Error, Result};
use zfnet::paper::comparison::Comparison;
use zfnet::paper::net::Scale;
use zfnet::paper::runs::Series;
use zfnet::paper::table::{self, Table};
use zfnet::paper::transfer::{self as paper, TransferTable, check_sets};
use zfnet::section::Place;
use zfnet::train::evaluate::TestCrops;
use zfnet::train::replace::replace_file;
use zfnet::train::{Recipe, TrainEdit};

use self::transfer::Trial;
use crate::machine::Machine;
use crate::print::answer;
use crate::table::aligned;

/// Make a table of the paper, beside the published numbers
///
/// Trains the networks that the table needs, each in a folder of its own below OUT/runs,
/// and measures their errors. What is finished there is taken as it is, what is begun
/// goes on, so Ctrl-C and the same command again lose nothing, and tables share networks.
/// `--scale small` takes the same networks in miniature, for 72-px records.
#[derive(clap::Args)]
#[command(after_help = after_help())]
pub struct Args {
    /// Number of the table
    number: u32,

    /// Packed data set; Table 6 wants two, --data caltech101 --data caltech256
    #[arg(long, value_name = "DIR", required = true)]
    data: Vec<PathBuf>,

    /// Folder for runs and tables
    #[arg(long, value_name = "DIR", default_value = "runs/paper")]
    out: PathBuf,

    /// Size of the networks: paper (224 px) or small (64 px)
    #[arg(long, default_value = "paper")]
    scale: Scale,

    /// Initialisation, weight decay and schedule together: paper or practical
    #[arg(long)]
    recipe: Option<Recipe>,

    /// Passes over the training images
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,

    /// Images in a batch
    #[arg(long, value_name = "N")]
    batch: Option<usize>,

    /// Learning rate at the beginning
    #[arg(long, value_name = "X")]
    lr: Option<f64>,

    /// Seed of the first network of a row
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Repetitions with other seeds; the table then shows mean and standard deviation
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    repeat: u64,

    /// Rows to make, counted from 1 [default: all]
    #[arg(long, value_name = "ROW,..", value_delimiter = ',')]
    only: Vec<usize>,

    /// Windows of each image: 1 for the centre, 10 for corners and centre with flips
    #[arg(long, value_name = "1|10", default_value = "10")]
    crops: TestCrops,

    /// Tables 3 to 6: the trained network [default: OUT/runs/zfnet-SEED]
    #[arg(long, value_name = "RUN")]
    run: Option<PathBuf>,

    /// Tables 3, 4 and 6: how often images are drawn
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    folds: u32,

    /// Only say what would be trained, and how long it would take
    #[arg(long)]
    dry_run: bool,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    machine: Machine,
}

impl Args {
    /// The network whose features are tried.
    fn tried(&self) -> PathBuf {
        let seed = self.seed.unwrap_or(1);
        self.run.clone().unwrap_or_else(|| self.out.join("runs").join(format!("zfnet-{seed}")))
    }
}

fn after_help() -> String {
    let networks = table::TABLES.iter().map(|table| (table.number, table.title));
    let transfer = paper::TABLES.iter().map(|table| (table.number, table.title));
    let titles: Vec<String> = networks.chain(transfer).map(|(number, title)| format!("  {number}  {title}")).collect();
    format!(
        "Tables:\n{}\n  5  PASCAL VOC 2012: average precision in %\n\nExamples:\n  zfnet table 2 --data data/imagenet --dry-run\n  \
         zfnet table 2 --data data/photos --scale small --out runs/small --repeat 3\n  \
         zfnet table 6 --data data/caltech101 --data data/caltech256",
        titles.join("\n")
    )
}

/// Runs the subcommand.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let comparison = match (args.number, TransferTable::numbered(args.number)) {
        (5, _) => precision(args)?,
        (_, Some(table)) => features(args, table)?,
        (_, None) => networks(args)?,
    };
    let Some(comparison) = comparison else { return Ok(ExitCode::SUCCESS) };
    let stem = args.out.join(format!("table{}", args.number));
    save(&comparison, &stem)?;
    if args.json {
        answer!("{}", serde_json::to_string(&comparison)?)?;
    } else {
        answer!("Table {}. {}\n\n{}", args.number, comparison.title, aligned(&comparison.text(), 1))?;
        answer!("{}, .json", stem.with_extension("csv").display())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the table as `stem`.csv and `stem`.json.
pub fn save(comparison: &Comparison, stem: &Path) -> anyhow::Result<()> {
    comparison.csv(&stem.with_extension("csv"))?;
    let text = serde_json::to_string_pretty(comparison)?;
    Ok(replace_file(&stem.with_extension("json"), |out| writeln!(out, "{text}"))?)
}

/// Tables 1 and 2; `None` if this is a dry run.
fn networks(args: &Args) -> anyhow::Result<Option<Comparison>> {
    let table = Table::numbered(args.number)?;
    let rows = chosen(table.rows, args)?;
    check_sets(&["imagenet"], args.data.len())?;
    let edit = edit(args)?;
    let device = args.machine.open()?;
    let data = Arc::new(Dataset::open(&args.data[0])?);
    let series = Series { out: &args.out, data: &data, scale: args.scale, edit: &edit, repetitions: args.repeat };
    let runs = series.plan(&rows)?;
    if args.dry_run {
        networks::forecast(args, &runs, &data, device)?;
        return Ok(None);
    }
    networks::train(&runs, &data, device)?;
    Ok(Some(networks::fill(args, table, &rows, &series, &data, device)?))
}

/// Table 5; `None` if this is a dry run.
fn precision(args: &Args) -> anyhow::Result<Option<Comparison>> {
    if !args.only.is_empty() {
        return Err(
            Error::Usage("--only: Table 5 is made whole, for its classes are told apart together".into()).into()
        );
    }
    check_sets(&["voc2012"], args.data.len())?;
    voc::make(&args.tried(), &args.data[0], &args.out, &args.machine, args.dry_run)
}

/// Tables 3, 4 and 6; `None` if this is a dry run.
fn features(args: &Args, table: &TransferTable) -> anyhow::Result<Option<Comparison>> {
    let seed = args.seed.unwrap_or(1);
    let run = args.tried();
    let rows = chosen(table.rows, args)?;
    let (data, folds, machine) = (&args.data[..], args.folds as usize, &args.machine);
    Trial { table, rows, run, data, out: &args.out, folds, seed, machine }.make(args.dry_run)
}

/// The rows asked for, in the table's order.
fn chosen<'a, R>(rows: &'a [R], args: &Args) -> Result<Vec<&'a R>> {
    let (only, n) = (&args.only, rows.len());
    if let Some(row) = only.iter().find(|row| !(1..=n).contains(*row)) {
        return Err(Error::Usage(format!("--only {row}: table {} has rows 1 to {n}", args.number)));
    }
    let wanted = |i: usize| only.is_empty() || only.contains(&(i + 1));
    Ok(rows.iter().enumerate().filter(|(i, _)| wanted(*i)).map(|(_, row)| row).collect())
}

fn edit(args: &Args) -> Result<TrainEdit> {
    let Args { recipe, epochs, batch, lr, seed, .. } = *args;
    let edit = TrainEdit { recipe, epochs, batch, seed, lr, ..TrainEdit::default() };
    edit.check(|_| Place::whole("command line"))?;
    Ok(edit)
}
