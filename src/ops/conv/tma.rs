//! Convolution by bulk copies (TMA) on Hopper: kernels/conv_tma.cu.
//!
//! Hardware computes the addresses, so it has conditions: rows of 16 bytes, corners near the image, at
//! most two by two parities, groups of whole pieces. They are looked at before anything is launched; what
//! does not fit is left to the kernels that gather by themselves.

use bytemuck::NoUninit;

use super::Conv;
use super::cuda::{Geometry, Laid, parity, split_pitch};
use crate::device::tensor_map::{Element, TensorMap, Window};
use crate::device::{Arg, Device, Launch};
use crate::error::Result;
use crate::ops::gpu::{GpuBuf, Version, int};
use crate::ops::product::{Split, by_width};
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

/// Rows of a tile, and bytes of depth of a line in a stage.
const ROWS: usize = 128;
const STAGE_DEPTH: usize = 128;

/// A convolution's shape as bulk copies see it.
struct Shape<'a> {
    conv: &'a Conv,
    N: usize,
    element: Element,
}

impl Shape<'_> {
    fn bytes(&self, elements: usize) -> usize {
        elements * self.element.bytes()
    }

    /// Elements of a row of a box: all that a stage has of a line, or half of it.
    fn piece(&self, channels: usize) -> usize {
        let all = STAGE_DEPTH / self.element.bytes();
        if channels.is_multiple_of(all) { all } else { all / 2 }
    }

    /// Pixels of images (N, H, W, C) from (h, w) on, `counts` of them `step` apart.
    fn pixels(
        &self,
        [H, W, C]: [usize; 3],
        first: [i64; 2],
        counts: [usize; 2],
        step: usize,
        [channels, pixels]: [usize; 2],
    ) -> TensorMap {
        let last = |i: usize, size: usize| first[i] + (counts[i] as i64 - 1) * step as i64 - (size as i64 - 1);
        TensorMap {
            element: self.element,
            sizes: vec![C, W, H, self.N],
            strides: vec![self.bytes(C), self.bytes(W * C), self.bytes(H * W * C)],
            offset: 0,
            row_bytes: self.bytes(channels),
            window: Window::Pixels {
                lower: [first[1], first[0]],
                upper: [last(1, W), last(0, H)],
                step,
                channels,
                pixels,
            },
        }
    }

    /// The windows over x: their first pixels, `pixels` at a time.
    fn windows(&self, channels: usize, pixels: usize) -> TensorMap {
        let Conv { H, W, C, P, Q, stride, pad, .. } = *self.conv;
        let first = -(pad as i64);
        self.pixels([H, W, C], [first, first], [P, Q], stride, [channels, pixels])
    }

    /// The pixels of dy under those of one parity of dx, for the tap furthest back: see `Parity` in
    /// kernels/include/conv/gather.cuh.
    fn parity(&self, index: usize) -> TensorMap {
        let Conv { K, R, S, P, Q, stride, pad, groups, .. } = *self.conv;
        let lower = |first: usize, taps: usize| {
            let of_parity = taps.saturating_sub((first + pad) % stride).div_ceil(stride);
            ((first + pad) / stride) as i64 - (of_parity as i64 - 1)
        };
        let first = [lower(index / stride, R), lower(index % stride, S)];
        let (rows, columns) = parity(self.conv);
        self.pixels([P, Q, K], first, [rows, columns], 1, [self.piece(K / groups), ROWS])
    }

    /// Filters (K, R, S, C/groups), or turned ones, in boxes of one tap.
    fn filters(&self, K: usize, C: usize, channels: usize, filters: usize) -> TensorMap {
        let Conv { R, S, .. } = *self.conv;
        TensorMap {
            element: self.element,
            sizes: vec![C, S, R, K],
            strides: vec![self.bytes(C), self.bytes(S * C), self.bytes(R * S * C)],
            offset: 0,
            row_bytes: self.bytes(channels),
            window: Window::Box(vec![channels, 1, 1, filters]),
        }
    }

    /// Rows of `channels` in groups, in boxes of 64 rows.
    fn rows(&self, rows: usize, channels: usize, columns: usize) -> TensorMap {
        let groups = self.conv.groups;
        TensorMap {
            element: self.element,
            sizes: vec![channels / groups, groups, rows],
            strides: vec![self.bytes(channels / groups), self.bytes(channels)],
            offset: 0,
            row_bytes: self.bytes(columns),
            window: Window::Box(vec![columns, 1, 64]),
        }
    }

    /// Whether a tap's channels come in pieces that end where a group does.
    fn pieces_fit(&self, channels: usize) -> bool {
        let of_group = channels / self.conv.groups;
        self.conv.groups == 1 || of_group.is_multiple_of(self.piece(of_group))
    }
}

/// Columns that leave a block at once: kStoreColumns of kernels/include/product/multiply_tma.cuh.
fn store_columns(width: usize) -> usize {
    if width.is_multiple_of(64) { 64 } else { 32 }
}

