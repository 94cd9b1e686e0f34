//! What the launches of matrix products share: the host's side of kernels/include/product.
//!
//! A product's tile is the one that was measured to be the fastest ([`TileTable`]); where nobody
//! measured, the one whose waves of blocks should take the least time (`hopper_columns`, [`Waves`]).

use std::fmt;

use crate::device::{Device, Launch};
use crate::error::{Error, Result};
use crate::ops::gpu::int;
use crate::ops::tile_table::{GpuKind, TileKey, TileTable};
use crate::ops::waves::Waves;
use crate::ops::{Gpu, Precision, Version};

/// A direction of a layer that multiplies matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// y from x and w.
    Fprop,
    /// dx from dy and w.
    Dgrad,
    /// dw from x and dy.
    Wgrad,
}

impl Direction {
    /// All of them.
    pub const ALL: [Direction; 3] = [Direction::Fprop, Direction::Dgrad, Direction::Wgrad];
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Fprop => "fprop",
            Direction::Dgrad => "dgrad",
            Direction::Wgrad => "wgrad",
        })
    }
}

/// The size of a matrix product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProductSize {
    /// Rows of outputs.
    pub rows: usize,
    /// Columns of outputs.
    pub columns: usize,
    /// Terms of each output's sum, or of the longest.
    pub depth: usize,
    /// Products of this size side by side: groups, parities of a data gradient.
    pub parts: usize,
}

/// A matrix product, and what may compute it.
pub(crate) struct Product {
    pub kernels: Products,
    pub size: ProductSize,
    /// How its sum may be cut; `None` where its kernels do not cut it.
    pub cut: Option<Cut>,
    /// What of it bulk copies can do.
    pub bulk: Bulk,
}

/// Whether hardware can copy a product's operands in bulk.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bulk {
    pub tf32: bool,
    pub bf16: bool,
    /// Whether all parts have the same depth, so that the last wave's can be cut.
    pub alike: bool,
}

/// How a sum is cut where the outputs alone give too few blocks.
#[derive(Clone, Copy)]
pub(crate) struct Cut {
    /// Blocks that each multiprocessor is to have, if they do not stay.
    pub blocks: usize,
    /// Whether it fills the GPU whatever the tile, so that tiles need not.
    pub fills: bool,
}

/// Rows of the outputs of a block, and columns but for those on Hopper: kLines of kernels/include/product.
pub(crate) const LINES: usize = 128;

/// How a kernel of kernels/include/product cuts its outputs, and what a block of it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tiling {
    /// Its name.
    pub kernel: &'static str,
    /// Columns of a block's outputs; its rows are `LINES`.
    pub columns: usize,
    /// Depths of a step.
    depth: usize,
    threads: u32,
    pub shared: usize,
    /// How its sum is cut.
    pub split: Split,
    /// Whether its blocks copy in bulk, and stay.
    pub bulk: bool,
}

impl Tiling {
    /// Tiled<Fma> and Tiled<Mma>: kThreads, kDepth, kShared.
    fn portable(kernel: &'static str, precision: Precision) -> Self {
        let (threads, depth) = match precision {
            Precision::F32 => (256, 16),
            Precision::Tf32 => (128, 16),
            Precision::Bf16 => (128, 32),
        };
        Tiling { kernel, columns: LINES, depth, threads, shared: 80 * 1024, split: Split::ONE, bulk: false }
    }

    /// `Wgmma<columns>`: kWgmmaThreads; kWgmmaStages times rows and columns of 128 bytes.
    fn hopper(kernel: &'static str, columns: usize) -> Self {
        let shared = 4 * (LINES + columns.next_multiple_of(64)) * 128;
        Tiling { kernel, columns, depth: 64, threads: 384, shared, split: Split::ONE, bulk: false }
    }

    /// `ByTma<columns>`: kTmaThreads; stages of rows and columns of 128 bytes, and four buffers of 64 rows of
    /// results in bf16.
    fn bulk(kernel: &'static str, columns: usize, precision: Precision) -> Self {
        let stages = if columns <= 128 { 6 } else { 4 };
        let shared = stages * (LINES + columns.next_multiple_of(64)) * 128 + 4 * 64 * store_columns(columns) * 2;
        let depth = if precision == Precision::Bf16 { 64 } else { 32 };
        Tiling { kernel, columns, depth, threads: 384, shared, split: Split::ONE, bulk: true }
    }

