//! `zfnet bench tune`: the fastest kernel of each matrix product, for the table of tiles.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::json;
use zfnet::bench::tune::{self, Candidate, Tuned};
use zfnet::error::{Error, Result};
use zfnet::net::Plan;
use zfnet::ops::ProductSize;
use zfnet::ops::tile_table::TileTable;
use zfnet::train::replace::replace_file;

use super::WorkArgs;
use crate::print::{answer, talk};
use crate::table::aligned;

#[derive(clap::Args)]
pub struct Args {
    /// Put what was found into this table of tiles; its other entries stay
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,

    #[command(flatten)]
    work: WorkArgs,
}

/// Runs the subcommand.
pub fn run(Args { write, work }: &Args) -> anyhow::Result<()> {
    let task = work.task()?;
    let plan = Plan::new(&task.config.net, task.classes)?;
    if let Some(path) = write {
        read(path)?; // A broken table is told before anything is measured.
    }
    let tuning = tune::measure_on(work.machine.open()?, &plan, task.batch, task.steps)?;
    if let Some(path) = write {
        let mut table = read(path)?;
        tuning.add_to(&mut table);
        replace_file(path, |file| write!(file, "{table}"))?;
        talk!("{} products written to {}", tuning.products.len(), path.display());
    }
    if work.json {
        let mut answer = task.as_json(&tuning.device);
        answer["measured"] = json!(tuning.measured);
        answer["products"] = tuning.products.iter().map(product_json).collect();
        answer!("{answer:#}")?;
        return Ok(());
    }
    let header = ["layer", "direction", "size", "worked out", "taken", "us", "us", "faster by"].map(String::from);
    let rows: Vec<_> = [header].into_iter().chain(tuning.products.iter().map(row)).collect();
    let title = task.title(&tuning.device);
    answer!("{title}; medians of {} runs, {}\n\n{}", task.steps, tuning.measured, aligned(&rows, 5))?;
    answer!("Faster is what is so in three quarters of its runs; else the worked-out tile stays.")?;
    Ok(())
}

/// The table in `path`; an empty one if there is no such file.
fn read(path: &Path) -> Result<TileTable> {
    match fs::read_to_string(path) {
        Ok(text) => TileTable::parse(&path.display().to_string(), &text),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(TileTable::default()),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

fn row(tuned: &Tuned) -> [String; 8] {
    let ProductSize { rows, columns, depth, parts } = tuned.key.size;
    let (formula, taken) = (&tuned.candidates[0], &tuned.candidates[tuned.taken]);
    let named = |Candidate { kernel, splits, .. }: &Candidate| {
        splits.map_or((*kernel).to_owned(), |splits| format!("{kernel} / {splits}"))
    };
    let us = |candidate: &Candidate| format!("{:.1}", 1e6 * candidate.seconds[1]);
    [
        tuned.layer.clone(),
        tuned.direction.to_string(),
        format!("{parts} x {rows} x {columns} x {depth}"),
        named(formula),
        if tuned.taken == 0 { "the same".into() } else { named(taken) },
        us(formula),
        us(taken),
        format!("{:.1} %", 100.0 * (formula.seconds[1] / taken.seconds[1] - 1.0)),
    ]
}

fn product_json(tuned: &Tuned) -> serde_json::Value {
    let ProductSize { rows, columns, depth, parts } = tuned.key.size;
    let candidate = |Candidate { kernel, splits, seconds: [lower, median, upper] }: &Candidate| {
        json!({
            "kernel": kernel,
            "splits": splits,
            "us": 1e6 * median,
            "us_quartiles": [1e6 * lower, 1e6 * upper],
        })
    };
    json!({
        "layer": tuned.layer,
        "direction": tuned.direction.to_string(),
        "product": tuned.key.product,
        "gpu": tuned.key.gpu.to_string(),
        "precision": tuned.key.precision.to_string(),
        "rows": rows,
        "columns": columns,
        "depth": depth,
        "parts": parts,
        "candidates": tuned.candidates.iter().map(candidate).collect::<Vec<_>>(),
        "taken": tuned.taken,
    })
}