fn launch(kernel: &'static str, width: usize, units: usize, multiprocessors: usize) -> Launch {
    let stages = if width <= 128 { 6 } else { 4 };
    let stage = (ROWS + width.next_multiple_of(64)) * STAGE_DEPTH;
    let results = 4 * 64 * store_columns(width) * 2;
    let blocks = units.min(multiprocessors) as u32;
    Launch { kernel, grid: [blocks, 1, 1], block: [384, 1, 1], shared: stages * stage + results }
}

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

/// Whether hardware can copy by all of them.
fn fits(maps: &[&TensorMap]) -> bool {
    maps.iter().all(|map| map.check().is_ok())
}

impl<D: Device> Gpu<D> {
    /// The kernels of one direction by bulk copies, if this backend has them.
    fn by_tma(&self, bf16: &[&'static str; 4], tf32: Option<&[&'static str; 4]>) -> Option<[&'static str; 4]> {
        let kernels = match self.precision {
            Precision::F32 => None,
            Precision::Tf32 => tf32.copied(),
            Precision::Bf16 => Some(*bf16),
        }?;
        (self.version == Version::Fast && self.device.has(kernels[0])).then_some(kernels)
    }

    fn shape<'a>(&self, conv: &'a Conv, N: usize) -> Shape<'a> {
        let element = if self.precision == Precision::Bf16 { Element::Bf16 } else { Element::Tf32 };
        Shape { conv, N, element }
    }

    fn multiprocessors(&self) -> usize {
        self.device.properties().multiprocessors as usize
    }
}

impl<D: Device> Gpu<D> {
    /// y by bulk copies; false if they cannot.
    pub(super) fn fprop_by_tma(
        &mut self,
        conv: &Conv,
        N: usize,
        [x, w, bias]: Operands<'_, D, 3>, // (N, H, W, C), (K, R, S, C/groups), (K)
        relu: bool,
        y: &mut GpuBuf<D::Buffer>, // (N, P, Q, K)
    ) -> Result<bool> {
        const OP: &str = "conv_fprop";
        let kernels = self.by_tma(&by_width!("conv_fprop_5_bf16"), Some(&by_width!("conv_fprop_5_tf32")));
        let (Some(kernels), shape) = (kernels, self.shape(conv, N)) else { return Ok(false) };
        let (pixels, of_group) = (N * conv.P * conv.Q, conv.C / conv.groups);
        let piece = shape.piece(of_group);
        let steps = (conv.R * conv.S * of_group.div_ceil(piece) * shape.bytes(piece)).div_ceil(STAGE_DEPTH);
        let waves = Waves::best(pixels, conv.K / conv.groups, conv.groups, steps, self.multiprocessors());
        let windows = shape.windows(piece, ROWS);
        let filters = shape.filters(conv.K, of_group, piece, waves.width);
        let boxes = shape.rows(pixels, conv.K, store_columns(waves.width));
        let bf16 = self.precision == Precision::Bf16;
        if !shape.pieces_fit(conv.C) || !fits(&[&windows, &filters]) || bf16 && !fits(&[&boxes]) {
            return Ok(false);
        }
        let geometry = Geometry::new(OP, &Laid::unpadded(conv), N, relu, Split::ONE)?;
        let tiles = Tiles::new(OP, &waves, piece, of_group)?;
        let launch = launch(kernels[waves.index], waves.width, waves.units(), self.multiprocessors());
        let sums = self.workspace.room(&self.device, waves.bytes())?;
        let mut args = vec![
            Arg::geometry(&geometry),
            Arg::geometry(&tiles),
            x.read_boxes(OP, "x", N * conv.input().len(), &windows)?,
            w.read_boxes(OP, "w", conv.weights(), &filters)?,
            bias.read(OP, "bias", conv.K)?,
        ];
        let len = pixels * conv.K;
        args.push(if bf16 { y.write_boxes(OP, "y", len, &boxes)? } else { y.write(OP, "y", len)? });
        args.push(Arg::output(sums));
        self.device.launch(&launch, &args)?;
        if waves.split.splits == 1 {
            return Ok(true);
        }
        let kernel = if bf16 { "conv_fprop_sum_5_bf16" } else { "conv_fprop_sum_5_f32" };
        let launch = Launch::elementwise(kernel, waves.cut_elements(), 256)?;
        let (bias, y) = (bias.read(OP, "bias", conv.K)?, y.write(OP, "y", len)?);
        let args = [Arg::geometry(&geometry), Arg::geometry(&tiles), Arg::input(sums), bias, y];
        self.device.launch(&launch, &args)?;
        Ok(true)
    }

