//! `zfnet table`.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use zfnet::data::packed::{Dataset, Split};
use zfnet::error::{Error, Result};
use zfnet::net::section::Place;
use zfnet::paper::comparison::{Cell, Comparison, Line};
use zfnet::paper::errors::{Errors, Measurement};
use zfnet::paper::net::Scale;
use zfnet::paper::runs::{Measure as Rate, PlannedRun, Series, sizes};
use zfnet::paper::table::{Measure, Row, TABLES, Table};
use zfnet::train::device::Device;
use zfnet::train::evaluate::TestCrops;
use zfnet::train::replace::replace_file;
use zfnet::train::run::{Resumed, Run};
use zfnet::train::trainer::Options;
use zfnet::train::{Recipe, TrainEdit};

use crate::bar::Bar;
use crate::machine::Machine;
use crate::print::{answer, talk};
use crate::table::{aligned, duration, grouped};
use crate::terminal::Terminal;
use crate::train::Train;

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

    /// Packed data set
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

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

    /// Only say what would be trained, and how long it would take
    #[arg(long)]
    dry_run: bool,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    machine: Machine,
}

fn after_help() -> String {
    let titles: Vec<String> = TABLES.iter().map(|table| format!("  {}  {}", table.number, table.title)).collect();
    format!(
        "Tables:\n{}\n\nExamples:\n  zfnet table 2 --data data/imagenet --dry-run\n  \
         zfnet table 2 --data data/photos --scale small --out runs/small --repeat 3",
        titles.join("\n")
    )
}

/// Runs the subcommand.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let table = Table::numbered(args.number)?;
    let rows = chosen(table, &args.only)?;
    let edit = edit(args)?;
    let device = args.machine.open()?;
    let data = Arc::new(Dataset::open(&args.data)?);
    let series = Series { out: &args.out, data: &data, scale: args.scale, edit: &edit, repetitions: args.repeat };
    let runs = series.plan(&rows)?;
    if args.dry_run {
        forecast(args, &runs, &data, device)?;
        return Ok(ExitCode::SUCCESS);
    }
    train(&runs, &data, device)?;
    let comparison = fill(args, table, &rows, &series, &data, device)?;
    let name = |ending: &str| args.out.join(format!("table{}.{ending}", table.number));
    comparison.csv(&name("csv"))?;
    let text = serde_json::to_string_pretty(&comparison)?;
    replace_file(&name("json"), |out| writeln!(out, "{text}"))?;
    if args.json {
        answer!("{}", serde_json::to_string(&comparison)?)?;
    } else {
        answer!("Table {}. {}\n", table.number, table.title)?;
        answer!("{}", aligned(&comparison.text(), 1))?;
        answer!("{}, {}", name("csv").display(), name("json").display())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The rows asked for, in the table's order.
fn chosen<'a>(table: &'a Table, only: &[usize]) -> Result<Vec<&'a Row>> {
    let rows = table.rows.len();
    if let Some(row) = only.iter().find(|row| !(1..=rows).contains(*row)) {
        return Err(Error::Usage(format!("--only {row}: table {} has rows 1 to {rows}", table.number)));
    }
    let wanted = |i: usize| only.is_empty() || only.contains(&(i + 1));
    Ok(table.rows.iter().enumerate().filter(|(i, _)| wanted(*i)).map(|(_, row)| row).collect())
}

fn edit(args: &Args) -> Result<TrainEdit> {
    let Args { recipe, epochs, batch, lr, seed, .. } = *args;
    let edit = TrainEdit { recipe, epochs, batch, seed, lr, ..TrainEdit::default() };
    edit.check(|_| Place::whole("command line"))?;
    Ok(edit)
}

