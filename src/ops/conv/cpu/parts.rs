//! What fprop and dgrad gather: the parts of the problem, their taps, rows and packed filters.
//!
//! NHWC makes a filter row contiguous: for fprop without groups the run of tap
//! r is the S*C values x[p t + r, q t .., ..], so a 7x7 filter on 3 channels is
//! 7 taps of 21, not 49 of 3. With groups a tap is one (r, s) and its run C/g.

use rayon::prelude::*;

use super::border::Padded;
use crate::ops::Real;
use crate::ops::conv::Conv;
use crate::ops::tile::Row;

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
