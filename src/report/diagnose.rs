//! Diagnoses, run beside run: a table of measures, and the frequencies of layer-1 filters.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::report::csv::quoted;
use crate::report::json;
use crate::report::plot::line::{Lines, Series};
use crate::report::plot::{Area, Axis, Figure};
use crate::train::replace::replace_file;
use crate::understand::diagnose::{Diagnosis, STEP, white};

/// A run and what is known about its layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Diagnosed {
    /// The run, or its checkpoint.
    pub run: String,
    /// The numbers.
    pub diagnosis: Diagnosis,
}

/// The file with the numbers.
pub const DIAGNOSES: &str = "diagnose.json";

/// The columns of the CSV: middle of a step of frequency, in cycles a pixel, and the share
/// of the energy of layer-1 filters that lies in the step. The last run is `white noise`,
/// which filters are before they learn.
pub const HEADER: &str = "run,frequency,energy";

/// The files of the figure.
pub struct Files {
    /// The chart.
    pub png: PathBuf,
    /// A line for each step and run: see [`HEADER`].
    pub csv: PathBuf,
}

/// Draws the chart into `folder`: `spectrum.png` and `.csv`; and [`DIAGNOSES`].
pub fn draw(runs: &[Diagnosed], folder: &Path) -> Result<Files> {
    let middle = |i: usize| (i as f64 + 0.5) * STEP;
    let line = |name: &str, steps: &[f64]| Series {
        name: name.to_owned(),
        points: steps.iter().enumerate().map(|(i, &energy)| (middle(i), energy)).collect(),
    };
    let mut series: Vec<Series> = runs.iter().map(|d| line(&d.run, &d.diagnosis.spectrum)).collect();
    series.push(line("white noise", &white()));
    let most = series.iter().flat_map(|s| &s.points).map(|(_, y)| *y).fold(0.0, f64::max);
    let x = Axis::new("frequency (cycles/px)", 0.0, 0.7);
    let y = Axis::new("share of energy", 0.0, if most > 0.0 { 1.05 * most } else { 1.0 });
    let mut figure = Figure::new(780.0, 330.0);
    Lines { title: "Energy of layer-1 filters by frequency", series: &series, x: &x, y: &y }
        .draw(&mut figure, Area { left: 64.0, top: 40.0, width: 420.0, height: 230.0 });
    let mut csv = format!("{HEADER}\n");
    for Series { name, points } in &series {
        for (frequency, energy) in points {
            // Writing to a string cannot fail.
            let _ = writeln!(csv, "{},{frequency},{energy}", quoted(name));
        }
    }
    let file = |extension: &str| folder.join(format!("spectrum.{extension}"));
    let files = Files { png: file("png"), csv: file("csv") };
    figure.save(&files.png)?;
    replace_file(&files.csv, |out| out.write_all(csv.as_bytes()))?;
    json::save(&folder.join(DIAGNOSES), &runs)?;
    Ok(files)
}

/// The table: a head with the runs, a row for each measure; where a run has no such layer,
/// or no such number, a dash.
pub fn rows(runs: &[Diagnosed]) -> Vec<Vec<String>> {
    let mut rows = vec![std::iter::once(String::new()).chain(runs.iter().map(|d| d.run.clone())).collect()];
    let mut row = |measure: String, value: &dyn Fn(&Diagnosis) -> Option<String>| {
        let values = runs.iter().map(|d| value(&d.diagnosis).unwrap_or_else(|| "-".to_owned()));
        rows.push(std::iter::once(measure).chain(values).collect::<Vec<_>>());
    };
    row("images".to_owned(), &|d| Some(d.images.to_string()));
    for layer in layers(runs) {
        let has = |d: &Diagnosis| d.dominance.iter().any(|(name, _)| name == layer);
        if runs.iter().any(|d| has(&d.diagnosis)) {
            let dominance = |d: &Diagnosis| d.dominance.iter().find(|(name, _)| name == layer)?.1;
            row(format!("{layer}  dominance"), &|d| dominance(d).map(|v| format!("{v:.2}")));
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
    rows
}

/// The rectified layers of all runs, each once.
fn layers(runs: &[Diagnosed]) -> Vec<&str> {
    let mut layers: Vec<&str> = Vec::new();
    for fate in runs.iter().flat_map(|d| &d.diagnosis.layers) {
        if !layers.contains(&fate.layer.as_str()) {
            layers.push(&fate.layer);
        }
    }
    layers
}
