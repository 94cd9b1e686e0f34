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
use crate::error::{Error, Result};
use crate::ops::gpu::{GpuBuf, int};
use crate::ops::product::{Bulk, Direction, Split, Tiling, store_columns};
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
/// Maps of parities that a kernel takes.
const MOST_PARITIES: usize = 4;

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

    /// Stages of so many taps of `channels`.
    fn steps(&self, taps: usize, channels: usize) -> usize {
        let piece = self.piece(channels);
        (taps * channels.div_ceil(piece) * self.bytes(piece)).div_ceil(STAGE_DEPTH)
    }

    /// Whether a tap's channels come in pieces that end where a group does.
    fn pieces_fit(&self, channels: usize) -> bool {
        let of_group = channels / self.conv.groups;
        self.conv.groups == 1 || of_group.is_multiple_of(self.piece(of_group))
    }
}

/// What one direction copies, in tiles of some width.
struct Fprop {
    windows: TensorMap,
    filters: TensorMap,
    /// Of y, in bf16.
    boxes: TensorMap,
}

struct Dgrad {
    /// Pixels of dy for each parity, again from the first where there are fewer than four.
    parities: Vec<TensorMap>,
    filters: TensorMap,
}

struct Wgrad {
    windows: TensorMap,
    rows: TensorMap,
    piece: usize,
}

/// What hardware can copy, `None` where it cannot.
impl Shape<'_> {
    fn fprop(&self, width: usize) -> Option<Fprop> {
        let conv = self.conv;
        let of_group = conv.C / conv.groups;
        let piece = self.piece(of_group);
        let windows = self.windows(piece, ROWS);
        let filters = self.filters(conv.K, of_group, piece, width);
        let boxes = self.rows(self.N * conv.P * conv.Q, conv.K, store_columns(width));
        let can = self.pieces_fit(conv.C) && fit(&[&windows, &filters]);
        (can && (self.element != Element::Bf16 || fit(&[&boxes]))).then_some(Fprop { windows, filters, boxes })
    }

    fn dgrad(&self, width: usize) -> Option<Dgrad> {
        let conv = self.conv;
        let (of_group, K, parities) = (conv.C / conv.groups, conv.K / conv.groups, conv.stride * conv.stride);
        if parities > MOST_PARITIES {
            return None;
        }
        let piece = self.piece(K);
        let parities: Vec<TensorMap> = (0..MOST_PARITIES).map(|i| self.parity(i % parities)).collect();
        let filters = match self.element {
            Element::Bf16 => self.filters(conv.K, of_group, 64, piece),
            Element::F32 | Element::Tf32 => self.filters(conv.C, K, piece, width),
        };
        let rows = self.bytes(of_group).is_multiple_of(16);
        let can = self.pieces_fit(conv.K) && rows && fit(&parities.iter().chain([&filters]).collect::<Vec<_>>());
        can.then_some(Dgrad { parities, filters })
    }

    fn wgrad(&self, width: usize) -> Option<Wgrad> {
        let conv = self.conv;
        let of_group = conv.C / conv.groups;
        if self.element != Element::Bf16 || !of_group.is_multiple_of(32) {
            return None;
        }
        let piece = if of_group.is_multiple_of(64) && width.is_multiple_of(64) { 64 } else { 32 };
        let (windows, rows) = (self.windows(piece, 64), self.rows(self.N * conv.P * conv.Q, conv.K, 64));
        fit(&[&windows, &rows]).then_some(Wgrad { windows, rows, piece })
    }
}

/// Whether hardware can copy by all of them.
fn fit(maps: &[&TensorMap]) -> bool {
    maps.iter().all(|map| map.check().is_ok())
}

/// What of a direction bulk copies can do. Which tile it is makes no difference to that.
pub(super) fn possible(conv: &Conv, N: usize, direction: Direction) -> Bulk {
    let can = |element| {
        let shape = Shape { conv, N, element };
        match direction {
            Direction::Fprop => shape.fprop(96).is_some(),
            Direction::Dgrad => shape.dgrad(96).is_some(),
            Direction::Wgrad => shape.wgrad(96).is_some(),
        }
    };
    let alike = direction != Direction::Dgrad || conv.stride == 1;
    Bulk { tf32: can(Element::Tf32), bf16: can(Element::Bf16), alike }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Extent;

    fn possible_for(conv: (Extent, usize, (usize, usize), usize, usize, usize)) -> [[bool; 2]; 3] {
        let (input, K, kernel, stride, pad, groups) = conv;
        let conv = Conv::new(input, K, kernel, stride, pad, groups).unwrap();
        Direction::ALL.map(|direction| {
            let Bulk { tf32, bf16, .. } = possible(&conv, 2, direction);
            [tf32, bf16]
        })
    }

    /// tf32 and bf16 of fprop, dgrad and wgrad.
    #[test]
    fn what_hardware_can_copy() {
        let of = |C| Extent::new(27, 30, C);
        // ZFNet's conv2 to conv5 in all directions, but wgrad in tf32.
        for (input, K, kernel, stride, pad) in [
            (Extent::new(55, 55, 96), 256, 5, 2, 0),
            (Extent::new(13, 13, 256), 384, 3, 1, 1),
            (Extent::new(13, 13, 384), 384, 3, 1, 1),
            (Extent::new(13, 13, 384), 256, 3, 1, 1),
        ] {
            let all = possible_for((input, K, (kernel, kernel), stride, pad, 1));
            assert_eq!(all, [[true, true], [true, true], [false, true]], "{input} to {K}");
        }
        // Pixels of 6, 12 and 24 bytes; in f32 12 channels are three times 16 bytes.
        assert_eq!(possible_for((of(3), 64, (3, 3), 1, 1, 1))[0], [false, false]);
        assert_eq!(possible_for((of(12), 64, (3, 3), 1, 1, 1))[0], [true, false]);
        // Corners 128 and 129 pixels from the image.
        assert_eq!(possible_for((of(8), 8, (129, 130), 1, 128, 1))[0], [true, true]);
        assert_eq!(possible_for((of(8), 8, (130, 131), 1, 129, 1))[0], [false, false]);
        // Steps of 8 and 9 pixels; two by two parities and three by three.
        assert_eq!(possible_for((of(8), 8, (2, 2), 8, 0, 1))[0], [true, true]);
        assert_eq!(possible_for((of(8), 8, (2, 2), 9, 0, 1))[0], [false, false]);
        assert_eq!(possible_for((of(32), 32, (3, 3), 2, 0, 1))[1], [true, true]);
        assert_eq!(possible_for((of(32), 32, (3, 3), 3, 0, 1))[1], [false, false]);
        // Groups of whole pieces: 32 and 16 channels in f32, 64 and 32 in bf16.
        assert_eq!(possible_for((of(32), 8, (1, 1), 1, 0, 2))[0], [true, false]);
        assert_eq!(possible_for((of(16), 8, (1, 1), 1, 0, 2))[0], [false, false]);
        assert_eq!(possible_for((of(64), 8, (1, 1), 1, 0, 2))[0], [true, false], "4 filters of a group are 8 bytes");
        assert_eq!(possible_for((of(64), 16, (1, 1), 1, 0, 2))[0], [true, true]);
    }
}
