//! fprop and dgrad as one problem: rows of output, each a sum over taps of a
//! contiguous run of a zero-padded image times packed filters.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::border::Padded;
use super::parts::Part;
use crate::ops::Real;
use crate::ops::tile::{self, Panel, Row, Taps, even};

/// Output rows that are worked on while one panel of filters stays in the L2
/// cache: a whole 13 x 13 map, a quarter of a 26 x 26 one.
const BLOCK_ROWS: usize = 192;

/// What is added to and done with the sums.
#[derive(Clone, Copy)]
pub struct Epilogue<'a, T> {
    /// Added to every row: (output channels).
    pub bias: Option<&'a [T]>,
    /// Whether negative results become 0.
    pub relu: bool,
}

/// Runs all parts for all images. Each output image is cut into bands of whole lines,
/// enough to keep every thread busy; how many does not change any result.
pub fn run<T: Real>(
    arch: pulp::Arch,
    parts: &[Part],
    packed: &[&mut [T]], // for each part (panels, taps * run, width)
    input: &Padded,
    x: &[T], // (N, full_H, full_W, C)
    epilogue: Epilogue<'_, T>,
    line: usize,
    y: &mut [T], // (N, lines, line)
    image: usize,
) {
    let N = y.len() / image;
    let lines = image / line;
    // Four tasks a thread even out their ends; one image a task is the least overhead.
    let bands = (4 * rayon::current_num_threads()).div_ceil(N).clamp(1, lines);
    let tasks: Vec<(usize, usize, &mut [T])> = y
        .chunks_exact_mut(image)
        .zip(x.chunks_exact(input.len()))
        .enumerate()
        .flat_map(|(n, (mut y, _))| {
            even(lines, lines.div_ceil(bands)).map(move |band| {
                let (piece, rest) = std::mem::take(&mut y).split_at_mut(band.len() * line);
                y = rest;
                (n, band.start * line, piece)
            })
        })
        .collect();
    tasks.into_par_iter().for_each(|(n, first, y)| {
        let x = &x[n * input.len()..][..input.len()];
        for (part, packed) in parts.iter().zip(packed) {
            let from = part.rows.partition_point(|row| row.target < first);
            let to = part.rows.partition_point(|row| row.target < first + y.len());
            arch.dispatch(Band { x, part, rows: &part.rows[from..to], packed, epilogue, first, y: &mut *y });
        }
    });
}

/// Some rows of one part of one image.
struct Band<'a, T> {
    x: &'a [T],
    part: &'a Part,
    rows: &'a [Row],
    packed: &'a [T],
    epilogue: Epilogue<'a, T>,
    /// The output offset at which `y` begins.
    first: usize,
    y: &'a mut [T],
}

impl<T: Real> WithSimd for Band<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let width = tile::panel_width::<T, S>();
        let Band { x, part, rows, packed, epilogue, first, y } = self;
        let taps = Taps { offsets: &part.taps, run: part.run };
        let depth = part.taps.len() * part.run;
        for block in even(rows.len(), BLOCK_ROWS) {
            let block = &rows[block];
            for panel in 0..part.columns.div_ceil(width) {
                let w = tile::panels::<T, S>(&packed[panel * depth * width..][..depth * width]);
                let column = panel * width;
                let columns = width.min(part.columns - column);
                let start = match epilogue.bias {
                    Some(bias) => partial::<T, S>(simd, &bias[part.first_column + column..][..columns]),
                    None => tile::zero::<T, S>(simd),
                };
                for rows in even(block.len(), tile::tile_rows::<S>()) {
                    let rows = &block[rows];
                    tile::of_rows!(S, rows.len(), MR => if let Ok(rows) = rows.try_into() {
                        let sums = tile::gather::<T, S, MR>(simd, x, rows, taps, w, start);
                        store::<T, S, MR>(simd, &sums, rows, column, columns, epilogue.relu, first, y);
                    });
                }
            }
        }
    }
}

/// A panel of which only the leading `values.len()` columns are used.
#[inline(always)]
fn partial<T: Real, S: Simd>(simd: S, values: &[T]) -> Panel<T, S> {
    let mut panel = tile::zero::<T, S>(simd);
    bytemuck::cast_slice_mut::<_, T>(&mut panel)[..values.len()].copy_from_slice(values);
    panel
}

#[inline(always)]
fn store<T: Real, S: Simd, const MR: usize>(
    simd: S,
    sums: &[Panel<T, S>; MR],
    rows: &[Row; MR],
    column: usize,
    columns: usize,
    relu: bool,
    first: usize,
    y: &mut [T],
) {
    let zero = T::splat(simd, T::ZERO);
    for (sums, row) in sums.iter().zip(rows) {
        let mut sums = *sums;
        if relu {
            // max(0, sum) in this order keeps a NaN, so that it is found and not hidden.
            sums.iter_mut().for_each(|sum| *sum = T::vmax(simd, zero, *sum));
        }
        let y = &mut y[row.target - first + column..][..columns];
        tile::store::<T, S>(&sums, y);
    }
}
