//! `zfnet visualize diagnose`.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;
use zfnet::data::packed::{Dataset, Split};
use zfnet::error::{Error, Result};
use zfnet::ops::Backend;
use zfnet::report::diagnose as chart;
use zfnet::train::device::Job;
use zfnet::train::model::Model;
use zfnet::understand::diagnose::{Diagnosis, diagnose};

use crate::bar::Bar;
use crate::machine::Machine;
use crate::print::answer;
use crate::table::aligned;
use crate::visualize::{folder, open_data};

/// Images in a pass.
const BATCH: usize = 32;

/// Numbers for what is wrong with a network's layers, runs side by side
///
/// Dominance: largest RMS of a layer's filters over the median. Dead: maps that no image of
/// the validation set activates. Saturated: maps active at 99 % of places or more. Sparsity:
/// share of activations that are 0. Energy of the layer-1 filters by band of frequency.
/// Aliasing of the second convolution: energy of its projections at the frequencies of
/// layer 1's stride over the energy round them, 1 where they are nothing special, 4 at most.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  zfnet visualize diagnose runs/stride2 runs/stride4 --data data/photos")]
pub struct Args {
    /// Folders of runs, or checkpoint files
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,

    /// Packed data set, whose validation images are looked at
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// Which checkpoint of each run: best, last, epoch-N
    #[arg(long, value_name = "WHICH", default_value = "best")]
    checkpoint: String,

    /// Folder for the chart of frequencies [default: figures in the first run]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    machine: Machine,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let device = args.machine.open()?;
    let mut found: Vec<(String, Diagnosis)> = Vec::new();
    let mut out = None;
    for run in &args.runs {
        let name = run.display().to_string();
        let model = Model::open(run, &args.checkpoint)?;
        let data = open_data(&args.data, &model)?;
        if data.split(Split::Val).is_empty() {
            return Err(Error::Usage(format!("{} has no val images", args.data.display())).into());
        }
        if out.is_none() {
            out = Some(folder(args.out.as_deref(), &model)?);
        }
        found.push((name.clone(), device.run(Look { model: &model, data: &data, name: &name })?));
    }
    let files = out.map(|out| chart::draw(&found, &out)).transpose()?;
    if args.json {
        let runs = found.iter().map(|(run, diagnosis)| json!({ "run": run, "diagnosis": diagnosis }));
        let (png, csv) = files.map(|files| (files.png, files.csv)).unzip();
        answer!("{}", json!({ "runs": runs.collect::<Vec<_>>(), "png": png, "csv": csv }))?;
    } else {
        answer!("{}", table(&found))?;
        if let Some(files) = files {
            answer!("{}", files.png.display())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

struct Look<'a> {
    model: &'a Model,
    data: &'a Dataset,
    name: &'a str,
}

impl Job for Look<'_> {
    type Output = Diagnosis;

    fn run<B: Backend>(self, backend: B) -> Result<Diagnosis> {
        let mut net = self.model.net(backend, BATCH)?;
        let bar = Bar::new(self.data.split(Split::Val).len() as u64, self.name);
        diagnose(&mut net, &self.model.checkpoint.weights, self.data, Split::Val, &mut |n| bar.at(n as u64))
    }
}

/// A row for each measure, a column for each run; a run that lacks a layer has a dash there.
fn table(runs: &[(String, Diagnosis)]) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |measure: String, value: &dyn Fn(&Diagnosis) -> Option<String>| {
        let values = runs.iter().map(|(_, d)| value(d).unwrap_or_else(|| "-".to_owned()));
        rows.push(std::iter::once(measure).chain(values).collect());
    };
    let mut layers: Vec<&str> = Vec::new();
    for name in runs.iter().flat_map(|(_, d)| d.layers.iter().map(|l| l.layer.as_str())) {
        if !layers.contains(&name) {
            layers.push(name);
        }
    }
    row("images".to_owned(), &|d| Some(d.images.to_string()));
    for layer in layers {
        let dominance =
            |d: &Diagnosis| d.dominance.iter().find(|(name, _)| name == layer).map(|(_, v)| format!("{v:.2}"));
        if runs.iter().any(|(_, d)| dominance(d).is_some()) {
            row(format!("{layer}  dominance"), &dominance);
        }
        let fate = |d: &Diagnosis| d.layers.iter().find(|fate| fate.layer == layer).cloned();
        row(format!("{layer}  dead maps"), &|d| fate(d).map(|f| format!("{} of {}", f.dead, f.maps)));
        row(format!("{layer}  saturated maps"), &|d| fate(d).map(|f| format!("{} of {}", f.saturated, f.maps)));
        row(format!("{layer}  sparsity"), &|d| fate(d).map(|f| format!("{:.3}", f.sparsity)));
    }
    for (band, name) in ["below 1/8", "1/8 to 1/4", "above 1/4"].into_iter().enumerate() {
        row(format!("layer-1 energy {name} cycles/px"), &|d| Some(format!("{:.3}", d.bands[band])));
    }
    row("layer-2 aliasing index".to_owned(), &|d| d.aliasing.map(|index| format!("{index:.2}")));
    let head = std::iter::once(String::new()).chain(runs.iter().map(|(name, _)| name.clone())).collect();
    rows.insert(0, head);
    aligned(&rows, 1)
}