/// Says what is there and what is left to do.
fn forecast(args: &Args, runs: &[PlannedRun], data: &Dataset, device: Device) -> anyhow::Result<()> {
    let head = ["run", "state", "parameters", "MACs", "epochs", "images", "images/s", "time"].map(String::from);
    let (mut lines, mut objects, mut total) = (vec![head], Vec::new(), 0.0);
    for run in runs {
        let plan = sizes(run)?;
        let left = run.images_left(data);
        let rate = if left > 0 { Some(device.run(Rate(run))?) } else { None };
        let seconds = rate.map_or(0.0, |rate| left as f64 / rate);
        total += seconds;
        lines.push([
            run.folder.display().to_string(),
            run.state(),
            grouped(plan.total_params() as u64),
            grouped(plan.total_macs()),
            run.config.train.epochs.to_string(),
            grouped(left),
            rate.map_or("-".into(), |rate| format!("{rate:.1}")),
            duration(seconds),
        ]);
        objects.push(json!({
            "run": run.folder,
            "state": run.state(),
            "parameters": plan.total_params(),
            "macs": plan.total_macs(),
            "epochs": run.config.train.epochs,
            "epochs_done": run.epochs,
            "images_left": left,
            "images_per_s": rate,
            "seconds": seconds,
        }));
    }
    if args.json {
        answer!("{}", json!({ "table": args.number, "runs": objects, "seconds": total }))?;
    } else {
        answer!("{}", aligned(&lines, 2))?;
        answer!("training: {} on {device}; validation and the final errors come on top", duration(total))?;
    }
    Ok(())
}

/// Trains what is not finished.
fn train(runs: &[PlannedRun], data: &Arc<Dataset>, device: Device) -> anyhow::Result<()> {
    let options = Options { save_every: Duration::from_secs(600), keep_epochs: Vec::new(), loader_threads: 2 };
    let mut terminal = Terminal::new()?;
    for (i, planned) in runs.iter().enumerate().filter(|(_, run)| !run.is_finished()) {
        talk!("run {} of {}: {}, {}", i + 1, runs.len(), planned.folder.display(), planned.state());
        let Resumed { mut run, config, checkpoint } = match planned.begun {
            true => Run::resume(&planned.folder)?,
            false => {
                let config = planned.config.clone();
                Resumed { run: Run::create(&planned.folder, &config.to_toml())?, config, checkpoint: None }
            }
        };
        let (config, options) = (&config, &options);
        device.run(Train { config, data, run: &mut run, checkpoint, options, terminal: &mut terminal })?;
    }
    Ok(())
}

/// Measures the errors of the rows.
fn fill(
    args: &Args,
    table: &Table,
    rows: &[&Row],
    series: &Series,
    data: &Arc<Dataset>,
    device: Device,
) -> Result<Comparison> {
    let mut lines = Vec::new();
    for row in rows {
        let mut cells: Vec<Cell> = Vec::new();
        for (&measure, &published) in table.measures.iter().zip(row.published) {
            let mut ours = Vec::new();
            for repetition in 0..args.repeat {
                ours.extend(measured(args, row, measure, series, repetition, data, device)?);
            }
            cells.push(Cell { measure: measure.name(), published, ours });
        }
        let networks = row.members.iter().map(|(name, _)| *name).collect();
        lines.push(Line { label: row.label, networks, cells });
    }
    Ok(Comparison {
        table: table.number,
        title: table.title,
        scale: args.scale.name(),
        data: data.manifest().source.clone(),
        crops: if args.crops == TestCrops::Ten { 10 } else { 1 },
        rows: lines,
    })
}

/// One number of a row, in per cent; `None` if it cannot be measured.
fn measured(
    args: &Args,
    row: &Row,
    measure: Measure,
    series: &Series,
    repetition: u64,
    data: &Arc<Dataset>,
    device: Device,
) -> Result<Option<f64>> {
    let (split, pick): (Split, fn(Errors) -> f64) = match measure {
        Measure::TrainTop1 => (Split::Train, |errors| errors.top1),
        Measure::ValTop1 => (Split::Val, |errors| errors.top1),
        Measure::ValTop5 => (Split::Val, |errors| errors.top5),
        Measure::TestTop5 => return Ok(None),
    };
    let runs: Vec<PathBuf> = row.members.iter().map(|member| series.folder(*member, repetition)).collect();
    let names: Vec<_> = runs.iter().filter_map(|run| run.file_name()?.to_str()).collect();
    let crops = if args.crops == TestCrops::Ten { "-10" } else { "" };
    let errors = args.out.join("errors");
    fs::create_dir_all(&errors).map_err(Error::io("create", &errors))?;
    let file = errors.join(format!("{}-{split}{crops}.json", names.join("+")));
    let bar = Bar::new((runs.len() * data.split(split).len()) as u64, &format!("{} {split}", names.join("+")));
    let measurement = Measurement { runs: &runs, data, split, crops: args.crops };
    let errors = measurement.take(&file, device, &mut |done| bar.at(done as u64))?;
    Ok(Some(100.0 * pick(errors)))
}
