//! fprop and dgrad as one problem: rows of output, each a sum over taps of a
//! contiguous run of a zero-padded image times packed filters.
//!
//! NHWC makes a filter row contiguous: for fprop without groups the run of tap
//! r is the S*C values x[p t + r, q t .., ..], so a 7x7 filter on 3 channels is
//! 7 taps of 21, not 49 of 3. With groups a tap is one (r, s) and its run C/g.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::ops::Real;
use crate::ops::conv::Conv;
use crate::ops::tile::{self, Panel, Row, Taps, even};

/// Output rows that are worked on while one panel of filters stays in the L2
/// cache: a whole 13 x 13 map, a quarter of a 26 x 26 one.
const BLOCK_ROWS: usize = 192;

/// A zero-padded image: the plain one with `top` rows and `left` columns of zeros before it.
#[derive(Clone, Copy, Debug)]
pub struct Padded {
    pub H: usize,
    pub W: usize,
    pub C: usize,
    pub top: usize,
    pub left: usize,
    /// Height and width with the borders.
    pub full_H: usize,
    pub full_W: usize,
}

impl Padded {
    /// Elements of one padded image.
    pub fn len(&self) -> usize {
        self.full_H * self.full_W * self.C
    }

    /// Whether there is any border.
    pub fn is_plain(&self) -> bool {
        (self.full_H, self.full_W) == (self.H, self.W)
    }

    /// Copies `images` (N, H, W, C) into `padded` (N, full_H, full_W, C).
    pub fn fill<T: Real>(&self, images: &[T], padded: &mut [T]) {
        let (line, full_line) = (self.W * self.C, self.full_W * self.C);
        padded.par_chunks_mut(self.len()).zip(images.par_chunks(self.H * line)).for_each(|(padded, image)| {
            let (above, rest) = padded.split_at_mut(self.top * full_line);
            let (body, below) = rest.split_at_mut(self.H * full_line);
            above.fill(T::ZERO);
            below.fill(T::ZERO);
            for (to, from) in body.chunks_exact_mut(full_line).zip(image.chunks_exact(line)) {
                let (before, rest) = to.split_at_mut(self.left * self.C);
                let (middle, after) = rest.split_at_mut(line);
                before.fill(T::ZERO);
                middle.copy_from_slice(from);
                after.fill(T::ZERO);
            }
        });
    }
}

/// One stride-1 problem: a group of channels, and for dgrad a parity of positions.
#[derive(Debug)]
pub struct Part {
    /// Offset of each tap's run from a row's source.
    pub taps: Vec<usize>,
    /// Elements of a run.
    pub run: usize,
    /// First output channel of the group; the rows' targets include it.
    pub first_column: usize,
    /// Output channels of the group.
    pub columns: usize,
    /// The rows, by ascending target.
    pub rows: Vec<Row>,
    /// For packing: the filter position (r, s) of each step along the taps' runs,
    /// run by run; a step holds the channels that are contracted.
    pub steps: Vec<(usize, usize)>,
}

impl Part {
    /// Elements of the packed filters for panels of `width` columns.
    pub fn packed_len(&self, width: usize) -> usize {
        self.columns.div_ceil(width) * self.taps.len() * self.run * width
    }
}

/// The parts of fprop: one for each group.
pub fn fprop_parts(conv: &Conv, input: &Padded) -> Vec<Part> {
    let (Cg, Kg) = (conv.C / conv.groups, conv.K / conv.groups);
    let line = input.full_W * conv.C;
    (0..conv.groups)
        .map(|group| {
            let whole_rows = conv.groups == 1;
            let taps = match whole_rows {
                true => (0..conv.R).map(|r| r * line).collect(),
                false => (0..conv.R).flat_map(|r| (0..conv.S).map(move |s| r * line + s * conv.C)).collect(),
            };
            let row = |p: usize, q: usize| Row {
                source: p * conv.stride * line + q * conv.stride * conv.C + group * Cg,
                target: (p * conv.Q + q) * conv.K + group * Kg,
            };
            Part {
                taps,
                run: if whole_rows { conv.S * conv.C } else { Cg },
                first_column: group * Kg,
                columns: Kg,
                rows: (0..conv.P).flat_map(|p| (0..conv.Q).map(move |q| row(p, q))).collect(),
                steps: (0..conv.R).flat_map(|r| (0..conv.S).map(move |s| (r, s))).collect(),
            }
        })
        .collect()
}

/// One axis of dgrad: how dy must be padded, and the taps of each parity.
struct Axis {
    stride: usize,
    kernel: usize,
    pad: usize,
    /// Zeros before dy: the most taps of any parity, less one.
    before: usize,
    /// Size of dy with its borders.
    full: usize,
}

impl Axis {
    fn new(size: usize, outputs: usize, kernel: usize, stride: usize, pad: usize) -> Self {
        let before = kernel.div_ceil(stride) - 1;
        let last = (size - 1 + pad) / stride;
        Axis { stride, kernel, pad, before, full: before + outputs.max(last + 1) }
    }

    /// Filter positions that reach parity `a`, in the order of ascending dy positions.
    fn kernel_positions(&self, a: usize) -> Vec<usize> {
        (a..self.kernel).step_by(self.stride).rev().collect()
    }