    /// A launch of blocks that stay, one on each multiprocessor while there is work.
    pub fn launch_staying(&self, units: usize, multiprocessors: usize) -> Launch {
        let grid = [units.min(multiprocessors) as u32, 1, 1];
        Launch { kernel: self.kernel, grid, block: [self.threads, 1, 1], shared: self.shared }
    }

    /// Steps of a depth.
    pub fn steps(&self, depth: usize) -> usize {
        depth.div_ceil(self.depth).max(1)
    }

    /// Blocks that cover `rows` x `columns` outputs.
    fn blocks(&self, rows: usize, columns: usize) -> usize {
        rows.div_ceil(LINES) * columns.div_ceil(self.columns)
    }

    /// The same with a sum over `depth` in at most `splits` parts.
    pub fn cut_into(self, splits: usize, depth: usize) -> Self {
        let steps = self.steps(depth);
        let steps_of_one = steps.div_ceil(splits.clamp(1, steps));
        Tiling { split: Split { splits: steps.div_ceil(steps_of_one), steps: steps_of_one }, ..self }
    }

    /// The most parts of a sum over `depth` of which each pays for itself.
    fn most_splits(&self, depth: usize) -> usize {
        (depth.div_ceil(self.depth) / FEWEST_STEPS).max(1)
    }
}

/// Columns of the kernels for Hopper.
pub(crate) const HOPPER_COLUMNS: [usize; 4] = [96, 128, 192, 256];

/// What a step of a block costs beside its columns, in columns: its rows are read whatever their number.
pub(crate) const ROWS_COST: usize = 32;

/// Which of [`HOPPER_COLUMNS`] to take: the one whose waves of blocks, one on each of
/// `multiprocessors`, take the least time. `parts`: products of this size side by side.
fn hopper_columns(rows: usize, columns: usize, parts: usize, multiprocessors: usize) -> usize {
    let time = |&i: &usize| {
        let tile = HOPPER_COLUMNS[i];
        let blocks = rows.div_ceil(LINES) * columns.div_ceil(tile) * parts;
        blocks.div_ceil(multiprocessors.max(1)) * (tile + ROWS_COST)
    };
    (0..HOPPER_COLUMNS.len()).rev().min_by_key(time).unwrap_or(0)
}

/// Columns that leave a block at once: kStoreColumns of kernels/include/product/multiply_tma.cuh.
pub(crate) fn store_columns(columns: usize) -> usize {
    if columns.is_multiple_of(64) { 64 } else { 32 }
}

/// Steps of a product that pay for writing its results once more and adding them up.
const FEWEST_STEPS: usize = 8;

