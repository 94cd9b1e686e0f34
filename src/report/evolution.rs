//! Fig 4: how features come about. A row for each map, with its number, and a column for
//! each epoch: the strongest activation of that time, projected to pixels, and in a second
//! group of columns the image patch it looked at. Where another image than in the column
//! before excites the map most, both tiles are framed: the feature jumped.

use std::fmt::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::data::packed::{Dataset, Split};
use crate::error::Result;
use crate::net::{Plan, Reverse};
use crate::report::contrast::symmetric;
use crate::report::csv::quoted;
use crate::report::grid::{Grid, Layout};
use crate::report::json;
use crate::report::top9::Unit;
use crate::train::replace::replace_file;
use crate::understand::evolution::{CONVERGED, LayerEvolution, Sight};
use crate::understand::projection::{place_in_tile, tile_side};

/// What `evolution.json` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// A column for each of these.
    pub epochs: Vec<u64>,
    /// `train` or `val`.
    pub split: String,
    /// Images of the split.
    pub images: usize,
    /// The rules of the way down.
    pub reverse: Reverse,
    /// Mean similarity to the last epoch from which on a layer counts as converged.
    pub threshold: f64,
    /// A grid for each of these.
    pub layers: Vec<LayerFigure>,
}

/// One layer's grid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerFigure {
    /// The layer.
    pub layer: String,
    /// A map for each row.
    pub maps: Vec<usize>,
    /// Mean cosine similarity to the last epoch, an epoch each; null where all maps are silent at the end.
    pub similarity: Vec<Option<f64>>,
    /// Maps whose strongest image changed, an epoch each.
    pub jumps: Vec<usize>,
    /// The epoch from which on the similarity stays above the threshold.
    pub converged: Option<u64>,
    /// For each epoch and map its strongest unit; null where the map is silent.
    pub units: Vec<Vec<Option<Unit>>>,
    /// File name of the grid.
    pub png: String,
    /// Where its tiles lie: projections in the first group, image patches in the second.
    pub layout: Layout,
}

/// The columns of `evolution.csv`. Value, image, class and position are empty for a map
/// that is silent; similarity is empty for one that is silent at the end.
pub const HEADER: &str = "layer,map,epoch,value,image,class,p,q,jump,similarity";

/// Draws `evolution-<layer>.png` for each layer into `folder`, and writes `evolution.csv`
/// and `evolution.json` beside them.
///
/// # Errors
/// [`crate::error::Error::Usage`] if a grid would be too large to be looked at.
pub fn draw(
    layers: &[LayerEvolution],
    epochs: &[u64],
    data: &Dataset,
    split: Split,
    plan: &Plan,
    reverse: &Reverse,
    folder: &Path,
) -> Result<Figure> {
    let mut csv = format!("{HEADER}\n");
    let mut drawn = Vec::new();
    for evolution in layers {
        let layer = &evolution.layer;
        let grid = grid(evolution, epochs, plan)?;
        let png = format!("evolution-{}.png", layer.name);
        grid.save(&folder.join(&png))?;
        lines(&mut csv, evolution, epochs, data, split);
        let all = 0..epochs.len();
        let unit = |sight: Option<&Sight>| sight.map(|sight| Unit::new(data, split, &sight.peak));
        let jumps = |e: usize| (0..evolution.maps.len()).filter(|&row| evolution.jumped(e, row)).count();
        drawn.push(LayerFigure {
            layer: layer.name.clone(),
            maps: evolution.maps.clone(),
            similarity: all.clone().map(|e| evolution.mean_similarity(e)).collect(),
            jumps: all.map(jumps).collect(),
            units: evolution.sights.iter().map(|maps| maps.iter().map(|s| unit(s.as_ref())).collect()).collect(),
            converged: evolution.converged().map(|e| epochs[e]),
            png,
            layout: grid.layout(),
        });
    }
    let figure = Figure {
        epochs: epochs.to_vec(),
        split: split.name().to_owned(),
        images: data.split(split).len(),
        reverse: *reverse,
        threshold: CONVERGED,
        layers: drawn,
    };
    replace_file(&folder.join("evolution.csv"), |out| out.write_all(csv.as_bytes()))?;
    json::save(&folder.join("evolution.json"), &figure)?;
    Ok(figure)
}

/// One layer's grid.
fn grid(evolution: &LayerEvolution, epochs: &[u64], plan: &Plan) -> Result<Grid> {
    let (layer, columns) = (&evolution.layer, epochs.len());
    let mut grid = Grid::new(&evolution.maps, 2, columns, tile_side(layer, plan.input))?;
    for (column, &epoch) in epochs.iter().enumerate() {
        grid.head(column, epoch as usize);
        grid.head(columns + column, epoch as usize);
        for (row, sight) in evolution.sights[column].iter().enumerate() {
            let Some(sight) = sight else { continue };
            let seen = &sight.projection;
            let at = place_in_tile(layer, plan.input, seen.field, sight.peak.p, sight.peak.q);
            grid.place(row, column, at, seen.field.width, &symmetric(&seen.projection));
            grid.place(row, columns + column, at, seen.field.width, &seen.patch);
            if evolution.jumped(column, row) {
                grid.mark(row, column);
                grid.mark(row, columns + column);
            }
        }
    }
    Ok(grid)
}

/// The lines of one layer: see [`HEADER`].
fn lines(csv: &mut String, evolution: &LayerEvolution, epochs: &[u64], data: &Dataset, split: Split) {
    let records = data.split(split);
    for (row, map) in evolution.maps.iter().enumerate() {
        for (e, epoch) in epochs.iter().enumerate() {
            let unit = match &evolution.sights[e][row] {
                Some(sight) => {
                    let class = quoted(&data.classes()[records.label(sight.peak.image)]);
                    let peak = sight.peak;
                    format!("{},{},{class},{},{}", peak.value, peak.image, peak.p, peak.q)
                }
                None => ",,,,".to_owned(),
            };
            let similarity = evolution.similarity(e, row).map_or(String::new(), |s| s.to_string());
            let jump = u8::from(evolution.jumped(e, row));
            // Writing to a string cannot fail.
            let _ = writeln!(csv, "{},{map},{epoch},{unit},{jump},{similarity}", evolution.layer.name);
        }
    }
}

/// `evolution.json` in `folder`; `None` if it is not there.
///
/// # Errors
/// [`crate::error::Error::Io`]; [`crate::error::Error::Format`] if it is damaged.
pub fn read(folder: &Path) -> Result<Option<Figure>> {
    json::read(&folder.join("evolution.json"), "visualize evolution")
}
