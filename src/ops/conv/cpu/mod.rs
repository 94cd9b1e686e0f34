//! Convolution on the CPU: implicit matrix products, read straight from the image.
//!
//! There is no column matrix at all. Filters are packed once a call into panels
//! (some MB against GFLOPs of work), images are copied once into a zero border
//! where there is padding, and the inner loop reads both in place: 205 to 220
//! GFLOP/s on two cores of a Zen 4, where a matrix product by the `gemm` crate,
//! without the columns that it would need, gave 182 (benches/NOTES.md).
//!
//! The order in which each output is summed depends on the geometry alone, so
//! results are the same bits for any number of threads.

mod border;
mod gather;
mod parts;
mod wgrad;

use border::Padded;
use gather::Epilogue;
use parts::Part;

use crate::error::Result;
use crate::ops::Real;
use crate::ops::conv::{Conv, ConvOp};
use crate::ops::cpu::{Cpu, lead, lead_mut, room};

impl<T: Real> ConvOp for Cpu<T> {
    fn conv_fprop(
        &mut self,
        conv: &Conv,
        N: usize,
        x: &Vec<T>,    // (N, H, W, C)
        w: &Vec<T>,    // (K, R, S, C/groups)
        bias: &Vec<T>, // (K)
        relu: bool,
        y: &mut Vec<T>, // (N, P, Q, K)
    ) -> Result<()> {
        let x = lead("conv_fprop", "x", x, N * conv.input().len())?;
        let w = lead("conv_fprop", "w", w, conv.weights())?;
        let bias = lead("conv_fprop", "bias", bias, conv.K)?;
        let y = lead_mut("conv_fprop", "y", y, N * conv.output().len())?;
        let width = self.panel_width();
        let input = fprop_padded(conv);
        let parts = parts::fprop_parts(conv, &input);
        let scratch = &mut self.scratch;
        let packed = pack(&mut scratch.packed, &parts, width, |part, packed| {
            parts::pack_fprop(conv, part, width, w, packed);
        });
        let x = pad(&input, x, &mut scratch.padded);
        let epilogue = Epilogue { bias: Some(bias), relu };
        gather::run(self.arch, &parts, &packed, &input, x, epilogue, conv.Q * conv.K, y, conv.output().len());
        Ok(())
    }

    fn conv_dgrad(
        &mut self,
        conv: &Conv,
        N: usize,
        dy: &Vec<T>,     // (N, P, Q, K)
        w: &Vec<T>,      // (K, R, S, C/groups)
        dx: &mut Vec<T>, // (N, H, W, C)
    ) -> Result<()> {
        let dy = lead("conv_dgrad", "dy", dy, N * conv.output().len())?;
        let w = lead("conv_dgrad", "w", w, conv.weights())?;
        let dx = lead_mut("conv_dgrad", "dx", dx, N * conv.input().len())?;
        let width = self.panel_width();
        let input = parts::dgrad_padded(conv);
        let parts = parts::dgrad_parts(conv, &input);
        let scratch = &mut self.scratch;
        let packed = pack(&mut scratch.packed, &parts, width, |part, packed| {
            parts::pack_dgrad(conv, part, width, w, packed);
        });
        let dy = pad(&input, dy, &mut scratch.padded);
        let epilogue = Epilogue { bias: None, relu: false };
        gather::run(self.arch, &parts, &packed, &input, dy, epilogue, conv.W * conv.C, dx, conv.input().len());
        Ok(())
    }

    fn conv_wgrad(
        &mut self,
        conv: &Conv,
        N: usize,
        x: &Vec<T>,         // (N, H, W, C)
        dy: &Vec<T>,        // (N, P, Q, K)
        dw: &mut Vec<T>,    // (K, R, S, C/groups)
        dbias: &mut Vec<T>, // (K)
    ) -> Result<()> {
        let x = lead("conv_wgrad", "x", x, N * conv.input().len())?;
        let dy = lead("conv_wgrad", "dy", dy, N * conv.output().len())?;
        let dw = lead_mut("conv_wgrad", "dw", dw, conv.weights())?;
        let dbias = lead_mut("conv_wgrad", "dbias", dbias, conv.K)?;
        let width = self.panel_width();
        let input = fprop_padded(conv);
        let parts = parts::fprop_parts(conv, &input);
        let scratch = &mut self.scratch;
        let mut packed = pack(&mut scratch.packed, &parts, width, |_, _| {});
        let x = pad(&input, x, &mut scratch.padded);
        wgrad::run(self.arch, conv, &parts, width, &input, x, dy, &mut packed, dbias, &mut scratch.panels);
        for (part, packed) in parts.iter().zip(&packed) {
            wgrad::unpack(conv, part, width, packed, dw);
        }
        Ok(())
    }
}

/// The input of fprop and wgrad with its zero border.
fn fprop_padded(conv: &Conv) -> Padded {
    let (full_H, full_W) = (conv.H + 2 * conv.pad, conv.W + 2 * conv.pad);
    Padded { H: conv.H, W: conv.W, C: conv.C, top: conv.pad, left: conv.pad, full_H, full_W }
}

/// One piece of `buffer` for each part, filled by `fill`.
fn pack<'a, T: Real>(
    buffer: &'a mut Vec<T>,
    parts: &[Part],
    width: usize,
    fill: impl Fn(&Part, &mut [T]),
) -> Vec<&'a mut [T]> {
    let total = parts.iter().map(|part| part.packed_len(width)).sum();
    let mut rest = room(buffer, total);
    let mut pieces = Vec::with_capacity(parts.len());
    for part in parts {
        let (piece, after) = rest.split_at_mut(part.packed_len(width));
        fill(part, piece);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// `images` with their zero border: themselves if there is none.
fn pad<'a, T: Real>(shape: &Padded, images: &'a [T], buffer: &'a mut Vec<T>) -> &'a [T] {
    if shape.is_plain() {
        return images;
    }
    let N = images.len() / (shape.H * shape.W * shape.C);
    let padded = room(buffer, N * shape.len());
    shape.fill(images, padded);
    padded
}
