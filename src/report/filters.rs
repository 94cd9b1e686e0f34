//! Fig 5: the filters of the first layer as pictures, in one contrast and each in its own.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use image::RgbImage;

use crate::error::{Error, Result};
use crate::report::contrast::symmetric;
use crate::report::plot::{Anchor, Area, Figure};
use crate::tensor::NamedTensor;
use crate::train::replace::replace_file;
use crate::understand::diagnose::{dominance, rms};

/// The columns of the CSV: RMS of each filter, and its least and largest weight.
pub const HEADER: &str = "filter,rms,min,max";

/// Side of a filter in the figure, and the gap to the next.
const TILE: f64 = 34.0;
const GAP: f64 = 3.0;
const MARGIN: f64 = 24.0;
/// Upper edge of the filters.
const TOP: f64 = 66.0;

/// The files of the figure.
pub struct Files {
    /// Both grids.
    pub png: PathBuf,
    /// A line for each filter: see [`HEADER`].
    pub csv: PathBuf,
}

/// Draws the filters, numbered row by row, into `folder`: `filters.png` and `.csv`. On the
/// left one contrast for all, so that strong and weak ones look it; on the right each its own.
///
/// # Errors
/// [`Error::Usage`] if they do not look at three channels.
pub fn draw(
    filters: &NamedTensor, // (K, R, S, 3)
    run: &str,
    folder: &Path,
) -> Result<Files> {
    let &[K, R, S, 3] = filters.shape.as_slice() else {
        let (name, shape) = (&filters.name, &filters.shape);
        return Err(Error::Usage(format!(
            "{name} is {shape:?}: only filters that look at three channels have colours"
        )));
    };
    // A little wider than high.
    let columns = ((1.5 * K as f64).sqrt().ceil() as usize).max(8);
    let rows = K.div_ceil(columns);
    let step = TILE + GAP;
    let grid = columns as f64 * step - GAP;
    let mut figure = Figure::new(3.0 * MARGIN + 2.0 * grid, TOP + rows as f64 * step + MARGIN);
    let strength = rms(filters);
    let name = filters.name.trim_end_matches(".weight");
    let headline =
        format!("{run}, {name}: {K} filters of {R} x {S}; largest RMS over median {:.2}", dominance(&strength));
    figure.title((MARGIN, 24.0), Anchor::Start, &headline);
    let len = R * S * 3;
    let own: Vec<u8> = filters.data.chunks_exact(len).flat_map(symmetric).collect();
    for (title, pixels, left) in [
        ("one contrast for all", symmetric(&filters.data), MARGIN),
        ("each in its own contrast", own, 2.0 * MARGIN + grid),
    ] {
        figure.text((left, TOP - 9.0), Anchor::Start, title);
        for (k, pixels) in pixels.chunks_exact(len).enumerate() {
            let area = Area {
                left: left + (k % columns) as f64 * step,
                top: TOP + (k / columns) as f64 * step,
                width: TILE,
                height: TILE * R as f64 / S as f64,
            };
            if let Some(picture) = RgbImage::from_raw(S as u32, R as u32, pixels.to_vec()) {
                figure.picture(area, &picture, false)?;
            }
        }
    }
    let mut csv = format!("{HEADER}\n");
    for (k, (filter, rms)) in filters.data.chunks_exact(len).zip(&strength).enumerate() {
        let (min, max) = filter.iter().fold((f32::MAX, f32::MIN), |(min, max), v| (v.min(min), v.max(max)));
        // Writing to a string cannot fail.
        let _ = writeln!(csv, "{k},{rms},{min},{max}");
    }
    let file = |extension: &str| folder.join(format!("filters.{extension}"));
    let files = Files { png: file("png"), csv: file("csv") };
    figure.save(&files.png)?;
    replace_file(&files.csv, |out| out.write_all(csv.as_bytes()))?;
    Ok(files)
}
