//! Convolution by bulk copies (TMA) on Hopper: kernels/conv_tma.cu.
//!
//! `boxes.rs` says which convolutions they can do, and what they take of one.

use bytemuck::NoUninit;

use super::Conv;
use super::boxes::{Dgrad, Fprop, Shape, Wgrad};
use super::cuda::{Geometry, Laid, split_pitch};
use crate::device::tensor_map::Element;
use crate::device::{Arg, Device, Launch};
use crate::error::{Error, Result};
use crate::ops::gpu::{GpuBuf, int};
use crate::ops::product::{Direction, Split, Tiling};
use crate::ops::waves::Waves;
use crate::ops::{Gpu, Precision};

/// kernels/include/geometry/conv_tiles.cuh.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Tiles {
    rows: i32,
    columns: i32,
    width: i32,
    whole: i32,
    tiles: i32,
    units: i32,
    splits: i32,
    split_steps: i32,
    piece: i32,
    tap_pieces: i32,
}

/// What a launch reads.
type Operands<'a, D, const COUNT: usize> = [&'a GpuBuf<<D as Device>::Buffer>; COUNT];

impl Tiles {
    fn new(op: &'static str, waves: &Waves, piece: usize, tap: usize) -> Result<Self> {
        Ok(Tiles {
            rows: int(op, "tiles", waves.rows)?,
            columns: int(op, "tiles", waves.columns)?,
            width: int(op, "columns", waves.width)?,
            whole: int(op, "tiles", waves.whole)?,
            tiles: int(op, "tiles", waves.tiles)?,
            units: int(op, "tiles", waves.units())?,
            splits: int(op, "splits", waves.split.splits)?,
            split_steps: int(op, "steps", waves.split.steps)?,
            piece: int(op, "channels", piece)?,
            tap_pieces: int(op, "channels", tap.div_ceil(piece))?,
        })
    }
}

