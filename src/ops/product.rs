//! What the launches of matrix products share: the host's side of kernels/include/product.

use bytemuck::{Pod, Zeroable};

use crate::device::{Device, Launch};
use crate::error::{Error, Result};
use crate::ops::gpu::int;
use crate::ops::{Gpu, Precision, Version};

/// Rows of the outputs of a block, and columns but for those on Hopper: kLines of kernels/include/product.
pub(crate) const LINES: usize = 128;

/// How a kernel of kernels/include/product cuts its outputs, and what a block of it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tiling {
    /// Its name.
    pub kernel: &'static str,
    /// Columns of a block's outputs; its rows are `LINES`.
    columns: usize,
    /// Depths of a step.
    depth: usize,
    threads: u32,
    shared: usize,
}

impl Tiling {
    /// Tiled<Fma> and Tiled<Mma>: kThreads, kDepth, kShared.
    fn portable(kernel: &'static str, precision: Precision) -> Self {
        let (threads, depth) = match precision {
            Precision::F32 => (256, 16),
            Precision::Tf32 => (128, 16),
            Precision::Bf16 => (128, 32),
        };
        Tiling { kernel, columns: LINES, depth, threads, shared: 80 * 1024 }
    }

    /// `Wgmma<columns>`: kWgmmaThreads; kWgmmaStages times rows and columns of 128 bytes.
    fn hopper(kernel: &'static str, columns: usize) -> Self {
        let shared = 4 * (LINES + columns.next_multiple_of(64)) * 128;
        Tiling { kernel, columns, depth: 64, threads: 384, shared }
    }

    /// Blocks that cover `rows` x `columns` outputs.
    pub fn blocks(&self, rows: usize, columns: usize) -> usize {
        rows.div_ceil(LINES) * columns.div_ceil(self.columns)
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

/// The kernels of one direction by the columns of their tiles.
macro_rules! by_width {
    ($kernel:literal) => {
        [concat!($kernel, "_n96"), concat!($kernel, "_n128"), concat!($kernel, "_n192"), concat!($kernel, "_n256")]
    };
}
pub(crate) use by_width;

/// Steps of a product that pay for writing its results once more and adding them up.
const FEWEST_STEPS: usize = 8;

/// kernels/include/division.cuh: what a kernel divides by with a multiplication and a shift.
///
/// With 2^(s-1) < d <= 2^s and m = floor(2^32 (2^s - d) / d) + 1, which is below 2^32,
///
/// ```text
/// (2^32 + m) d = 2^(32+s) + e,  0 < e <= d <= 2^s
/// (2^32 + m) n / 2^(32+s) = n/d + n e / (d 2^(32+s)) < n/d + 1/d  for n < 2^32
/// ```
///
/// which is too little more to reach the next whole number, so floor(n / d) is
/// (floor(m n / 2^32) + n) >> s. That sum fits 32 bits for n < 2^31.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct Divisor {
    value: i32,
    multiplier: u32,
    shift: i32,
}

impl Divisor {
    /// Division by `value` >= 1.
    pub fn new(value: i32) -> Self {
        let d = u64::from(value.max(1) as u32);
        let shift = d.next_power_of_two().trailing_zeros();
        let multiplier = ((1 << 32) * ((1 << shift) - d) / d + 1) as u32;
        Divisor { value: d as i32, multiplier, shift: shift as i32 }
    }
}

/// The kernels of a product.
pub(crate) struct Products {
    pub naive: &'static str,
    /// f32, tf32, bf16.
    pub portable: [&'static str; 3],
    /// bf16 on Hopper, for each of [`HOPPER_COLUMNS`].
    pub hopper: [&'static str; 4],
}

/// The [`Products`] of one direction of an operation.
macro_rules! products {
    ($direction:literal) => {
        $crate::ops::product::Products {
            naive: concat!($direction, "_1"),
            portable: [concat!($direction, "_2_f32"), concat!($direction, "_3_tf32"), concat!($direction, "_3_bf16")],
            hopper: [
                concat!($direction, "_4_bf16_n96"),
                concat!($direction, "_4_bf16_n128"),
                concat!($direction, "_4_bf16_n192"),
                concat!($direction, "_4_bf16_n256"),
            ],
        }
    };
}
pub(crate) use products;

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
    /// The one of a product's kernels that this backend runs for `parts` products of
    /// `rows` x `columns` outputs side by side.
    pub(crate) fn tiling(&self, products: &Products, rows: usize, columns: usize, parts: usize) -> Tiling {
        let [f32, tf32, bf16] = products.portable;
        match self.precision {
            Precision::F32 => Tiling::portable(f32, self.precision),
            Precision::Tf32 => Tiling::portable(tf32, self.precision),
            Precision::Bf16 => {
                let multiprocessors = self.device.properties().multiprocessors as usize;
                let i = hopper_columns(rows, columns, parts, multiprocessors);
                let hopper = Tiling::hopper(products.hopper[i], HOPPER_COLUMNS[i]);
                let asked = matches!(self.version, Version::Gathering | Version::Fast);
                let has = asked && self.device.has(hopper.kernel);
                if has { hopper } else { Tiling::portable(bf16, self.precision) }
            }
        }
    }

    /// A launch whose grid is (tiles, y, z).
    pub(crate) fn product(&self, tiling: &Tiling, rows: usize, columns: usize, y: usize, z: usize) -> Result<Launch> {
        let side = |size: usize| {
            u32::try_from(size)
                .map_err(|_| Error::device(tiling.kernel, format!("{size} blocks are more than one grid holds")))
        };
        let grid = [side(tiling.blocks(rows, columns))?, side(y)?, side(z)?];
        Ok(Launch { kernel: tiling.kernel, grid, block: [tiling.threads, 1, 1], shared: tiling.shared })
    }

    /// Parts of a sum over `depth` that give each multiprocessor `blocks` blocks where the outputs,
    /// `tiles` blocks of them, do not.
    pub(crate) fn split(&self, tiling: &Tiling, tiles: usize, depth: usize, blocks: usize) -> Split {
        let steps = depth.div_ceil(tiling.depth).max(1);
        let wanted = self.device.properties().multiprocessors as usize * blocks / tiles.max(1);
        Split::of(steps, wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernels do it.
    fn divide(n: u32, d: &Divisor) -> u32 {
        (((u64::from(n) * u64::from(d.multiplier)) >> 32) as u32 + n) >> d.shift
    }

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

    #[test]
    fn a_divisor_divides() {
        let most = i32::MAX;
        let divisors = (1..200).chain([361, 12_100, 65_535, 65_536, 65_537, 1 << 30, (1 << 30) + 1, most - 1, most]);
        for d in divisors {
            let divisor = Divisor::new(d);
            let d = d as u32;
            // Around every kind of multiple, the last one below 2^31 among them.
            let multiples = (0..64).chain([most as u32 / d / 3, most as u32 / d]).map(|i| i.min(most as u32 / d) * d);
            for n in multiples.flat_map(|m| [m.saturating_sub(1), m, m.saturating_add(d - 1).min(most as u32)]) {
                assert_eq!(divide(n, &divisor), n / d, "{n} / {d}");
            }
        }
    }
}
