//! Convolution on a GPU: kernels/conv.cu.

use bytemuck::NoUninit;

use super::{Conv, ConvOp, tma};
use crate::device::{Arg, Device, Launch};
use crate::error::Result;
use crate::ops::Gpu;
use crate::ops::gpu::{GpuBuf, Version, int};
use crate::ops::product::{Cut, Direction, Divisor, Product, ProductSize, Split, products, whole_tiles};

/// kernels/include/geometry/conv.cuh.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
pub(in crate::ops) struct Geometry {
    N: i32,
    H: i32,
    W: i32,
    C: i32,
    K: i32,
    R: i32,
    S: i32,
    P: i32,
    Q: i32,
    stride: i32,
    pad: i32,
    groups: i32,
    group_C: i32,
    group_K: i32,
    relu: i32,
    splits: i32,
    split_steps: i32,
    split_pitch: i32,
    by_PQ: Divisor,
    by_Q: Divisor,
    by_SC: Divisor,
    by_C: Divisor,
    by_parity_HW: Divisor,
    by_parity_W: Divisor,
    by_K: Divisor,
    by_taps: [Divisor; 2],
}

/// Rows and columns of the largest parity of dx.
pub(super) fn parity(conv: &Conv) -> (usize, usize) {
    (conv.H.div_ceil(conv.stride), conv.W.div_ceil(conv.stride))
}

/// Floats of one part of wgrad: dw, then db, then up to a multiple of 16 bytes.
pub(super) fn split_pitch(conv: &Conv) -> usize {
    (conv.weights() + conv.K).next_multiple_of(4)
}

impl Conv {
    /// The matrix product that a direction is, of `N` images.
    pub(crate) fn product(&self, N: usize, direction: Direction) -> Product {
        let (group_C, group_K) = (self.C / self.groups, self.K / self.groups);
        let bulk = tma::possible(self, N, direction);
        match direction {
            Direction::Fprop => {
                let depth = self.R * self.S * group_C;
                let size = ProductSize { rows: N * self.P * self.Q, columns: group_K, depth, parts: self.groups };
                Product { kernels: products!("conv_fprop"), size, cut: None, bulk }
            }
            Direction::Dgrad => {
                let (parity_H, parity_W) = parity(self);
                let taps = self.R.div_ceil(self.stride) * self.S.div_ceil(self.stride);
                let parts = self.stride * self.stride * self.groups;
                let (rows, depth) = (N * parity_H * parity_W, taps * group_K);
                let size = ProductSize { rows, columns: group_C, depth, parts };
                Product { kernels: products!("conv_dgrad"), size, cut: None, bulk }
            }
            Direction::Wgrad => {
                let (columns, depth) = (self.weights() / self.K, N * self.P * self.Q);
                let size = ProductSize { rows: group_K, columns, depth, parts: self.groups };
                // Two blocks hide each other's waits for memory.
                Product { kernels: products!("conv_wgrad"), size, cut: Some(Cut { blocks: 2, fills: true }), bulk }
            }
        }
    }
}

impl Geometry {
    pub(in crate::ops) fn new(op: &'static str, conv: &Conv, N: usize, relu: bool, split: Split) -> Result<Self> {
        let size = |name, size| int(op, name, size);
        let (parity_H, parity_W) = parity(conv);
        let (group_C, group_K) = (conv.C / conv.groups, conv.K / conv.groups);
        // What kernels count with an `int`: rows and depths, and offsets in one image and in the filters.
        whole_tiles(op, "N P Q", N * conv.P * conv.Q)?;
        whole_tiles(op, "N H W", N * parity_H * parity_W)?;
        size("H W C", conv.R.max(conv.H) * conv.W * conv.C)?;
        size("P Q K", conv.R.max(conv.P) * conv.Q * conv.K)?;
        let by = |name, value| size(name, value).map(Divisor::new);
        let taps_of_a_row = conv.S / conv.stride;
        Ok(Geometry {
            N: size("N", N)?,
            H: size("H", conv.H)?,
            W: size("W", conv.W)?,
            C: size("C", conv.C)?,
            K: size("K", conv.K)?,
            R: size("R", conv.R)?,
            S: size("S", conv.S)?,
            P: size("P", conv.P)?,
            Q: size("Q", conv.Q)?,
            stride: size("stride", conv.stride)?,
            pad: size("pad", conv.pad)?,
            groups: size("groups", conv.groups)?,
            group_C: size("C", group_C)?,
            group_K: size("K", group_K)?,
            relu: relu.into(),
            splits: size("splits", split.splits)?,
            split_steps: size("steps", split.steps)?,
            split_pitch: whole_tiles(op, "K R S C", split_pitch(conv))?,
            by_PQ: by("P Q", conv.P * conv.Q)?,
            by_Q: by("Q", conv.Q)?,
            by_SC: by("S C", conv.S * group_C)?,
            by_C: by("C", group_C)?,
            by_parity_HW: by("H W", parity_H * parity_W)?,
            by_parity_W: by("W", parity_W)?,
            by_K: by("K", group_K)?,
            by_taps: [by("S", taps_of_a_row.max(1))?, by("S", taps_of_a_row + 1)?],
        })
    }
}