    /// dx by bulk copies; false if they cannot.
    pub(super) fn dgrad_by_tma(
        &mut self,
        conv: &Conv,
        N: usize,
        [dy, w]: Operands<'_, D, 2>, // (N, P, Q, K), (K, R, S, C/groups)
        dx: &mut GpuBuf<D::Buffer>,  // (N, H, W, C)
    ) -> Result<bool> {
        const OP: &str = "conv_dgrad";
        let kernels = self.by_tma(&by_width!("conv_dgrad_5_bf16"), Some(&by_width!("conv_dgrad_5_tf32")));
        let (Some(kernels), shape) = (kernels, self.shape(conv, N)) else { return Ok(false) };
        let parities = conv.stride * conv.stride;
        if parities > 4 {
            return Ok(false);
        }
        let (parity_H, parity_W) = parity(conv);
        let (pixels, of_group, K) = (N * parity_H * parity_W, conv.C / conv.groups, conv.K / conv.groups);
        let (piece, bf16) = (shape.piece(K), self.precision == Precision::Bf16);
        let taps = conv.R.div_ceil(conv.stride) * conv.S.div_ceil(conv.stride);
        let steps = (taps * K.div_ceil(piece) * shape.bytes(piece)).div_ceil(STAGE_DEPTH);
        let multiprocessors = self.multiprocessors();
        let waves = if parities == 1 {
            Waves::best(pixels, of_group, conv.groups, steps, multiprocessors)
        } else {
            Waves::whole(pixels, of_group, parities * conv.groups, steps, multiprocessors)
        };
        let maps: Vec<TensorMap> = (0..4).map(|i| shape.parity(i % parities)).collect();
        let filters = if bf16 {
            shape.filters(conv.K, of_group, 64, piece)
        } else {
            shape.filters(conv.C, K, piece, waves.width)
        };
        let read = maps.iter().chain([&filters]).collect::<Vec<_>>();
        if !shape.pieces_fit(conv.K) || !fits(&read) || bf16 && !of_group.is_multiple_of(8) {
            return Ok(false);
        }
        let geometry = Geometry::new(OP, &Laid::unpadded(conv), N, false, Split::ONE)?;
        let tiles = Tiles::new(OP, &waves, piece, K)?;
        let launch = launch(kernels[waves.index], waves.width, waves.units(), multiprocessors);
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
        let len = N * conv.input().len();
        let mut args = vec![Arg::geometry(&geometry), Arg::geometry(&tiles)];
        for map in &maps {
            args.push(dy.read_boxes(OP, "dy", N * conv.output().len(), map)?);
        }
        args.extend([w, dx.write(OP, "dx", len)?, Arg::output(sums)]);
        self.device.launch(&launch, &args)?;
        if waves.split.splits == 1 {
            return Ok(true);
        }
        let kernel = if bf16 { "conv_dgrad_sum_5_bf16" } else { "conv_dgrad_sum_5_f32" };
        let launch = Launch::elementwise(kernel, waves.cut_elements(), 256)?;
        let args = [Arg::geometry(&geometry), Arg::geometry(&tiles), Arg::input(sums), dx.write(OP, "dx", len)?];
        self.device.launch(&launch, &args)?;
        Ok(true)
    }

    /// dw and dbias by bulk copies, in bf16; false if they cannot.
    pub(super) fn wgrad_by_tma(
        &mut self,
        conv: &Conv,
        N: usize,
        [x, dy]: Operands<'_, D, 2>,   // (N, H, W, C), (N, P, Q, K)
        dw: &mut GpuBuf<D::Buffer>,    // (K, R, S, C/groups)
        dbias: &mut GpuBuf<D::Buffer>, // (K)
    ) -> Result<bool> {
        const OP: &str = "conv_wgrad";
        let kernels = self.by_tma(&by_width!("conv_wgrad_5_bf16"), None);
        let (Some(kernels), shape) = (kernels, self.shape(conv, N)) else { return Ok(false) };
        let (pixels, of_group, columns) = (N * conv.P * conv.Q, conv.C / conv.groups, conv.weights() / conv.K);
        if !of_group.is_multiple_of(32) {
            return Ok(false);
        }
        let multiprocessors = self.multiprocessors();
        let waves = Waves::through(conv.K / conv.groups, columns, conv.groups, pixels.div_ceil(64), multiprocessors);
        let piece = if of_group.is_multiple_of(64) && waves.width.is_multiple_of(64) { 64 } else { 32 };
        let (windows, rows) = (shape.windows(piece, 64), shape.rows(pixels, conv.K, 64));
        if !fits(&[&windows, &rows]) {
            return Ok(false);
        }
        let geometry = Geometry::new(OP, &Laid::unpadded(conv), N, false, waves.split)?;
        let tiles = Tiles::new(OP, &waves, piece, of_group)?;
        let launch = launch(kernels[waves.index], waves.width, waves.units(), multiprocessors);
        let sums = self.workspace.room(&self.device, waves.split.bytes(split_pitch(conv)))?;
        let args = [
            Arg::geometry(&geometry),
            Arg::geometry(&tiles),
            x.read_boxes(OP, "x", N * conv.input().len(), &windows)?,
            dy.read_boxes(OP, "dy", N * conv.output().len(), &rows)?,
            dw.write(OP, "dw", conv.weights())?,
            dbias.write(OP, "dbias", conv.K)?,
            Arg::output(sums),
        ];
        self.device.launch(&launch, &args)?;
        self.sum_wgrad(&geometry, conv, dw, dbias)?;
        Ok(true)
    }
}