impl<D: Device> Gpu<D> {
    fn shape<'a>(&self, conv: &'a Conv, N: usize) -> Shape<'a> {
        let element = if self.precision == Precision::Bf16 { Element::Bf16 } else { Element::Tf32 };
        Shape { conv, N, element }
    }

    fn multiprocessors(&self) -> usize {
        self.device.properties().multiprocessors as usize
    }

    /// y, in tiles that bulk copies can fill.
    pub(super) fn fprop_by_tma(
        &mut self,
        conv: &Conv,
        N: usize,
        tiling: &Tiling,
        [x, w, bias]: Operands<'_, D, 3>, // (N, H, W, C), (K, R, S, C/groups), (K)
        relu: bool,
        y: &mut GpuBuf<D::Buffer>, // (N, P, Q, K)
    ) -> Result<()> {
        const OP: &str = "conv_fprop";
        let (shape, multiprocessors) = (self.shape(conv, N), self.multiprocessors());
        let Some(Fprop { windows, filters, boxes }) = shape.fprop(tiling.columns) else { return cannot(OP, conv) };
        let of_group = conv.C / conv.groups;
        let piece = shape.piece(of_group);
        let size = Laid::unpadded(conv).product(N, Direction::Fprop).size;
        let steps = shape.steps(conv.R * conv.S, of_group);
        let waves = Waves::new(tiling.columns, &size).cut_last(steps, multiprocessors);
        let geometry = Geometry::new(OP, &Laid::unpadded(conv), N, relu, Split::ONE)?;
        let tiles = Tiles::new(OP, &waves, piece, of_group)?;
        let (bf16, len) = (self.precision == Precision::Bf16, N * conv.output().len());
        let sums = self.workspace.room(&self.device, waves.bytes())?;
        let args = [
            Arg::geometry(&geometry),
            Arg::geometry(&tiles),
            x.read_boxes(OP, "x", N * conv.input().len(), &windows)?,
            w.read_boxes(OP, "w", conv.weights(), &filters)?,
            bias.read(OP, "bias", conv.K)?,
            if bf16 { y.write_boxes(OP, "y", len, &boxes)? } else { y.write(OP, "y", len)? },
            Arg::output(sums),
        ];
        self.device.launch(&tiling.launch_staying(waves.units(), multiprocessors), &args)?;
        if waves.split.splits == 1 {
            return Ok(());
        }
        let kernel = if bf16 { "conv_fprop_sum_5_bf16" } else { "conv_fprop_sum_5_f32" };
        let launch = Launch::elementwise(kernel, waves.cut_elements(), 256)?;
        let (bias, y) = (bias.read(OP, "bias", conv.K)?, y.write(OP, "y", len)?);
        let args = [Arg::geometry(&geometry), Arg::geometry(&tiles), Arg::input(sums), bias, y];
        self.device.launch(&launch, &args)
    }

    /// dx, in tiles that bulk copies can fill.
    pub(super) fn dgrad_by_tma(
        &mut self,
        conv: &Conv,
        N: usize,
        tiling: &Tiling,
        [dy, w]: Operands<'_, D, 2>, // (N, P, Q, K), (K, R, S, C/groups)
        dx: &mut GpuBuf<D::Buffer>,  // (N, H, W, C)
    ) -> Result<()> {
        const OP: &str = "conv_dgrad";
        let (shape, multiprocessors) = (self.shape(conv, N), self.multiprocessors());
        let Some(Dgrad { parities, filters }) = shape.dgrad(tiling.columns) else { return cannot(OP, conv) };
        let K = conv.K / conv.groups;
        let taps = conv.R.div_ceil(conv.stride) * conv.S.div_ceil(conv.stride);
        let mut waves = Waves::new(tiling.columns, &Laid::unpadded(conv).product(N, Direction::Dgrad).size);
        if conv.stride == 1 {
            waves = waves.cut_last(shape.steps(taps, K), multiprocessors);
        }
        let geometry = Geometry::new(OP, &Laid::unpadded(conv), N, false, Split::ONE)?;
        let tiles = Tiles::new(OP, &waves, shape.piece(K), K)?;
        let (bf16, len) = (self.precision == Precision::Bf16, N * conv.input().len());
        // The tensor cores read tf32 along the depth alone, which is k here.
        let w = if bf16 {
            w.read_boxes(OP, "w", conv.weights(), &filters)?
        } else {
            let turned = self.turned.room(&self.device, shape.bytes(conv.weights()))?;
            let turn = Launch::elementwise("conv_filters_across_5", conv.weights(), 256)?;
            let w = w.read(OP, "w", conv.weights())?;
            self.device.launch(&turn, &[Arg::geometry(&geometry), w, Arg::output(turned)])?;
            Arg::MapIn(turned, &filters)
        };
        let sums = self.workspace.room(&self.device, waves.bytes())?;
        let mut args = vec![Arg::geometry(&geometry), Arg::geometry(&tiles)];
        for map in &parities {
            args.push(dy.read_boxes(OP, "dy", N * conv.output().len(), map)?);
        }
        args.extend([w, dx.write(OP, "dx", len)?, Arg::output(sums)]);
        self.device.launch(&tiling.launch_staying(waves.units(), multiprocessors), &args)?;
        if waves.split.splits == 1 {
            return Ok(());
        }
        let kernel = if bf16 { "conv_dgrad_sum_5_bf16" } else { "conv_dgrad_sum_5_f32" };
        let launch = Launch::elementwise(kernel, waves.cut_elements(), 256)?;
        let args = [Arg::geometry(&geometry), Arg::geometry(&tiles), Arg::input(sums), dx.write(OP, "dx", len)?];
        self.device.launch(&launch, &args)
    }

    /// dw and dbias, in tiles that bulk copies can fill: in bf16.
    pub(super) fn wgrad_by_tma(
        &mut self,
        conv: &Conv,
        N: usize,
        tiling: &Tiling,
        [x, dy]: Operands<'_, D, 2>,   // (N, H, W, C), (N, P, Q, K)
        dw: &mut GpuBuf<D::Buffer>,    // (K, R, S, C/groups)
        dbias: &mut GpuBuf<D::Buffer>, // (K)
    ) -> Result<()> {
        const OP: &str = "conv_wgrad";
        let (shape, multiprocessors) = (self.shape(conv, N), self.multiprocessors());
        let Some(Wgrad { windows, rows, piece }) = shape.wgrad(tiling.columns) else { return cannot(OP, conv) };
        let waves =
            Waves::new(tiling.columns, &Laid::unpadded(conv).product(N, Direction::Wgrad).size).cut_into(tiling.split);
        let geometry = Geometry::new(OP, &Laid::unpadded(conv), N, false, tiling.split)?;
        let tiles = Tiles::new(OP, &waves, piece, conv.C / conv.groups)?;
        let sums = self.workspace.room(&self.device, tiling.split.bytes(split_pitch(conv)))?;
        let args = [
            Arg::geometry(&geometry),
            Arg::geometry(&tiles),
            x.read_boxes(OP, "x", N * conv.input().len(), &windows)?,
            dy.read_boxes(OP, "dy", N * conv.output().len(), &rows)?,
            dw.write(OP, "dw", conv.weights())?,
            dbias.write(OP, "dbias", conv.K)?,
            Arg::output(sums),
        ];
        self.device.launch(&tiling.launch_staying(waves.units(), multiprocessors), &args)?;
        self.sum_wgrad(&geometry, conv, dw, dbias)
    }
}

fn cannot<T>(op: &'static str, conv: &Conv) -> Result<T> {
    Err(Error::shape(op, format!("bulk copies cannot do {conv:?}: a tile was chosen that they fill")))
}
