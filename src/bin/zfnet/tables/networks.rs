//! Tables 1 and 2: training what is missing, then the errors.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use zfnet::data::packed::{Dataset, Split};
use zfnet::error::{Error, Result};
use zfnet::paper::comparison::{Cell, Comparison, Line};
use zfnet::paper::errors::{Errors, Measurement};
use zfnet::paper::runs::{Measure as Rate, PlannedRun, Series, sizes};
use zfnet::paper::table::{Measure, Row, Table};
use zfnet::train::device::Device;
use zfnet::train::evaluate::TestCrops;
use zfnet::train::run::{Resumed, Run};
use zfnet::train::trainer::Options;

use super::Args;
use crate::bar::Bar;
use crate::print::{answer, talk};
use crate::table::{aligned, duration, grouped};
use crate::terminal::Terminal;
use crate::train::Train;

/// Says what is there and what is left to do.
pub fn forecast(args: &Args, runs: &[PlannedRun], data: &Dataset, device: Device) -> anyhow::Result<()> {
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
pub fn train(runs: &[PlannedRun], data: &Arc<Dataset>, device: Device) -> anyhow::Result<()> {
    let options =
        Options { save_every: Duration::from_secs(600), keep_epochs: Vec::new(), loader_threads: 2, fused: true };
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
pub fn fill(
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
        networks: args.scale.name().to_owned(),
        data: vec![data.manifest().source.clone()],
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
