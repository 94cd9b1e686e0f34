//! Image tiles in rows and columns, as one PNG.

use std::path::Path;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{Rgb, RgbImage};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::report::digits;
use crate::train::replace::replace_file;

/// Pixels between neighbouring tiles.
const GAP: usize = 2;
/// Pixels between two groups of columns, and round the whole.
const MARGIN: usize = 12;
/// Tiles are enlarged by the largest whole number that leaves them no wider than this.
const COMFORTABLE: usize = 96;
/// More pixels than this (400 MB) no viewer opens.
const MOST: usize = 1 << 27;

const PAPER: Rgb<u8> = Rgb([255, 255, 255]);
/// Where a tile is not covered by its image.
const EMPTY: Rgb<u8> = Rgb([236, 236, 236]);

/// Round a tile that is marked: orange, which every kind of eye tells from grey.
const MARK: Rgb<u8> = Rgb([230, 97, 0]);

/// Where the tiles of a grid lie in its PNG, in pixels: tile (row, column), with columns counted through the
/// groups, begins at left + column step + (column / columns) gap and top + row step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Rows.
    pub rows: usize,
    /// Groups of columns.
    pub groups: usize,
    /// Columns of a group.
    pub columns: usize,
    /// Left of the first tile.
    pub left: usize,
    /// Top of the first tile.
    pub top: usize,
    /// From one tile to the next.
    pub step: usize,
    /// More than that between two groups.
    pub gap: usize,
    /// Side of a tile.
    pub side: usize,
}

/// Square tiles: labelled rows of `groups` groups of `columns` columns.
pub struct Grid {
    canvas: RgbImage,
    layout: Layout,
    /// Side of a tile, in pixels of the images.
    side: usize,
    /// Pixels of the canvas along a pixel of an image.
    scale: usize,
}

impl Grid {
    /// An empty grid for images of up to `side` x `side` pixels, with a row for each of
    /// `labels`.
    ///
    /// # Errors
    /// [`Error::Usage`] if it would be too large to be looked at.
    pub fn new(labels: &[usize], groups: usize, columns: usize, side: usize) -> Result<Self> {
        let (rows, scale) = (labels.len(), (COMFORTABLE / side.max(1)).max(1));
        let tile = side * scale + GAP;
        let label = labels.iter().map(|&label| digits::width(label)).max().unwrap_or(0);
        let left = MARGIN / 2 + label + MARGIN / 2;
        let width = left + groups * (columns * tile + MARGIN - GAP);
        let height = 2 * MARGIN + (rows * tile).saturating_sub(GAP);
        if width.saturating_mul(height) > MOST {
            return Err(Error::Usage(format!(
                "a grid of {rows} rows would be {width} x {height} pixels, more than a viewer opens: choose fewer"
            )));
        }
        let canvas = RgbImage::from_pixel(width as u32, height as u32, PAPER);
        let layout =
            Layout { rows, groups, columns, left, top: MARGIN, step: tile, gap: MARGIN - GAP, side: side * scale };
        let mut grid = Grid { canvas, layout, side, scale };
        for (row, &label) in labels.iter().enumerate() {
            let (_, top) = grid.corner(row, 0);
            let middle = top + (side * scale).saturating_sub(digits::HEIGHT) / 2;
            if middle + digits::HEIGHT <= height {
                digits::draw(&mut grid.canvas, label, left - MARGIN / 2 - digits::width(label), middle);
            }
            (0..groups * columns).for_each(|column| grid.fill(grid.corner(row, column), side * scale, EMPTY));
        }
        Ok(grid)
    }

    /// Left and top of the tile in `row` and `column`; columns count through the groups.
    fn corner(&self, row: usize, column: usize) -> (usize, usize) {
        let Layout { columns, left, top, step, gap, .. } = self.layout;
        (left + column * step + column / columns * gap, top + row * step)
    }

    /// Where the tiles lie.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Writes a number above a column.
    pub fn head(&mut self, column: usize, number: usize) {
        let (left, _) = self.corner(0, column);
        let (side, width) = (self.layout.side, digits::width(number));
        if width <= side {
            digits::draw(&mut self.canvas, number, left + (side - width) / 2, (MARGIN - digits::HEIGHT) / 2);
        }
    }

    /// Draws a frame round a tile, in the gap between it and its neighbours.
    pub fn mark(&mut self, row: usize, column: usize) {
        let ((left, top), side) = (self.corner(row, column), self.layout.side);
        let outer = side + 2 * GAP;
        for (y, x) in (0..outer).flat_map(|y| (0..outer).map(move |x| (y, x))) {
            let inside = |i: usize| (GAP..GAP + side).contains(&i);
            if !(inside(x) && inside(y)) {
                self.canvas.put_pixel((left + x - GAP) as u32, (top + y - GAP) as u32, MARK);
            }
        }
    }

