//! Fig 2: what excites a map most. A row for each map, with its number: its nine strongest activations,
//! each projected to pixels alone, and beside them the image patches they looked at.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::data::packed::{Dataset, Split};
use crate::error::Result;
use crate::net::{Net, Reverse};
use crate::ops::Backend;
use crate::report::contrast::symmetric;
use crate::report::csv::quoted;
use crate::report::grid::{Grid, Layout};
use crate::report::json;
use crate::train::replace::replace_file;
use crate::understand::projection::{Projection, place_in_tile, project_units, tile_side};
use crate::understand::top::{KEPT, Peak, Top};

/// The files of one layer's figure.
pub struct Files {
    /// The grid.
    pub png: PathBuf,
    /// A line for each projection: see [`HEADER`].
    pub csv: PathBuf,
    /// What it shows, and where: [`Figure`].
    pub json: PathBuf,
}

/// What the JSON beside the grid says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The layer.
    pub layer: String,
    /// A map for each row.
    pub maps: Vec<usize>,
    /// Maps of the layer that no image of the split activates.
    pub silent: usize,
    /// `train` or `val`.
    pub split: String,
    /// Images of the split.
    pub images: usize,
    /// The rules of the way down.
    pub reverse: Reverse,
    /// For each row its units, the strongest first.
    pub units: Vec<Vec<Unit>>,
    /// Where the tiles lie: projections in the first group, image patches in the second.
    pub layout: Layout,
}

/// One unit of a figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unit {
    /// Its activation.
    pub value: f32,
    /// The image of the split.
    pub image: usize,
    /// The image's class.
    pub class: String,
}

impl Unit {
    /// The unit of `peak` in `split`.
    pub fn new(data: &Dataset, split: Split, peak: &Peak) -> Self {
        let class = data.classes()[data.split(split).label(peak.image)].clone();
        Unit { value: peak.value, image: peak.image, class }
    }
}

/// The columns of the CSV: place in the grid (map, rank from 1), the activation, the
/// image of the split, the unit's position, and its box in the centre crop.
pub const HEADER: &str = "layer,map,rank,value,image,class,p,q,top,left,height,width";

/// Draws the figure of `maps` of one layer into `folder`: `top9-<layer>.png`, `.csv` and `.json`.
/// `done` hears after each projection how many have been made.
pub fn draw<B: Backend>(
    net: &mut Net<B>,
    data: &Dataset,
    split: Split,
    top: &Top,
    maps: &[usize],
    reverse: &Reverse,
    folder: &Path,
    done: &mut dyn FnMut(usize),
) -> Result<Files> {
    let layer = net.plan().layers[net.plan().layer_index(&top.layer)?].clone();
    let image = net.plan().input;
    let mut grid = Grid::new(maps, 2, KEPT, tile_side(&layer, image))?;
    // (row, rank) of each unit, in the order of `units`.
    let (mut places, mut units) = (Vec::new(), Vec::<(usize, Peak)>::new());
    for (row, &map) in maps.iter().enumerate() {
        for (rank, &peak) in top.maps[map].iter().enumerate() {
            places.push((row, rank));
            units.push((map, peak));
        }
    }
    let mut csv = format!("{HEADER}\n");
    project_units(net, data, split, &top.layer, &units, reverse, &mut |i, unit| {
        let ((row, rank), (map, peak)) = (places[i], units[i]);
        let Projection { field, projection, patch } = unit;
        let at = place_in_tile(&layer, image, field, peak.p, peak.q);
        grid.place(row, rank, at, field.width, &symmetric(&projection));
        grid.place(row, KEPT + rank, at, field.width, &patch);
        let class = quoted(&data.classes()[data.split(split).label(peak.image)]);
        // Writing to a string cannot fail.
        let _ = writeln!(
            csv,
            "{},{map},{},{},{},{class},{},{},{},{},{},{}",
            top.layer,
            rank + 1,
            peak.value,
            peak.image,
            peak.p,
            peak.q,
            field.top,
            field.left,
            field.height,
            field.width
        );
        done(i + 1);
        Ok(())
    })?;
    let file = |extension: &str| folder.join(format!("top9-{}.{extension}", top.layer));
    let files = Files { png: file("png"), csv: file("csv"), json: file("json") };
    grid.save(&files.png)?;
    replace_file(&files.csv, |out| out.write_all(csv.as_bytes()))?;
    let figure = Figure {
        layer: top.layer.clone(),
        maps: maps.to_vec(),
        silent: top.silent(),
        split: split.name().to_owned(),
        images: data.split(split).len(),
        reverse: *reverse,
        units: maps.iter().map(|&k| top.maps[k].iter().map(|peak| Unit::new(data, split, peak)).collect()).collect(),
        layout: grid.layout(),
    };
    json::save(&files.json, &figure)?;
    Ok(files)
}

/// The figure of `layer` in `folder`; `None` if it is not there.
///
/// # Errors
/// [`crate::error::Error::Io`]; [`crate::error::Error::Format`] if it is damaged.
pub fn read(folder: &Path, layer: &str) -> Result<Option<Figure>> {
    json::read(&folder.join(format!("top9-{layer}.json")), "visualize top9")
}
