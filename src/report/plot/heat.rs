//! Amounts over a plane: a heat map with its colour bar.

use image::{Rgb, RgbImage};

use crate::error::Result;
use crate::report::plot::axis::{Axis, Frame};
use crate::report::plot::colour::{EMPTY, INK, amount};
use crate::report::plot::figure::{Anchor, Area, Figure, TEXT};

/// Width of the colour bar, and its distance from the map.
const BAR: (f64, f64) = (12.0, 10.0);
/// Colours of the bar.
const SHADES: u32 = 128;

/// Room that a colour bar with its numbers takes to the right of the map.
pub const MARGIN: f64 = 76.0;

/// A grid of cells that covers part of a plane.
#[derive(Clone, Copy, Debug)]
pub struct Cells<'a, T> {
    /// A value for each cell, in row-major order.
    pub values: &'a [T], // (rows, columns)
    /// Cells in a row.
    pub columns: usize,
    /// (x, y) of the first cell's outer corner and of the last one's.
    pub corners: [(f64, f64); 2],
}

impl<T: Copy> Cells<'_, T> {
    /// Draws the cells in the colours that `colour` gives them.
    pub(super) fn draw(&self, figure: &mut Figure, frame: &Frame, colour: impl Fn(T) -> [u8; 3]) -> Result<()> {
        let columns = self.columns.max(1);
        let mut picture = RgbImage::new(columns as u32, (self.values.len() / columns) as u32);
        picture.pixels_mut().zip(self.values).for_each(|(pixel, &value)| *pixel = Rgb(colour(value)));
        figure.fill(frame.area, EMPTY);
        match picture.is_empty() {
            true => Ok(()),
            false => figure.picture(frame.rectangle(self.corners[0], self.corners[1]), &picture, false),
        }
    }
}

/// A heat map.
pub struct Heat<'a> {
    /// What is shown.
    pub title: &'a str,
    /// The amounts.
    pub cells: Cells<'a, f64>,
    /// Axis to the right.
    pub x: &'a Axis,
    /// Axis upwards.
    pub y: &'a Axis,
    /// The amounts of the darkest and the brightest colour, and what is counted.
    pub bar: &'a Axis,
}

impl Heat<'_> {
    /// Draws the map with its frame in `area`, the ticks and labels around it, and the bar
    /// in [`MARGIN`] to its right.
    pub fn draw(&self, figure: &mut Figure, area: Area) -> Result<()> {
        let frame = Frame::new(area, self.x, self.y);
        self.cells.draw(figure, &frame, |value| amount(self.bar.share(value)))?;
        frame.draw(figure, self.title);
        let bar = Area { left: area.right() + BAR.1, width: BAR.0, ..area };
        let shade = |y: u32| amount(1.0 - (f64::from(y) + 0.5) / f64::from(SHADES));
        figure.picture(bar, &RgbImage::from_fn(1, SHADES, |_, y| Rgb(shade(y))), false)?;
        figure.outline(bar, INK, 0.8);
        let mut widest = 0;
        for (value, text) in self.bar.ticks((area.height / 44.0) as usize) {
            let y = bar.bottom() - bar.height * self.bar.share(value);
            figure.lines(&[(bar.right(), y), (bar.right() + 3.0, y)], INK, 0.8, "");
            figure.text((bar.right() + 6.0, y + 0.36 * TEXT), Anchor::Start, &text);
            widest = widest.max(text.len());
        }
        let x = bar.right() + 9.0 + 0.58 * TEXT * widest as f64 + TEXT;
        figure.upright((x, area.top + area.height / 2.0), &self.bar.label);
        Ok(())
    }
}
