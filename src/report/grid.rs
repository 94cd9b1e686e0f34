//! Image tiles in rows and columns, as one PNG.

use std::io::Cursor;
use std::path::Path;

use image::{ImageFormat, Rgb, RgbImage};

use crate::error::{Error, Result};
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

/// Square tiles: `rows` rows of `groups` groups of `columns` columns.
pub struct Grid {
    canvas: RgbImage,
    columns: usize,
    /// Side of a tile, in pixels of the images.
    side: usize,
    /// Pixels of the canvas along a pixel of an image.
    scale: usize,
}

impl Grid {
    /// An empty grid for images of up to `side` x `side` pixels.
    ///
    /// # Errors
    /// [`Error::Usage`] if it would be too large to be looked at.
    pub fn new(rows: usize, groups: usize, columns: usize, side: usize) -> Result<Self> {
        let scale = (COMFORTABLE / side.max(1)).max(1);
        let tile = side * scale + GAP;
        let width = MARGIN + groups * (columns * tile + MARGIN - GAP);
        let height = 2 * MARGIN + rows * tile - GAP.min(rows * tile);
        if width.saturating_mul(height) > MOST {
            return Err(Error::Usage(format!(
                "a grid of {rows} rows would be {width} x {height} pixels, more than a viewer opens: choose fewer"
            )));
        }
        let mut grid = Grid { canvas: RgbImage::from_pixel(width as u32, height as u32, PAPER), columns, side, scale };
        for (row, column) in (0..rows).flat_map(|row| (0..groups * columns).map(move |column| (row, column))) {
            let (left, top) = grid.corner(row, column);
            let side = side * scale;
            (0..side * side)
                .for_each(|i| grid.canvas.put_pixel((left + i % side) as u32, (top + i / side) as u32, EMPTY));
        }
        Ok(grid)
    }

    /// Left and top of the tile in `row` and `column`; columns count through the groups.
    fn corner(&self, row: usize, column: usize) -> (usize, usize) {
        let tile = self.side * self.scale + GAP;
        let group = column / self.columns;
        (MARGIN + column * tile + group * (MARGIN - GAP), MARGIN + row * tile)
    }

    /// Draws an image in the middle of a tile. What reaches beyond the tile is left out.
    pub fn place(
        &mut self,
        row: usize,
        column: usize,
        (height, width): (usize, usize),
        pixels: &[u8], // (height, width, 3)
    ) {
        let (left, top) = self.corner(row, column);
        let (height_here, width_here) = (height.min(self.side), width.min(self.side));
        let (down, across) = ((self.side - height_here) / 2, (self.side - width_here) / 2);
        let rows = pixels.chunks_exact(width * 3).take(height_here);
        for (h, line) in rows.enumerate() {
            for (w, pixel) in line.chunks_exact(3).take(width_here).enumerate() {
                let (x, y) = (left + (across + w) * self.scale, top + (down + h) * self.scale);
                for i in 0..self.scale * self.scale {
                    let (x, y) = (x + i % self.scale, y + i / self.scale);
                    self.canvas.put_pixel(x as u32, y as u32, Rgb([pixel[0], pixel[1], pixel[2]]));
                }
            }
        }
    }

    /// The picture.
    pub fn canvas(&self) -> &RgbImage {
        &self.canvas
    }

    /// Writes the PNG, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut png = Cursor::new(Vec::new());
        self.canvas
            .write_to(&mut png, ImageFormat::Png)
            .map_err(|e| Error::format(path, format!("the picture cannot be encoded: {e}")))?;
        replace_file(path, |out| out.write_all(png.get_ref()))
    }
}