/// The kernels of a product.
pub(crate) struct Products {
    /// The operation and its direction.
    pub name: &'static str,
    pub naive: &'static str,
    /// f32, tf32, bf16.
    pub portable: [&'static str; 3],
    /// bf16 on Hopper, for each of [`HOPPER_COLUMNS`].
    pub hopper: [&'static str; 4],
    /// tf32 and bf16 by bulk copies, likewise.
    pub bulk: [[&'static str; 4]; 2],
}

/// The [`Products`] of one direction of an operation.
macro_rules! products {
    ($direction:literal) => {
        $crate::ops::product::Products {
            name: $direction,
            naive: concat!($direction, "_1"),
            portable: [concat!($direction, "_2_f32"), concat!($direction, "_3_tf32"), concat!($direction, "_3_bf16")],
            hopper: $crate::ops::product::by_columns!(concat!($direction, "_4_bf16")),
            bulk: [
                $crate::ops::product::by_columns!(concat!($direction, "_5_tf32")),
                $crate::ops::product::by_columns!(concat!($direction, "_5_bf16")),
            ],
        }
    };
}
pub(crate) use products;

/// A kernel for each of [`HOPPER_COLUMNS`].
macro_rules! by_columns {
    ($kernel:expr) => {
        [concat!($kernel, "_n96"), concat!($kernel, "_n128"), concat!($kernel, "_n192"), concat!($kernel, "_n256")]
    };
}
pub(crate) use by_columns;

/// A sum over a depth, cut into `splits` parts of `steps` steps each; the last may be shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Split {
    pub splits: usize,
    pub steps: usize,
}

impl Split {
    /// The whole sum in one part, for kernels that do not cut it.
    pub const ONE: Split = Split { splits: 1, steps: i32::MAX as usize };

    /// `steps` steps in at most `parts` parts.
    pub fn of(steps: usize, parts: usize) -> Self {
        let steps = steps.max(1);
        let steps_of_one = steps.div_ceil(parts.clamp(1, (steps / FEWEST_STEPS).max(1)));
        Split { splits: steps.div_ceil(steps_of_one), steps: steps_of_one }
    }

    /// Bytes of memory for the parts, `floats` each; none for a single one.
    pub fn bytes(&self, floats: usize) -> usize {
        if self.splits == 1 { 0 } else { self.splits * floats * size_of::<f32>() }
    }
}

/// [`int`], for what kernels count to the end of a tile.
pub(crate) fn whole_tiles(op: &'static str, name: &str, size: usize) -> Result<i32> {
    let exact = int(op, name, size)?;
    let largest = HOPPER_COLUMNS.into_iter().fold(LINES, usize::max);
    int(op, name, size + largest).map(|_| exact)
}

impl<D: Device> Gpu<D> {
    /// How this backend computes a product.
    pub(crate) fn tiling(&self, product: &Product) -> Result<Tiling> {
        let measured = match self.version {
            Version::Fast => self.tiles()?.find(&self.tile_key(product)),
            Version::Naive | Version::Portable | Version::Gathering => None,
        };
        let taken = measured.and_then(|tile| {
            let tiling = self.candidates(product).into_iter().find(|c| c.kernel == tile.kernel)?;
            Some(match (tile.splits, product.cut) {
                (Some(splits), Some(_)) => tiling.cut_into(splits, product.size.depth),
                _ => tiling,
            })
        });
        Ok(taken.unwrap_or_else(|| self.formula(product)))
    }

    /// What measured tiles of a product are found by.
    pub(crate) fn tile_key(&self, product: &Product) -> TileKey {
        TileKey {
            gpu: GpuKind::of(self.device.properties()),
            precision: self.precision,
            product: product.kernels.name.to_owned(),
            size: product.size,
        }
    }

    /// Measured tiles: those of the library, or those that this backend was given.
    fn tiles(&self) -> Result<&TileTable> {
        match &self.tiles {
            Some(tiles) => Ok(tiles),
            None => TileTable::stored(),
        }
    }

    /// The tile for a product that nobody measured.
    pub(crate) fn formula(&self, product: &Product) -> Tiling {
        let Product { kernels, size, cut, bulk } = product;
        let multiprocessors = self.device.properties().multiprocessors as usize;
        if self.bulk(product).next().is_some() {
            let columns = |columns: &usize| {
                let waves = Waves::new(*columns, size);
                let steps = size.depth.div_ceil(Tiling::bulk("", *columns, self.precision).depth);
                let waves = match cut {
                    Some(_) => waves.cut_through(steps, multiprocessors),
                    None if bulk.alike => waves.cut_last(steps, multiprocessors),
                    None => waves,
                };
                waves.cycles(steps, multiprocessors)
            };
            let quickest = HOPPER_COLUMNS.into_iter().rev().min_by_key(columns);
            if let Some(tiling) = self.bulk(product).find(|tiling| Some(tiling.columns) == quickest) {
                return self.split(tiling, product);
            }
        }
        let parts = if cut.is_some_and(|cut| cut.fills) { multiprocessors } else { size.parts };
        let i = hopper_columns(size.rows, size.columns, parts, multiprocessors);
        let hopper = self.hopper(kernels).find(|tiling| tiling.columns == HOPPER_COLUMNS[i]);
        self.split(hopper.unwrap_or_else(|| self.portable_tiling(kernels)), product)
    }

    /// All that could compute a product here, the formula's first, each with its sum cut by the formula.
    pub(crate) fn candidates(&self, product: &Product) -> Vec<Tiling> {
        let first = self.formula(product);
        let gathering = self.hopper(&product.kernels).chain([self.portable_tiling(&product.kernels)]);
        let all = self.bulk(product).chain(gathering);
        let others = all.filter(|tiling| tiling.kernel != first.kernel).map(|tiling| self.split(tiling, product));
        [first].into_iter().chain(others).collect()
    }

    fn portable_tiling(&self, kernels: &Products) -> Tiling {
        let [f32, tf32, bf16] = kernels.portable;
        let kernel = match self.precision {
            Precision::F32 => f32,
            Precision::Tf32 => tf32,
            Precision::Bf16 => bf16,
        };
        Tiling::portable(kernel, self.precision)
    }

    /// Those for Hopper, where they are wanted and the device has them.
    fn hopper(&self, kernels: &Products) -> impl Iterator<Item = Tiling> {
        let versions = matches!(self.version, Version::Gathering | Version::Fast);
        let wanted = versions && self.precision == Precision::Bf16;
        let all = kernels.hopper.into_iter().zip(HOPPER_COLUMNS).filter(move |_| wanted);
        all.filter(|(kernel, _)| self.device.has(kernel)).map(|(kernel, columns)| Tiling::hopper(kernel, columns))
    }

    /// Those that copy in bulk, where they are wanted, hardware can, and the device has them.
    fn bulk(&self, product: &Product) -> impl Iterator<Item = Tiling> {
        let [tf32, bf16] = product.kernels.bulk;
        let (kernels, can) = match self.precision {
            Precision::F32 => (tf32, false),
            Precision::Tf32 => (tf32, product.bulk.tf32),
            Precision::Bf16 => (bf16, product.bulk.bf16),
        };
        let wanted = can && self.version == Version::Fast;
        let all = kernels.into_iter().zip(HOPPER_COLUMNS).filter(move |_| wanted);
        let has = all.filter(|(kernel, _)| self.device.has(kernel));
        has.map(|(kernel, columns)| Tiling::bulk(kernel, columns, self.precision))
    }

    /// `tiling` with the sum cut so that each multiprocessor has blocks where the outputs do not give them.
    fn split(&self, tiling: Tiling, product: &Product) -> Tiling {
        let Product { size: ProductSize { rows, columns, depth, parts }, cut: Some(cut), .. } = *product else {
            return tiling;
        };
        let tiles = parts * tiling.blocks(rows, columns);
        let blocks = if tiling.bulk { 1 } else { cut.blocks };
        let wanted = self.device.properties().multiprocessors as usize * blocks / tiles.max(1);
        tiling.cut_into(wanted.clamp(1, tiling.most_splits(depth)), depth)
    }

    /// A launch whose grid is (tiles, y, z).
    pub(crate) fn product(&self, tiling: &Tiling, size: ProductSize, y: usize, z: usize) -> Result<Launch> {
        let side = |size: usize| {
            u32::try_from(size)
                .map_err(|_| Error::device(tiling.kernel, format!("{size} blocks are more than one grid holds")))
        };
        let grid = [side(tiling.blocks(size.rows, size.columns))?, side(y)?, side(z)?];
        Ok(Launch { kernel: tiling.kernel, grid, block: [tiling.threads, 1, 1], shared: tiling.shared })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ZFNet's convolutions at batch 128 on 132 multiprocessors: shared/performance.md's tiles, or better.
    #[test]
    fn tiles_fill_the_gpu() {
        let columns = |rows, columns, parts| HOPPER_COLUMNS[hopper_columns(rows, columns, parts, 132)];
        let at_13 = 128 * 13 * 13;
        // conv1 and its 96 maps; conv2: 676 blocks in 5.1 waves; conv3 and conv4: 507 blocks in 3.8 waves,
        // where 338 of 192 columns would take 2.6; conv5: 338 in 2.6, where 169 of 256 would take 1.3.
        assert_eq!(columns(128 * 110 * 110, 96, 1), 96);
        assert_eq!(columns(128 * 26 * 26, 256, 1), 256);
        assert_eq!([columns(at_13, 384, 1), columns(at_13, 256, 1)], [128, 128]);
        // The data gradient of conv2: four parities of 96 columns.
        assert_eq!(columns(128 * 28 * 28, 96, 4), 96);
    }
}
