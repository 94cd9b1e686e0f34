//! The table of correspondence: Hamming scores of parts, against places drawn at random.

use std::fmt::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::report::csv::quoted;
use crate::report::json;
use crate::train::replace::replace_file;

/// What `correspondence.json` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Correspondence {
    /// Side of the square that hides, in pixels of the crop.
    pub square: usize,
    /// Random draws for each part.
    pub draws: usize,
    /// A line for each part and layer.
    pub rows: Vec<Row>,
}

/// One part in one layer. Scores are from 0 (all images change alike) to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The part.
    pub part: String,
    /// The layer.
    pub layer: String,
    /// Images on which it is marked.
    pub images: usize,
    /// Share of units that change differently.
    pub raw: f64,
    /// The same at random places: mean and standard deviation over the draws.
    pub raw_random: [f64; 2],
    /// Share of the units that change at all that change differently.
    pub normalised: f64,
    /// The same at random places.
    pub normalised_random: [f64; 2],
}

/// The columns of `correspondence.csv`.
pub const HEADER: &str =
    "part,layer,images,raw,raw_random,raw_random_sd,normalised,normalised_random,normalised_random_sd";

impl Correspondence {
    /// Writes `correspondence.csv` and `.json` into `folder`.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let mut csv = format!("{HEADER}\n");
        for row in &self.rows {
            let ([raw, raw_sd], [normalised, normalised_sd]) = (row.raw_random, row.normalised_random);
            // Writing to a string cannot fail.
            let _ = writeln!(
                csv,
                "{},{},{},{},{raw},{raw_sd},{},{normalised},{normalised_sd}",
                quoted(&row.part),
                row.layer,
                row.images,
                row.raw,
                row.normalised
            );
        }
        replace_file(&folder.join("correspondence.csv"), |out| out.write_all(csv.as_bytes()))?;
        json::save(&folder.join("correspondence.json"), self)
    }
}