    fn fill(&mut self, (left, top): (usize, usize), side: usize, colour: Rgb<u8>) {
        for (y, x) in (0..side).flat_map(|y| (0..side).map(move |x| (y, x))) {
            self.canvas.put_pixel((left + x) as u32, (top + y) as u32, colour);
        }
    }

    /// Draws an image into a tile, from row and column `at` of the tile on. What reaches
    /// beyond the tile is left out.
    pub fn place(
        &mut self,
        row: usize,
        column: usize,
        at: (usize, usize),
        width: usize,
        pixels: &[u8], // (height, width, 3)
    ) {
        let (left, top) = self.corner(row, column);
        let lines = pixels.chunks_exact(width * 3).take(self.side.saturating_sub(at.0));
        for (h, line) in lines.enumerate() {
            for (w, pixel) in line.chunks_exact(3).take(self.side.saturating_sub(at.1)).enumerate() {
                let corner = (left + (at.1 + w) * self.scale, top + (at.0 + h) * self.scale);
                self.fill(corner, self.scale, Rgb([pixel[0], pixel[1], pixel[2]]));
            }
        }
    }

    /// Writes the PNG, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut png = Vec::new();
        // Noise compresses badly, and the page holds many grids: the smallest file is worth its time.
        self.canvas
            .write_with_encoder(PngEncoder::new_with_quality(&mut png, CompressionType::Best, FilterType::Adaptive))
            .map_err(|e| Error::format(path, format!("the picture cannot be encoded: {e}")))?;
        replace_file(path, |out| out.write_all(&png))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_fills_its_place_and_no_other() {
        // Two groups of three columns; a pixel becomes 2 x 2.
        let mut grid = Grid::new(&[7, 128], 2, 3, 41).unwrap();
        let before = grid.canvas.clone();
        let pixels: Vec<u8> = (0..5 * 7 * 3).map(|i| i as u8).collect();
        grid.place(1, 4, (30, 2), 7, &pixels);
        // Margin 6, three digits of 8 less 2, margin 6; four tiles of 84, and the wider gap.
        let (left, top) = (6 + 22 + 6 + 4 * 84 + 10 + 2 * 2, 12 + 84 + 30 * 2);
        for (x, y, pixel) in grid.canvas.enumerate_pixels() {
            let inside = (left..left + 14).contains(&(x as usize)) && (top..top + 10).contains(&(y as usize));
            let expected = match inside {
                true => {
                    let at = ((y as usize - top) / 2 * 7 + (x as usize - left) / 2) * 3;
                    Rgb([pixels[at], pixels[at + 1], pixels[at + 2]])
                }
                false => *before.get_pixel(x, y),
            };
            assert_eq!(*pixel, expected, "at ({x}, {y})");
        }
        // Labels are drawn, left of the tiles.
        let inked = |rows: std::ops::Range<u32>| rows.flat_map(|y| (0..34).map(move |x| (x, y)));
        assert!(inked(12..94).any(|(x, y)| *before.get_pixel(x, y) != PAPER));
        assert!(inked(96..178).any(|(x, y)| *before.get_pixel(x, y) != PAPER));
    }

    #[test]
    fn what_reaches_beyond_a_tile_is_left_out() {
        let mut grid = Grid::new(&[0], 1, 1, 50).unwrap();
        let empty = grid.canvas.clone();
        grid.place(0, 0, (50, 0), 3, &[9; 9]);
        assert_eq!(grid.canvas, empty);
        grid.place(0, 0, (49, 48), 3, &[9; 18]);
        let changed = grid.canvas.pixels().zip(empty.pixels()).filter(|(a, b)| a != b).count();
        assert_eq!(changed, 2);
    }

    #[test]
    fn a_mark_surrounds_its_tile_and_covers_nothing() {
        let mut grid = Grid::new(&[0, 1], 2, 3, 50).unwrap();
        let before = grid.canvas.clone();
        grid.mark(1, 4);
        let Layout { left, top, step, gap, side, .. } = grid.layout();
        let (left, top) = (left + 4 * step + gap, top + step);
        for (x, y, pixel) in grid.canvas.enumerate_pixels() {
            let within = |i: u32, from: usize, more: usize| (from - more..from + side + more).contains(&(i as usize));
            let framed = within(x, left, GAP) && within(y, top, GAP) && !(within(x, left, 0) && within(y, top, 0));
            assert_eq!(*pixel, if framed { MARK } else { *before.get_pixel(x, y) }, "at ({x}, {y})");
        }
    }

    #[test]
    fn a_grid_that_no_viewer_opens_is_refused() {
        let labels: Vec<usize> = (0..4096).collect();
        let message = Grid::new(&labels, 2, 9, 224).map(|_| ()).unwrap_err().to_string();
        assert!(message.contains("4096 rows") && message.contains("choose fewer"), "{message}");
    }
}
