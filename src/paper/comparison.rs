//! A table filled in: the paper's numbers, and ours.

use std::path::Path;

use serde::{Serialize, Serializer};

use crate::error::Result;
use crate::report::csv::quoted;
use crate::train::replace::replace_file;

/// Numbers in per cent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cell {
    /// What the column shows.
    pub measure: &'static str,
    /// What the paper reports.
    pub published: Option<f64>,
    /// Ours, one for each repetition; empty if it was not measured.
    pub ours: Vec<f64>,
}

/// A row with its networks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// As the paper calls it; variants of the row above are indented.
    #[serde(serialize_with = "trimmed")]
    pub label: &'static str,
    /// Its networks; more than one is an ensemble.
    pub networks: Vec<&'static str>,
    /// In the order of the columns.
    pub cells: Vec<Cell>,
}

/// A table with ours in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Which one.
    pub table: u32,
    /// What it shows.
    pub title: &'static str,
    /// The networks: their size, or the run whose features are tried.
    pub networks: String,
    /// The data sets.
    pub data: Vec<String>,
    /// Windows of each image.
    pub crops: usize,
    /// The rows.
    pub rows: Vec<Line>,
}

/// Indentation is for people.
fn trimmed<S: Serializer>(label: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(label.trim_start())
}

impl Cell {
    /// The mean over the repetitions.
    pub fn mean(&self) -> Option<f64> {
        let n = self.ours.len();
        (n > 0).then(|| self.ours.iter().sum::<f64>() / n as f64)
    }

    /// The standard deviation over the repetitions, with n - 1; `None` for fewer than two.
    pub fn deviation(&self) -> Option<f64> {
        let (n, mean) = (self.ours.len(), self.mean()?);
        (n > 1).then(|| (self.ours.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1) as f64).sqrt())
    }

    /// Ours for people: `38.4`, `38.4 +- 0.3`, or `-`.
    pub fn text(&self) -> String {
        match (self.mean(), self.deviation()) {
            (None, _) => "-".into(),
            (Some(mean), None) => format!("{mean:.1}"),
            (Some(mean), Some(deviation)) => format!("{mean:.1} +- {deviation:.1}"),
        }
    }
}

impl Comparison {
    /// Heading and rows of text: label, then for each column the paper's number and ours.
    pub fn text(&self) -> Vec<Vec<String>> {
        let measures = self.rows.iter().take(1).flat_map(|row| &row.cells);
        let mut head = vec![String::new()];
        head.extend(measures.flat_map(|cell| [format!("{}: paper", cell.measure), "ours".into()]));
        let published = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.1}"));
        let body = self.rows.iter().map(|row| {
            let cells = row.cells.iter().flat_map(|cell| [published(cell.published), cell.text()]);
            [row.label.to_owned()].into_iter().chain(cells).collect()
        });
        [head].into_iter().chain(body).collect()
    }

    /// Writes a line for each cell: `row,networks,measure,published,ours,deviation,repetitions`.
    ///
    /// # Errors
    /// [`Error::Io`](crate::error::Error::Io)
    pub fn csv(&self, path: &Path) -> Result<()> {
        let number = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.4}"));
        replace_file(path, |out| {
            writeln!(out, "row,networks,measure,published,ours,deviation,repetitions")?;
            for (row, cell) in self.rows.iter().flat_map(|row| row.cells.iter().map(move |cell| (row, cell))) {
                let (label, networks) = (quoted(row.label.trim_start()), row.networks.join(" "));
                let (published, ours, deviation) =
                    (number(cell.published), number(cell.mean()), number(cell.deviation()));
                writeln!(
                    out,
                    "{label},{networks},{},{published},{ours},{deviation},{}",
                    cell.measure,
                    cell.ours.len()
                )?;
            }
            Ok(())
        })
    }
}
