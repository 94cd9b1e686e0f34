//! Fig 2: what excites a map most. A row for each map: its nine strongest activations,
//! each projected to pixels alone, and beside them the image patches they looked at.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::data::packed::{Dataset, Split};
use crate::error::Result;
use crate::net::{Net, Reverse};
use crate::ops::Backend;
use crate::report::contrast::symmetric;
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
    let layer = &net.plan().layers[net.plan().layer_index(&top.layer)?];
    let image = net.plan().input;
    let side = layer.receptive_field.min(image.H.max(image.W));
    let mut grid = Grid::new(maps.len(), 2, KEPT, side)?;
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
        let size = (field.height, field.width);
        grid.place(row, rank, size, &symmetric(&projection));
        grid.place(row, KEPT + rank, size, &patch);
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

/// A name as a CSV field: in quotation marks where it must be.
fn quoted(name: &str) -> String {
    match name.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", name.replace('"', "\"\"")),
        false => name.to_owned(),
    }
}
