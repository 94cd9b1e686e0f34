//! How blocks that stay share out the tiles of a product: kernels/include/product/multiply_tma.cuh.
//!
//! A GPU with M multiprocessors does M tiles at a time, a wave. The last wave is seldom full; the depth of
//! its tiles can be cut, so that all have a part of one, at the price of adding the parts up.

use crate::ops::product::{HOPPER_COLUMNS, LINES, ROWS_COST, Split};

/// How blocks that stay (kernels/include/product/multiply_tma.cuh) cut the outputs of products side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waves {
    /// Which of [`HOPPER_COLUMNS`], and its columns.
    pub index: usize,
    pub width: usize,
    /// Tiles of the rows and columns of one product, and of all of them.
    pub rows: usize,
    pub columns: usize,
    pub tiles: usize,
    /// The first tiles, whose depth is not cut, and how it is with the others.
    pub whole: usize,
    pub split: Split,
}

/// What it costs to write the parts of a depth, to start the kernel that adds them up, and to wait for it, in
/// cycles: about 2 us, and 8 bytes of each element of a part through memory.
const SUM_CYCLES: usize = 3500;
/// Bytes that the memory of an H100 or H200 moves in a cycle.
const CYCLE_BYTES: usize = 2400;

impl Waves {
    fn new(i: usize, rows: usize, columns: usize, products: usize) -> Self {
        let width = HOPPER_COLUMNS[i];
        let (rows, columns) = (rows.div_ceil(LINES), columns.div_ceil(width));
        let tiles = rows * columns * products;
        Waves { index: i, width, rows, columns, tiles, whole: tiles, split: Split { splits: 1, steps: 1 } }
    }

    /// The depth of the last, incomplete wave of tiles cut, where that pays.
    fn last_wave(mut self, steps: usize, multiprocessors: usize) -> Self {
        let rest = self.tiles % multiprocessors;
        let split = Split::of(steps, multiprocessors.checked_div(rest).unwrap_or(1));
        let cut = Waves { whole: self.tiles - rest, split, ..self };
        if split.splits > 1 && cut.cycles(steps, multiprocessors) < self.cycles(steps, multiprocessors) {
            self = cut;
        }
        self
    }

    /// What it takes, in cycles of the tensor cores: 4 for a step's column, and as many for 32 more, since
    /// the rows are read whatever the columns.
    fn cycles(&self, steps: usize, multiprocessors: usize) -> usize {
        let step = 4 * (self.width + ROWS_COST);
        let whole = self.whole.div_ceil(multiprocessors) * steps * step;
        let parts = (self.tiles - self.whole) * self.split.splits;
        if parts == 0 {
            return whole;
        }
        let bytes = parts * LINES * self.width * 2 * size_of::<f32>();
        whole + parts.div_ceil(multiprocessors) * self.split.steps * step + SUM_CYCLES + bytes / CYCLE_BYTES
    }

    /// The width and the cut that take least time; for products of one number of steps.
    pub fn best(rows: usize, columns: usize, products: usize, steps: usize, multiprocessors: usize) -> Self {
        let waves = |i| Waves::new(i, rows, columns, products).last_wave(steps, multiprocessors);
        Waves::quickest(waves, steps, multiprocessors)
    }

    /// The same without cutting any depth.
    pub fn whole(rows: usize, columns: usize, products: usize, steps: usize, multiprocessors: usize) -> Self {
        Waves::quickest(|i| Waves::new(i, rows, columns, products), steps, multiprocessors)
    }

    /// The same with the depth of all tiles cut until there are as many parts as multiprocessors: for long
    /// sums of few outputs.
    pub fn through(rows: usize, columns: usize, products: usize, steps: usize, multiprocessors: usize) -> Self {
        let waves = |i| {
            let waves = Waves::new(i, rows, columns, products);
            let split = Split::of(steps, multiprocessors / waves.tiles);
            Waves { whole: if split.splits > 1 { 0 } else { waves.tiles }, split, ..waves }
        };
        Waves::quickest(waves, steps, multiprocessors)
    }

    fn quickest(waves: impl Fn(usize) -> Self, steps: usize, multiprocessors: usize) -> Self {
        let cycles = |waves: &Waves| waves.cycles(steps, multiprocessors);
        (0..HOPPER_COLUMNS.len()).rev().map(&waves).min_by_key(cycles).unwrap_or_else(|| waves(0))
    }

    /// Units of work.
    pub fn units(&self) -> usize {
        self.whole + (self.tiles - self.whole) * self.split.splits
    }

    /// Outputs of the tiles whose depth is cut.
    pub fn cut_elements(&self) -> usize {
        (self.tiles - self.whole) * LINES * self.width
    }

    /// Bytes of their parts.
    pub fn bytes(&self) -> usize {
        self.split.bytes(self.cut_elements())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ZFNet's convolutions by blocks that stay, at batch 128 on 132 multiprocessors.
    #[test]
    fn the_last_wave_is_cut_where_that_pays() {
        let at_13 = 128 * 13 * 13;
        // conv2: 676 tiles in 5 waves and 16 tiles more, each of which 8 multiprocessors share.
        let conv2 = Waves::best(128 * 26 * 26, 256, 1, 38, 132);
        assert_eq!((conv2.width, conv2.whole, conv2.split.splits), (256, 660, 4));
        // conv5: 169 tiles, one wave and 37 tiles in three parts each: 1.4 of 54 steps, where 338 tiles of 128
        // columns would take 3 of half as many.
        let conv5 = Waves::best(at_13, 256, 1, 54, 132);
        assert_eq!((conv5.width, conv5.whole, conv5.split.splits), (256, 132, 3));
        assert_eq!(conv5.units(), 132 + 37 * 3);
        // Few steps are not worth another launch, and a GPU that is full has nothing to cut.
        assert_eq!(Waves::best(129, 96, 1, 15, 132).split.splits, 1);
        assert_eq!(Waves::best(132 * 128, 256, 1, 54, 132).units(), 132);
        // wgrad of conv2: 2 x 10 tiles, whose 1352 steps all are cut.
        let wgrad = Waves::through(256, 2400, 1, 1352, 132);
        assert_eq!((wgrad.whole, wgrad.units() <= 132, wgrad.units() > 99), (0, true, true));
    }
}
