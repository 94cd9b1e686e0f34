//! How blocks that stay share out the tiles of a product: kernels/include/product/multiply_tma.cuh.
//!
//! A GPU with M multiprocessors does M tiles at a time, a wave. The last wave is seldom full; the depth of
//! its tiles can be cut, so that all have a part of one, at the price of adding the parts up.

use crate::ops::product::{LINES, ProductSize, ROWS_COST, Split};

/// The tiles of products side by side, and how the depth of some is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waves {
    /// Columns of a tile.
    pub width: usize,
    /// Tiles of the rows and columns of one product, and of all of them.
    pub rows: usize,
    pub columns: usize,
    pub tiles: usize,
    /// The first tiles, whose depth is not cut, and how it is with the others.
    pub whole: usize,
    pub split: Split,
}

/// What it costs to start the kernel that adds the parts of a depth up, and to wait for it, in cycles: 2 us.
const SUM_CYCLES: usize = 3500;
/// Bytes that the memory of an H100 or H200 moves in a cycle.
const CYCLE_BYTES: usize = 2400;

impl Waves {
    /// All tiles whole.
    pub fn new(width: usize, size: &ProductSize) -> Self {
        let (rows, columns) = (size.rows.div_ceil(LINES), size.columns.div_ceil(width));
        let tiles = rows * columns * size.parts;
        Waves { width, rows, columns, tiles, whole: tiles, split: Split { splits: 1, steps: 1 } }
    }

    /// The depth of the last, incomplete wave of tiles cut, where that pays.
    pub fn cut_last(self, steps: usize, multiprocessors: usize) -> Self {
        let rest = self.tiles % multiprocessors;
        let split = Split::of(steps, multiprocessors.checked_div(rest).unwrap_or(1));
        let cut = Waves { whole: self.tiles - rest, split, ..self };
        let pays = split.splits > 1 && cut.cycles(steps, multiprocessors) < self.cycles(steps, multiprocessors);
        if pays { cut } else { self }
    }

    /// The depth of all tiles cut until there are as many parts as multiprocessors: for long sums of few outputs.
    pub fn cut_through(self, steps: usize, multiprocessors: usize) -> Self {
        self.cut_into(Split::of(steps, multiprocessors / self.tiles.max(1)))
    }

    /// The depth of all tiles cut.
    pub fn cut_into(self, split: Split) -> Self {
        if split.splits > 1 { Waves { whole: 0, split, ..self } } else { self }
    }

    /// What it takes, in cycles of the tensor cores: 4 for a step's column, and as many for 32 more, since
    /// the rows are read whatever the columns; 8 bytes of each element of a part through memory.
    pub fn cycles(&self, steps: usize, multiprocessors: usize) -> usize {
        let step = 4 * (self.width + ROWS_COST);
        let whole = self.whole.div_ceil(multiprocessors) * steps * step;
        let parts = (self.tiles - self.whole) * self.split.splits;
        if parts == 0 {
            return whole;
        }
        let bytes = parts * LINES * self.width * 2 * size_of::<f32>();
        whole + parts.div_ceil(multiprocessors) * self.split.steps * step + SUM_CYCLES + bytes / CYCLE_BYTES
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

    fn size(rows: usize, columns: usize) -> ProductSize {
        ProductSize { rows, columns, depth: 0, parts: 1 }
    }

    /// ZFNet's convolutions at batch 128 on 132 multiprocessors.
    #[test]
    fn the_last_wave_is_cut_where_that_pays() {
        let at_13 = 128 * 13 * 13;
        // conv2: 676 tiles in 5 waves, and 16 tiles of 38 steps that four multiprocessors share each.
        let conv2 = Waves::new(256, &size(128 * 26 * 26, 256)).cut_last(38, 132);
        assert_eq!((conv2.whole, conv2.split.splits), (660, 4));
        // conv5: one wave, and 37 tiles in three parts each.
        let conv5 = Waves::new(256, &size(at_13, 256)).cut_last(54, 132);
        assert_eq!((conv5.whole, conv5.split.splits, conv5.units()), (132, 3, 132 + 37 * 3));
        // Few steps are not worth another launch, and a GPU that is full has nothing to cut.
        assert_eq!(Waves::new(96, &size(129, 96)).cut_last(15, 132).split.splits, 1);
        assert_eq!(Waves::new(256, &size(132 * 128, 256)).cut_last(54, 132).units(), 132);
        // The weight gradient of conv2: 2 x 10 tiles, whose 1352 steps all are cut.
        let wgrad = Waves::new(256, &size(256, 2400)).cut_through(1352, 132);
        assert_eq!((wgrad.whole, wgrad.units()), (0, 120));
    }
}
