//! Colours and an image in floating point that antialiased shapes are laid onto.

use std::f32::consts::TAU;

use super::draws::Draws;

/// Red, green and blue in 0..1, as stored (sRGB).
pub(super) type Colour = [f32; 3];

/// Rec. 601 luma.
fn luma(c: Colour) -> f32 {
    0.299 * c[0] + 0.587 * c[1] + 0.114 * c[2]
}

/// A colour of any hue with the given luma and up to the given saturation.
pub(super) fn tint(draws: &mut Draws, luma_wanted: f32, saturation: f32) -> Colour {
    let (hue, strength) = (draws.range(0.0, 1.0), draws.range(0.3, 1.0) * saturation);
    let pure = [0.0, 1.0 / 3.0, 2.0 / 3.0].map(|third: f32| 0.5 + 0.5 * (TAU * (hue - third)).cos());
    let grey = luma(pure);
    pure.map(|value| (luma_wanted + strength * (value - grey)).clamp(0.0, 1.0))
}

/// a at 0, b at 1.
pub(super) fn mix(a: Colour, b: Colour, share: f32) -> Colour {
    std::array::from_fn(|c| a[c] + (b[c] - a[c]) * share)
}

/// Smooth noise: values of a small random grid, joined without kinks.
pub(super) struct Noise {
    side: usize,
    values: Vec<f32>,
}

impl Noise {
    /// Noise with `cells` x `cells` bumps over the unit square, values in 0..1.
    pub(super) fn new(draws: &mut Draws, cells: usize) -> Self {
        let side = cells + 1;
        Noise { side, values: (0..side * side).map(|_| draws.range(0.0, 1.0)).collect() }
    }

    /// The value at (x, y), which are kept in 0..=1.
    pub(super) fn at(&self, x: f32, y: f32) -> f32 {
        let cells = (self.side - 1) as f32;
        let split = |t: f32| {
            let t = t.clamp(0.0, 1.0) * cells;
            let cell = t.floor().min(cells - 1.0);
            let f = t - cell;
            (cell as usize, f * f * (3.0 - 2.0 * f))
        };
        let ((i, fx), (j, fy)) = (split(x), split(y));
        let row = |j: usize| {
            let (left, right) = (self.values[j * self.side + i], self.values[j * self.side + i + 1]);
            left + (right - left) * fx
        };
        let (upper, lower) = (row(j), row(j + 1));
        upper + (lower - upper) * fy
    }
}

/// An image of side `size`; coordinates run from 0 to 1 over it.
pub(super) struct Canvas {
    pub(super) size: usize,
    pub(super) pixels: Vec<Colour>, // (S, S)
}

/// Samples along each side of a pixel where a shape is laid.
const SAMPLES: usize = 4;

impl Canvas {
    pub(super) fn new(size: usize, colour: impl Fn(f32, f32) -> Colour) -> Self {
        let centre = |i: usize| (i as f32 + 0.5) / size as f32;
        let pixels = (0..size * size).map(|i| colour(centre(i % size), centre(i / size))).collect();
        Canvas { size, pixels }
    }

    /// Lays a shape of radius at most `reach` round (x, y) onto the image.
    /// `paint` gives the colour at an offset from the centre, or none outside
    /// of the shape; a pixel mixes what its samples say. Calls `covered` with
    /// each pixel's index and the share of it that the shape takes.
    pub(super) fn lay(
        &mut self,
        [x, y]: [f32; 2],
        reach: f32,
        paint: impl Fn(f32, f32) -> Option<Colour>,
        mut covered: impl FnMut(usize, f32),
    ) {
        let scale = self.size as f32;
        let span = |centre: f32| {
            let first = ((centre - reach) * scale).floor().max(0.0) as usize;
            let last = ((centre + reach) * scale).ceil().max(0.0) as usize;
            first..last.min(self.size)
        };
        let sample = |i: usize, k: usize| (i as f32 + (k as f32 + 0.5) / SAMPLES as f32) / scale;
        for j in span(y) {
            for i in span(x) {
                let (mut sum, mut inside) = ([0.0; 3], 0);
                for k in 0..SAMPLES * SAMPLES {
                    let offset = (sample(i, k % SAMPLES) - x, sample(j, k / SAMPLES) - y);
                    if let Some(colour) = paint(offset.0, offset.1) {
                        inside += 1;
                        (0..3).for_each(|c| sum[c] += colour[c]);
                    }
                }
                if inside > 0 {
                    let share = inside as f32 / (SAMPLES * SAMPLES) as f32;
                    let colour = sum.map(|s| s / inside as f32);
                    let pixel = &mut self.pixels[j * self.size + i];
                    *pixel = mix(*pixel, colour, share);
                    covered(j * self.size + i, share);
                }
            }
        }
    }
}
