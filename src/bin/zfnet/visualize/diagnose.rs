//! `zfnet visualize diagnose`.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;
use zfnet::data::packed::{Dataset, Split};
use zfnet::error::{Error, Result};
use zfnet::ops::Backend;
use zfnet::report::diagnose::{Diagnosed, draw, rows};
use zfnet::train::device::Job;
use zfnet::train::model::Model;
use zfnet::understand::diagnose::{Diagnosis, diagnose};

use crate::bar::Bar;
use crate::print::answer;
use crate::table::aligned;
use crate::visualize::{Common, folder, open_data};

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

    #[command(flatten)]
    common: Common,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let device = args.common.machine.open()?;
    let mut found: Vec<Diagnosed> = Vec::new();
    let mut out = None;
    for run in &args.runs {
        let name = run.display().to_string();
        let model = Model::open(run, &args.common.checkpoint)?;
        let data = open_data(&args.data, &model)?;
        if data.split(Split::Val).is_empty() {
            return Err(Error::Usage(format!("{} has no val images", args.data.display())).into());
        }
        if out.is_none() {
            out = Some(folder(args.common.out.as_deref(), &model)?);
        }
        let diagnosis = device.run(Look { model: &model, data: &data, name: &name })?;
        found.push(Diagnosed { run: name, diagnosis });
    }
    let files = out.map(|out| draw(&found, &out)).transpose()?;
    if args.common.json {
        let (png, csv) = files.map(|files| (files.png, files.csv)).unzip();
        answer!("{}", json!({ "runs": found, "png": png, "csv": csv }))?;
    } else {
        answer!("{}", aligned(&rows(&found), 1))?;
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
