//! The frequencies of layer-1 filters, run beside run.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::report::csv::quoted;
use crate::report::plot::line::{Lines, Series};
use crate::report::plot::{Area, Axis, Figure};
use crate::train::replace::replace_file;
use crate::understand::diagnose::{Diagnosis, STEP, white};

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

/// Draws the chart into `folder`: `spectrum.png` and `.csv`.
pub fn draw(runs: &[(String, Diagnosis)], folder: &Path) -> Result<Files> {
    let middle = |i: usize| (i as f64 + 0.5) * STEP;
    let line = |name: &str, steps: &[f64]| Series {
        name: name.to_owned(),
        points: steps.iter().enumerate().map(|(i, &energy)| (middle(i), energy)).collect(),
    };
    let mut series: Vec<Series> = runs.iter().map(|(run, diagnosis)| line(run, &diagnosis.spectrum)).collect();
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
    Ok(files)
}
