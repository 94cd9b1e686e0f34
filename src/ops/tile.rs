//! The two inner products of convolution and of linear layers, held in registers.
//!
//! Both work on a tile of MR rows by one panel of NR = 2 vectors. AVX-512 has
//! 32 registers: 13 x 2 sums, 2 for the panel, 1 for the broadcast (14 rows
//! would fit, but their addresses do not: half the speed); AVX2 has 16 and takes
//! 6 x 2. The left operand is read straight from the padded image, so
//! there is no column matrix: one value is broadcast, and used for 2 vectors.

use std::ops::Range;

use pulp::Simd;
use rayon::prelude::*;

use crate::ops::Real;
use crate::ops::cpu::room;

/// Vectors in a panel.
pub const PANEL_LANES: usize = 2;

/// A value in each of a panel's columns.
pub type Panel<T, S> = [<T as Real>::Lanes<S>; PANEL_LANES];

/// Columns of a panel on the instruction set of `S`.
#[inline(always)]
pub fn panel_width<T: Real, S: Simd>() -> usize {
    PANEL_LANES * std::mem::size_of::<T::Lanes<S>>() / std::mem::size_of::<T>()
}

/// The most rows whose sums fit the registers of `S`, at most 13.
#[inline(always)]
pub const fn tile_rows<S: Simd>() -> usize {
    let fit = (S::REGISTER_COUNT - PANEL_LANES - 1) / PANEL_LANES;
    if fit < 13 { fit } else { 13 }
}

/// Runs `body` with the constant `MR` = `len`, which is 1 to `tile_rows::<S>()`.
/// Longer tiles are not even compiled for the instruction set.
macro_rules! of_rows {
    ($S:ident, $len:expr, $MR:ident => $body:expr) => {
        $crate::ops::tile::of_rows!(@ $S, $len, $MR, $body, 1 2 3 4 5 6 7 8 9 10 11 12 13)
    };
    (@ $S:ident, $len:expr, $MR:ident, $body:expr, $($rows:literal)*) => {
        match $len {
            $($rows => {
                const $MR: usize = $rows;
                if const { $rows <= $crate::ops::tile::tile_rows::<$S>() } {
                    $body
                }
            })*
            _ => {}
        }
    };
}
pub(crate) use of_rows;

/// Where an output row is gathered from and goes to: offsets of its first
/// element in the padded input and in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub source: usize,
    pub target: usize,
}

/// What one panel is multiplied with: contiguous runs of the input, one for each tap.
#[derive(Clone, Copy)]
pub struct Taps<'a> {
    /// Offset of each tap's run from the row's source.
    pub offsets: &'a [usize],
    /// Elements of a run.
    pub run: usize,
}

/// sums[m] = start + sum_{t,j} x[rows[m].source + taps[t] + j] w[t run + j].
#[inline(always)]
pub fn gather<T: Real, S: Simd, const MR: usize>(
    simd: S,
    x: &[T],
    rows: &[Row; MR],
    taps: Taps<'_>,
    w: &[Panel<T, S>], // (taps * run)
    start: Panel<T, S>,
) -> [Panel<T, S>; MR] {
    let mut sums = [start; MR];
    let run = taps.run;
    for (t, &tap) in taps.offsets.iter().enumerate() {
        let w = &w[t * run..][..run];
        let x: [&[T]; MR] = std::array::from_fn(|m| &x[rows[m].source + tap..][..run]);
        for j in 0..run {
            let panel = w[j];
            for m in 0..MR {
                let a = T::splat(simd, x[m][j]);
                for v in 0..PANEL_LANES {
                    sums[m][v] = T::mul_add(simd, a, panel[v], sums[m][v]);
                }
            }
        }
    }
    sums
}

/// Where the pixels of an output line stand in the padded input.
#[derive(Clone, Copy)]
pub struct Lines {
    /// Pixels of a line.
    pub Q: usize,
    /// Distance in the input between the pixels of a line.
    pub step: usize,
    /// Distance in the input between lines.
    pub line: usize,
}

/// sums[m] = sum_{p,q} x[p line + q step + m] dy[p Q + q].
///
/// The only way out of the pixel loop, but for its end, must be one that does not
/// return: with any other the sums are live on two paths, and the compiler moves
/// them through memory (measured: a third to a half of the speed).
#[inline(always)]
pub fn outer<T: Real, S: Simd, const MR: usize>(
    simd: S,
    x: &[T],
    lines: Lines,
    dy: &[Panel<T, S>], // (p * Q)
) -> [Panel<T, S>; MR] {
    let mut sums = [[T::splat(simd, T::ZERO); PANEL_LANES]; MR];
    for (p, dy) in dy.chunks_exact(lines.Q).enumerate() {
        let x = &x[p * lines.line..];
        let mut at = 0;
        for panel in dy {
            let x = &x[at..at + MR];
            at += lines.step;
            for m in 0..MR {
                let a = T::splat(simd, x[m]);
                for v in 0..PANEL_LANES {
                    sums[m][v] = T::mul_add(simd, a, panel[v], sums[m][v]);
                }
            }
        }
    }
    sums
}

/// A panel of zeros.
#[inline(always)]
pub fn zero<T: Real, S: Simd>(simd: S) -> Panel<T, S> {
    [T::splat(simd, T::ZERO); PANEL_LANES]
}

/// y[rows[m].target ..] += sums[m], whole panels.
#[inline(always)]
pub fn add<T: Real, S: Simd, const MR: usize>(simd: S, sums: &[Panel<T, S>; MR], rows: &[Row; MR], y: &mut [T]) {
    for (sums, row) in sums.iter().zip(rows) {
        let y = &mut y[row.target..][..panel_width::<T, S>()];
        for (sum, y) in sums.iter().zip(T::as_lanes_mut::<S>(y).0) {
            *y = T::vadd(simd, *y, *sum);
        }
    }
}

/// y = the leading `y.len()` columns of `sums`.
#[inline(always)]
pub fn store<T: Real, S: Simd>(sums: &Panel<T, S>, y: &mut [T]) {
    match T::as_lanes_mut::<S>(y) {
        ([a, b], []) => [*a, *b] = *sums,
        _ => y.copy_from_slice(&bytemuck::cast_slice(sums)[..y.len()]),
    }
}

/// `values` as whole panels.
#[inline(always)]
pub fn panels<T: Real, S: Simd>(values: &[T]) -> &[Panel<T, S>] {
    bytemuck::cast_slice(values)
}

/// Splits `0..len` into the fewest pieces of at most `most`, as even as possible.
pub fn even(len: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let pieces = len.div_ceil(most).max(1);
    (0..pieces).map(move |i| i * len / pieces..(i + 1) * len / pieces)
}

/// Columns `columns` of `matrix` (rows, stride) as panels (panels, rows, width),
/// with zeros behind the last column. `buffer` grows as needed.
pub fn pack<'a, T: Real>(
    matrix: &[T],
    stride: usize,
    columns: Range<usize>,
    width: usize,
    buffer: &'a mut Vec<T>,
) -> &'a [T] {
    let rows = matrix.len() / stride;
    let packed = room(buffer, columns.len().div_ceil(width) * rows * width);
    packed.par_chunks_mut(rows * width).enumerate().for_each(|(panel, packed)| {
        let first = columns.start + panel * width;
        let used = width.min(columns.end - first);
        for (packed, row) in packed.chunks_exact_mut(width).zip(matrix.chunks_exact(stride)) {
            packed[..used].copy_from_slice(&row[first..][..used]);
            packed[used..].fill(T::ZERO);
        }
    });
    packed
}
