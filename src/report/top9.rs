//! Fig 2: what excites a map most. A row for each map, with its number: its nine strongest activations,
//! each projected to pixels alone, and beside them the image patches they looked at.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::data::packed::{Dataset, Split};
use crate::error::Result;
use crate::net::{Layer, Net, Reverse};
use crate::ops::Backend;
use crate::report::contrast::symmetric;
use crate::report::csv::quoted;
use crate::report::grid::Grid;
use crate::train::replace::replace_file;
use crate::understand::projection::{Projection, project_units};
use crate::understand::top::{KEPT, Peak, Top};

/// The files of one layer's figure.
pub struct Files {
    /// The grid.
    pub png: PathBuf,
    /// A line for each projection: see [`HEADER`].
    pub csv: PathBuf,
}

/// The columns of the CSV: place in the grid (map, rank from 1), the activation, the
/// image of the split, the unit's position, and its box in the centre crop.
pub const HEADER: &str = "layer,map,rank,value,image,class,p,q,top,left,height,width";

/// Draws the figure of `maps` of one layer into `folder`: `top9-<layer>.png` and `.csv`.
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
    let side = layer.receptive_field.min(image.H.max(image.W));
    let mut grid = Grid::new(maps, 2, KEPT, side)?;
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
        let at = (offset(&layer, side, field.top, peak.p), offset(&layer, side, field.left, peak.q));
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
    let files = Files { png: file("png"), csv: file("csv") };
    grid.save(&files.png)?;
    replace_file(&files.csv, |out| out.write_all(csv.as_bytes()))?;
    Ok(files)
}

/// Where a receptive field that was cut at the border, and begins at pixel `start` of the
/// image, begins in its tile. A tile is the whole field, so that units are drawn in its
/// middle; where the field is larger than the image the tile is the image.
fn offset(layer: &Layer, side: usize, start: usize, i: usize) -> usize {
    let whole = if layer.receptive_field == side { layer.field_start + (i * layer.jump) as isize } else { 0 };
    (start as isize - whole).max(0) as usize
}
