//! Convolution on a GPU: kernels/conv.cu.

use bytemuck::NoUninit;

use super::{Conv, ConvOp, boxes};
use crate::device::{Arg, Device, Launch};
use crate::error::{Error, Result};
use crate::ops::Gpu;
use crate::ops::divisor::Divisor;
use crate::ops::gpu::{GpuBuf, Number, Version, Workspace, int};
use crate::ops::product::{Bulk, Cut, Direction, Product, ProductSize, Split, products, whole_tiles};

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
    filter_C: i32,
    filter_pitch: i32,
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

/// A convolution as the product kernels see it: where pixels of images are padded, one of so many channels.
pub(crate) struct Laid {
    conv: Conv,
    /// Channels of a filter in memory.
    filter_C: usize,
}

impl Laid {
    /// `conv` of images whose pixels lie `pitch` elements apart.
    pub fn new(op: &'static str, conv: &Conv, pitch: usize, version: Version) -> Result<Self> {
        let padded = pitch > conv.C;
        if padded && (conv.groups > 1 || version == Version::Naive) {
            let Conv { C, groups, .. } = conv;
            return Err(Error::shape(
                op,
                format!(
                    "pixels of {C} channels lie {pitch} apart, which {groups} groups or naive kernels do not read: \
                     allocate the images for activations"
                ),
            ));
        }
        Ok(Laid { conv: Conv { C: pitch, ..*conv }, ..Laid::unpadded(conv) })
    }

    pub fn unpadded(conv: &Conv) -> Self {
        Laid { conv: *conv, filter_C: conv.C / conv.groups }
    }

    pub fn padded(&self) -> bool {
        self.conv.C / self.conv.groups > self.filter_C
    }

    /// Elements from one filter to the next: a multiple of 16 bytes where a copy of them is made anyway.
    fn filter_pitch(&self) -> usize {
        let filter = self.conv.weights() / self.conv.K;
        if self.padded() { filter.next_multiple_of(8) } else { filter }
    }

    /// Whether wgrad's product leaves its results in the workspace, for conv_wgrad_sum_2: parts of the sum,
    /// or gradients of weights that are not there.
    fn in_parts(&self, split: Split) -> bool {
        split.splits > 1 || self.padded()
    }

    /// The matrix product that a direction is, of `N` images.
    pub fn product(&self, N: usize, direction: Direction) -> Product {
        let conv = &self.conv;
        let (group_C, group_K) = (conv.C / conv.groups, conv.K / conv.groups);
        // Filters for padded pixels have no map.
        let bulk = if self.padded() { Bulk::default() } else { boxes::possible(conv, N, direction) };
        match direction {
            Direction::Fprop => {
                let depth = conv.R * conv.S * group_C;
                let size = ProductSize { rows: N * conv.P * conv.Q, columns: group_K, depth, parts: conv.groups };
                Product { kernels: products!("conv_fprop"), size, cut: None, bulk }
            }
            Direction::Dgrad => {
                let (parity_H, parity_W) = parity(conv);
                let taps = conv.R.div_ceil(conv.stride) * conv.S.div_ceil(conv.stride);
                let parts = conv.stride * conv.stride * conv.groups;
                let (rows, depth) = (N * parity_H * parity_W, taps * group_K);
                let size = ProductSize { rows, columns: group_C, depth, parts };
                Product { kernels: products!("conv_dgrad"), size, cut: None, bulk }
            }
            Direction::Wgrad => {
                let (columns, depth) = (conv.weights() / conv.K, N * conv.P * conv.Q);
                let size = ProductSize { rows: group_K, columns, depth, parts: conv.groups };
                // Two blocks hide each other's waits for memory.
                Product { kernels: products!("conv_wgrad"), size, cut: Some(Cut { blocks: 2, fills: true }), bulk }
            }
        }
    }
}

