//! The weight gradient: for every filter position and channel, a sum over all
//! pixels of all images of x times dy.
//!
//! Work is split over (panel of filters, tap), never over images, and every
//! task visits the images in order: the sum does not depend on the number of
//! threads, and no thread needs a copy of dw. Images are taken in groups that
//! stay in the last-level cache while all tasks pass over them.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::border::Padded;
use super::parts::Part;
use crate::ops::Real;
use crate::ops::conv::Conv;
use crate::ops::tile::{self, Lines, Row, even};

/// Bytes of images and gradients in a group: half of a common last-level cache.
const GROUP_BYTES: usize = 8 << 20;

/// Pixels summed in registers before they are added to dw: their panel of dy
/// (128 bytes a pixel) and their piece of x stay in the L2 cache.
const BLOCK_PIXELS: usize = 1024;

/// Fills `dw`, for each part (panels, taps, run, width), and `dbias`.
pub fn run<T: Real>(
    arch: pulp::Arch,
    conv: &Conv,
    parts: &[Part],
    width: usize,
    input: &Padded,
    x: &[T],  // (N, full_H, full_W, C)
    dy: &[T], // (N, P, Q, K)
    dw: &mut [&mut [T]],
    dbias: &mut [T], // (K)
    scratch: &mut Vec<T>,
) {
    let pixels = conv.P * conv.Q;
    let image = pixels * conv.K;
    let group = (GROUP_BYTES / ((input.len() + image) * std::mem::size_of::<T>())).max(1);
    dw.iter_mut().for_each(|dw| dw.fill(T::ZERO));
    dbias.fill(T::ZERO);
    for (x, dy) in x.chunks(group * input.len()).zip(dy.chunks(group * image)) {
        let N = dy.len() / image;
        for (part, dw) in parts.iter().zip(&mut *dw) {
            let dy = tile::pack(dy, conv.K, part.first_column..part.first_column + part.columns, width, scratch);
            column_sums(width, dy, N * pixels * width, pixels, &mut dbias[part.first_column..][..part.columns]);
            let taps = part.taps.len();
            dw.par_chunks_mut(part.run * width).enumerate().for_each(|(task, dw)| {
                let (panel, tap) = (task / taps, task % taps);
                let dy = &dy[panel * N * pixels * width..][..N * pixels * width];
                for (x, dy) in x.chunks_exact(input.len()).zip(dy.chunks_exact(pixels * width)) {
                    let x = &x[part.rows[0].source + part.taps[tap]..];
                    arch.dispatch(Task { conv, x, line: input.full_W * conv.C, dy, run: part.run, dw: &mut *dw });
                }
            });
        }
    }
}

/// dbias[k] += sum over pixels, image by image, of dy[.., k].
fn column_sums<T: Real>(width: usize, dy: &[T], panel: usize, pixels: usize, dbias: &mut [T]) {
    dbias.par_chunks_mut(width).zip(dy.par_chunks(panel)).for_each(|(dbias, dy)| {
        for dy in dy.chunks_exact(pixels * width) {
            let mut sums = vec![T::ZERO; width];
            for pixel in dy.chunks_exact(width) {
                sums.iter_mut().zip(pixel).for_each(|(sum, dy)| *sum += *dy);
            }
            dbias.iter_mut().zip(&sums).for_each(|(db, sum)| *db += *sum);
        }
    });
}

/// One image's share of one tap of one panel.
struct Task<'a, T> {
    conv: &'a Conv,
    /// From the tap of the first pixel on.
    x: &'a [T],
    /// Elements of a line of the padded input.
    line: usize,
    dy: &'a [T], // (P * Q, width)
    run: usize,
    dw: &'a mut [T], // (run, width)
}

impl<T: Real> WithSimd for Task<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Task { conv, x, line, dy, run, dw } = self;
        let width = tile::panel_width::<T, S>();
        let lines = Lines { Q: conv.Q, step: conv.stride * conv.C, line: conv.stride * line };
        let dy = tile::panels::<T, S>(dy);
        for block in even(conv.P, (BLOCK_PIXELS / conv.Q).max(1)) {
            let x = &x[block.start * lines.line..];
            let dy = &dy[block.start * conv.Q..block.end * conv.Q];
            for piece in even(run, tile::tile_rows::<S>()) {
                let x = &x[piece.start..];
                let dw = &mut dw[piece.start * width..piece.end * width];
                tile::of_rows!(S, piece.len(), MR => {
                    let sums = tile::outer::<T, S, MR>(simd, x, lines, dy);
                    let rows: [Row; MR] = std::array::from_fn(|m| Row { source: 0, target: m * width });
                    tile::add(simd, &sums, &rows, dw);
                });
            }
        }
    }
}

/// Brings packed gradients back to (K, R, S, C/g).
pub fn unpack<T: Real>(conv: &Conv, part: &Part, width: usize, packed: &[T], dw: &mut [T]) {
    let filter = conv.R * conv.S * conv.C / conv.groups;
    let filters = &mut dw[part.first_column * filter..][..part.columns * filter];
    filters.par_chunks_mut(filter).enumerate().for_each(|(k, dw)| {
        let packed = &packed[(k / width) * filter * width + k % width..];
        dw.iter_mut().zip(packed.iter().step_by(width)).for_each(|(to, from)| *to = *from);
    });
}