impl<D: Device> ConvOp for Gpu<D> {
    fn conv_fprop(
        &mut self,
        conv: &Conv,
        N: usize,
        x: &Self::Buf,    // (N, H, W, C)
        w: &Self::Buf,    // (K, R, S, C/groups)
        bias: &Self::Buf, // (K)
        relu: bool,
        y: &mut Self::Buf, // (N, P, Q, K)
    ) -> Result<()> {
        const OP: &str = "conv_fprop";
        let product = conv.product(N, Direction::Fprop);
        let outputs = N * conv.output().len();
        let launch = if self.version == Version::Naive {
            Launch::elementwise(product.kernels.naive, outputs, 256)?
        } else {
            let tiling = self.tiling(&product)?;
            if tiling.bulk {
                return self.fprop_by_tma(conv, N, &tiling, [x, w, bias], relu, y);
            }
            self.product(&tiling, product.size, 1, conv.groups)?
        };
        let geometry = Geometry::new(OP, conv, N, relu, Split::ONE)?;
        let args = [
            Arg::geometry(&geometry),
            x.read(OP, "x", N * conv.input().len())?,
            w.read_rounded(OP, "w", conv.weights())?,
            bias.read(OP, "bias", conv.K)?,
            y.write(OP, "y", outputs)?,
        ];
        self.device.launch(&launch, &args)
    }

    fn conv_dgrad(
        &mut self,
        conv: &Conv,
        N: usize,
        dy: &Self::Buf,     // (N, P, Q, K)
        w: &Self::Buf,      // (K, R, S, C/groups)
        dx: &mut Self::Buf, // (N, H, W, C)
    ) -> Result<()> {
        const OP: &str = "conv_dgrad";
        let product = conv.product(N, Direction::Dgrad);
        let launch = if self.version == Version::Naive {
            Launch::elementwise(product.kernels.naive, N * conv.input().len(), 256)?
        } else {
            let tiling = self.tiling(&product)?;
            if tiling.bulk {
                return self.dgrad_by_tma(conv, N, &tiling, [dy, w], dx);
            }
            self.product(&tiling, product.size, conv.stride * conv.stride, conv.groups)?
        };
        let geometry = Geometry::new(OP, conv, N, false, Split::ONE)?;
        let args = [
            Arg::geometry(&geometry),
            dy.read(OP, "dy", N * conv.output().len())?,
            w.read_rounded(OP, "w", conv.weights())?,
            dx.write(OP, "dx", N * conv.input().len())?,
        ];
        self.device.launch(&launch, &args)
    }

    fn conv_wgrad(
        &mut self,
        conv: &Conv,
        N: usize,
        x: &Self::Buf,         // (N, H, W, C)
        dy: &Self::Buf,        // (N, P, Q, K)
        dw: &mut Self::Buf,    // (K, R, S, C/groups)
        dbias: &mut Self::Buf, // (K)
    ) -> Result<()> {
        const OP: &str = "conv_wgrad";
        let product = conv.product(N, Direction::Wgrad);
        let tiling = self.tiling(&product)?;
        if tiling.bulk {
            return self.wgrad_by_tma(conv, N, &tiling, [x, dy], dw, dbias);
        }
        let x = x.read(OP, "x", N * conv.input().len())?;
        let dy = dy.read(OP, "dy", N * conv.output().len())?;
        let results = conv.weights() + conv.K;
        if self.version == Version::Naive {
            let geometry = Geometry::new(OP, conv, N, false, Split::ONE)?;
            let (dw, dbias) = (dw.write(OP, "dw", conv.weights())?, dbias.write(OP, "dbias", conv.K)?);
            let launch = Launch::elementwise(product.kernels.naive, results, 256)?;
            return self.device.launch(&launch, &[Arg::geometry(&geometry), x, dy, dw, dbias]);
        }
        let split = tiling.split;
        let geometry = Geometry::new(OP, conv, N, false, split)?;
        let product = self.product(&tiling, product.size, split.splits, conv.groups)?;
        let sums = self.workspace.room(&self.device, split.bytes(split_pitch(conv)))?;
        let (dw_out, dbias_out) = (dw.write(OP, "dw", conv.weights())?, dbias.write(OP, "dbias", conv.K)?);
        self.device.launch(&product, &[Arg::geometry(&geometry), x, dy, dw_out, dbias_out, Arg::output(sums)])?;
        self.sum_wgrad(&geometry, conv, dw, dbias)
    }
}

impl<D: Device> Gpu<D> {
    /// Adds up the parts of a weight gradient that stand in the workspace, if there are several.
    pub(super) fn sum_wgrad(
        &mut self,
        geometry: &Geometry,
        conv: &Conv,
        dw: &mut GpuBuf<D::Buffer>,    // (K, R, S, C/groups)
        dbias: &mut GpuBuf<D::Buffer>, // (K)
    ) -> Result<()> {
        const OP: &str = "conv_wgrad";
        if geometry.splits == 1 {
            return Ok(());
        }
        let sums = self.workspace.room(&self.device, 0)?;
        let (dw, dbias) = (dw.write(OP, "dw", conv.weights())?, dbias.write(OP, "dbias", conv.K)?);
        let launch = Launch::elementwise("conv_wgrad_sum_2", conv.weights() + conv.K, 256)?;
        self.device.launch(&launch, &[Arg::geometry(geometry), Arg::input(sums), dw, dbias])
    }
}