impl Geometry {
    pub(in crate::ops) fn new(op: &'static str, laid: &Laid, N: usize, relu: bool, split: Split) -> Result<Self> {
        let conv = &laid.conv;
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
            filter_C: size("C", laid.filter_C)?,
            filter_pitch: size("R S C", laid.filter_pitch())?,
            relu: relu.into(),
            splits: size("splits", split.splits)?,
            split_steps: size("steps", split.steps)?,
            split_pitch: if laid.in_parts(split) { whole_tiles(op, "K R S C", split_pitch(conv))? } else { 0 },
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

/// The filters beside padded images, with zeros where those have them: a copy in the workspace.
pub(in crate::ops) fn pad_filters<'a, D: Device>(
    device: &D,
    workspace: &'a mut Workspace<D>,
    laid: &Laid,
    geometry: &Geometry,
    number: Number,
    w: Arg<'_, D::Buffer>, // (K, R, S, C)
) -> Result<Arg<'a, D::Buffer>> {
    let elements = laid.conv.K * laid.filter_pitch();
    let padded = workspace.room(device, elements * number.bytes())?;
    let kernel = match number {
        Number::F32 => "conv_pad_filters_1_f32",
        Number::Bf16 => "conv_pad_filters_1_bf16",
    };
    let launch = Launch::elementwise(kernel, elements, 256)?;
    device.launch(&launch, &[Arg::geometry(geometry), w, Arg::output(padded)])?;
    Ok(Arg::input(padded))
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
        let laid = Laid::new(OP, conv, x.pitch(conv.C), self.version)?;
        let product = laid.product(N, Direction::Fprop);
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
        let geometry = Geometry::new(OP, &laid, N, relu, Split::ONE)?;
        let x = x.read_images(OP, "x", N, conv.input())?;
        let (number, mut w) = (self.number(), w.read_rounded(OP, "w", conv.weights())?);
        if laid.padded() {
            w = pad_filters(&self.device, &mut self.workspace, &laid, &geometry, number, w)?;
        }
        let args = [Arg::geometry(&geometry), x, w, bias.read(OP, "bias", conv.K)?, y.write(OP, "y", outputs)?];
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
        let laid = Laid::new(OP, conv, dx.pitch(conv.C), self.version)?;
        let product = laid.product(N, Direction::Dgrad);
        let launch = if self.version == Version::Naive {
            Launch::elementwise(product.kernels.naive, N * conv.input().len(), 256)?
        } else {
            let tiling = self.tiling(&product)?;
            if tiling.bulk {
                return self.dgrad_by_tma(conv, N, &tiling, [dy, w], dx);
            }
            self.product(&tiling, product.size, conv.stride * conv.stride, conv.groups)?
        };
        let geometry = Geometry::new(OP, &laid, N, false, Split::ONE)?;
        let dy = dy.read(OP, "dy", N * conv.output().len())?;
        let (number, mut w) = (self.number(), w.read_rounded(OP, "w", conv.weights())?);
        if laid.padded() {
            w = pad_filters(&self.device, &mut self.workspace, &laid, &geometry, number, w)?;
        }
        let args = [Arg::geometry(&geometry), dy, w, dx.write_images(OP, "dx", N, conv.input())?];
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
        let laid = Laid::new(OP, conv, x.pitch(conv.C), self.version)?;
        let product = laid.product(N, Direction::Wgrad);
        let tiling = self.tiling(&product)?;
        if tiling.bulk {
            return self.wgrad_by_tma(conv, N, &tiling, [x, dy], dw, dbias);
        }
        let x = x.read_images(OP, "x", N, conv.input())?;
        let dy = dy.read(OP, "dy", N * conv.output().len())?;
        let results = conv.weights() + conv.K;
        if self.version == Version::Naive {
            let geometry = Geometry::new(OP, &laid, N, false, Split::ONE)?;
            let (dw, dbias) = (dw.write(OP, "dw", conv.weights())?, dbias.write(OP, "dbias", conv.K)?);
            let launch = Launch::elementwise(product.kernels.naive, results, 256)?;
            return self.device.launch(&launch, &[Arg::geometry(&geometry), x, dy, dw, dbias]);
        }
        let split = tiling.split;
        let geometry = Geometry::new(OP, &laid, N, false, split)?;
        let product = self.product(&tiling, product.size, split.splits, conv.groups)?;
        let parts = if laid.in_parts(split) { split.splits } else { 0 };
        let sums = self.workspace.room(&self.device, parts * split_pitch(&laid.conv) * size_of::<f32>())?;
        let (dw_out, dbias_out) = (dw.write(OP, "dw", conv.weights())?, dbias.write(OP, "dbias", conv.K)?);
        self.device.launch(&product, &[Arg::geometry(&geometry), x, dy, dw_out, dbias_out, Arg::output(sums)])?;
        self.sum_wgrad(&geometry, conv, dw, dbias)
    }
}

impl<D: Device> Gpu<D> {
    /// Adds up the parts of a weight gradient that stand in the workspace, if it is not where it belongs.
    pub(super) fn sum_wgrad(
        &mut self,
        geometry: &Geometry,
        conv: &Conv,
        dw: &mut GpuBuf<D::Buffer>,    // (K, R, S, C/groups)
        dbias: &mut GpuBuf<D::Buffer>, // (K)
    ) -> Result<()> {
        const OP: &str = "conv_wgrad";
        if geometry.split_pitch == 0 {
            return Ok(());
        }
        let sums = self.workspace.room(&self.device, 0)?;
        let (dw, dbias) = (dw.write(OP, "dw", conv.weights())?, dbias.write(OP, "dbias", conv.K)?);
        let launch = Launch::elementwise("conv_wgrad_sum_2", conv.weights() + conv.K, 256)?;
        self.device.launch(&launch, &[Arg::geometry(geometry), Arg::input(sums), dw, dbias])
    }
}