    /// For each input position of parity `a`: (position, first dy position with its border).
    fn positions(&self, size: usize, a: usize) -> Vec<(usize, usize)> {
        let taps = self.kernel_positions(a).len();
        (0..size)
            .filter(|h| (h + self.pad) % self.stride == a)
            .map(|h| (h, (h + self.pad) / self.stride + self.before + 1 - taps.max(1)))
            .collect()
    }
}

/// How dgrad pads dy.
pub fn dgrad_padded(conv: &Conv) -> Padded {
    let rows = Axis::new(conv.H, conv.P, conv.R, conv.stride, conv.pad);
    let columns = Axis::new(conv.W, conv.Q, conv.S, conv.stride, conv.pad);
    Padded {
        H: conv.P,
        W: conv.Q,
        C: conv.K,
        top: rows.before,
        left: columns.before,
        full_H: rows.full,
        full_W: columns.full,
    }
}

/// The parts of dgrad: one for each parity of (h, w) and each group.
pub fn dgrad_parts(conv: &Conv, dy: &Padded) -> Vec<Part> {
    let (Cg, Kg) = (conv.C / conv.groups, conv.K / conv.groups);
    let rows = Axis::new(conv.H, conv.P, conv.R, conv.stride, conv.pad);
    let columns = Axis::new(conv.W, conv.Q, conv.S, conv.stride, conv.pad);
    let line = dy.full_W * conv.K;
    let mut parts = Vec::new();
    for (a, b) in (0..conv.stride).flat_map(|a| (0..conv.stride).map(move |b| (a, b))) {
        let (kernel_rows, kernel_columns) = (rows.kernel_positions(a), columns.kernel_positions(b));
        let (at_rows, at_columns) = (rows.positions(conv.H, a), columns.positions(conv.W, b));
        if at_rows.is_empty() || at_columns.is_empty() {
            continue;
        }
        let steps: Vec<(usize, usize)> =
            kernel_rows.iter().flat_map(|&r| kernel_columns.iter().map(move |&s| (r, s))).collect();
        for group in 0..conv.groups {
            let whole_rows = conv.groups == 1 && !steps.is_empty();
            let taps: Vec<usize> = match whole_rows {
                true => (0..kernel_rows.len()).map(|j| j * line).collect(),
                false => (0..kernel_rows.len())
                    .flat_map(|j| (0..kernel_columns.len()).map(move |i| j * line + i * conv.K))
                    .collect(),
            };
            let row = |&(h, i): &(usize, usize), &(w, k): &(usize, usize)| Row {
                source: i * line + k * conv.K + group * Kg,
                target: (h * conv.W + w) * conv.C + group * Cg,
            };
            parts.push(Part {
                taps,
                run: if whole_rows { kernel_columns.len() * conv.K } else { Kg },
                first_column: group * Cg,
                columns: Cg,
                rows: at_rows.iter().flat_map(|h| at_columns.iter().map(move |w| row(h, w))).collect(),
                steps: steps.clone(),
            });
        }
    }
    parts
}

/// Packs filters for fprop: panels of output channels k, each (steps, Cg, width).
pub fn pack_fprop<T: Real>(conv: &Conv, part: &Part, width: usize, w: &[T], packed: &mut [T]) {
    let Cg = conv.C / conv.groups;
    let filter = conv.R * conv.S * Cg;
    packed.par_chunks_mut(filter * width).enumerate().for_each(|(panel, packed)| {
        packed.fill(T::ZERO);
        let first = panel * width;
        for column in 0..width.min(part.columns - first) {
            let w = &w[(part.first_column + first + column) * filter..][..filter];
            packed[column..].iter_mut().step_by(width).zip(w).for_each(|(to, from)| *to = *from);
        }
    });
}

/// Packs filters for dgrad: panels of input channels c, each (steps, Kg, width).
pub fn pack_dgrad<T: Real>(conv: &Conv, part: &Part, width: usize, w: &[T], packed: &mut [T]) {
    let (Cg, Kg) = (conv.C / conv.groups, conv.K / conv.groups);
    let group = part.first_column / Cg;
    packed.par_chunks_mut((part.steps.len() * Kg * width).max(1)).enumerate().for_each(|(panel, packed)| {
        let first = panel * width;
        let columns = width.min(part.columns - first);
        let mut lines = packed.chunks_exact_mut(width);
        for &(r, s) in &part.steps {
            for (k, line) in (group * Kg..(group + 1) * Kg).zip(&mut lines) {
                line[columns..].fill(T::ZERO);
                line[..columns].copy_from_slice(&w[((k * conv.R + r) * conv.S + s) * Cg + first..][..columns]);
            }
        }
    });
}

/// What is added to and done with the sums.
#[derive(Clone, Copy)]
pub struct Epilogue<'a, T> {
    /// Added to every row: (output channels).
    pub bias: Option<&'a [T]>,
    /// Whether negative results become 0.
    pub relu: bool,
}

/// Runs all parts for all images. `bands` cuts each output image into pieces of
/// whole lines for parallel work; it does not change any result.
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
