//! What bulk copies (TMA) take of a convolution: pixels by taps, boxes of filters and of rows.
//!
//! Hardware computes the addresses, so it has conditions: rows of 16 bytes, corners near the image, at
//! most two by two parities, groups of whole pieces. They are looked at before a tile is chosen; what
//! does not fit is left to the kernels that gather by themselves.

use super::Conv;
use super::cuda::parity;
use crate::device::tensor_map::{Element, TensorMap, Window};
use crate::ops::product::{Bulk, Direction, store_columns};

/// Rows of a tile, and bytes of depth of a line in a stage.
const ROWS: usize = 128;
const STAGE_DEPTH: usize = 128;
/// Maps of parities that a kernel takes.
const MOST_PARITIES: usize = 4;

/// A convolution's shape as bulk copies see it.
pub(super) struct Shape<'a> {
    pub conv: &'a Conv,
    pub N: usize,
    pub element: Element,
}

impl Shape<'_> {
    pub fn bytes(&self, elements: usize) -> usize {
        elements * self.element.bytes()
    }

    /// Elements of a row of a box: all that a stage has of a line, or half of it.
    pub fn piece(&self, channels: usize) -> usize {
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
    pub fn steps(&self, taps: usize, channels: usize) -> usize {
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
pub(super) struct Fprop {
    pub windows: TensorMap,
    pub filters: TensorMap,
    /// Of y, in bf16.
    pub boxes: TensorMap,
}

pub(super) struct Dgrad {
    /// Pixels of dy for each parity, again from the first where there are fewer than four.
    pub parities: Vec<TensorMap>,
    pub filters: TensorMap,
}

pub(super) struct Wgrad {
    pub windows: TensorMap,
    pub rows: TensorMap,
    pub piece: usize,
}

/// What hardware can copy, `None` where it cannot.
impl Shape<'_> {
    pub fn fprop(&self, width: usize) -> Option<Fprop> {
        let conv = self.conv;
        let of_group = conv.C / conv.groups;
        let piece = self.piece(of_group);
        let windows = self.windows(piece, ROWS);
        let filters = self.filters(conv.K, of_group, piece, width);
        let boxes = self.rows(self.N * conv.P * conv.Q, conv.K, store_columns(width));
        let can = self.pieces_fit(conv.C) && fit(&[&windows, &filters]);
        (can && (self.element != Element::Bf16 || fit(&[&boxes]))).then_some(Fprop { windows, filters, boxes })
    }

    pub fn dgrad(&self, width: usize) -> Option<Dgrad> {
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

    pub fn wgrad(&self, width: usize) -> Option<Wgrad> {
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
