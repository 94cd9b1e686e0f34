//! What the launches of matrix products share: the host's side of kernels/include/product.

use bytemuck::{Pod, Zeroable};

use crate::device::{Device, Launch};
use crate::error::{Error, Result};
use crate::ops::gpu::int;
use crate::ops::{Gpu, Precision, Version};

/// kThreads of Fma and Mma, kLines and kShared of kernels/include/product: a block computes
/// `LINES` x `LINES` outputs.
const FMA_THREADS: u32 = 256;
const MMA_THREADS: u32 = 128;
const LINES: usize = 128;
const SHARED: usize = 80 * 1024;

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

/// The kernels of a product: naive, f32, tf32, bf16.
macro_rules! products {
    ($direction:literal) => {
        [
            concat!($direction, "_1"),
            concat!($direction, "_2_f32"),
            concat!($direction, "_3_tf32"),
            concat!($direction, "_3_bf16"),
        ]
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

    /// Bytes of memory for the parts, `floats` each; none for a single one.
    pub fn bytes(&self, floats: usize) -> usize {
        if self.splits == 1 { 0 } else { self.splits * floats * size_of::<f32>() }
    }
}

/// [`int`], for what kernels count to the end of a tile.
pub(crate) fn whole_tiles(op: &'static str, name: &str, size: usize) -> Result<i32> {
    let exact = int(op, name, size)?;
    int(op, name, size + LINES).map(|_| exact)
}

/// Blocks that cover `rows` x `columns` outputs.
pub(crate) fn tiles(rows: usize, columns: usize) -> usize {
    rows.div_ceil(LINES) * columns.div_ceil(LINES)
}

impl<D: Device> Gpu<D> {
    /// The one of a product's kernels (see [`products`]) that this backend runs.
    pub(crate) fn choose_product(&self, kernels: [&'static str; 4]) -> &'static str {
        match (self.version, self.precision) {
            (Version::Naive, _) => kernels[0],
            (Version::Fast, Precision::F32) => kernels[1],
            (Version::Fast, Precision::Tf32) => kernels[2],
            (Version::Fast, Precision::Bf16) => kernels[3],
        }
    }

    /// A launch of the tiled `kernel` whose grid is (tiles, y, z).
    pub(crate) fn product(
        &self,
        kernel: &'static str,
        rows: usize,
        columns: usize,
        y: usize,
        z: usize,
    ) -> Result<Launch> {
        let side = |size: usize| {
            u32::try_from(size)
                .map_err(|_| Error::device(kernel, format!("{size} blocks are more than one grid holds")))
        };
        let grid = [side(tiles(rows, columns))?, side(y)?, side(z)?];
        let threads = if self.precision == Precision::F32 { FMA_THREADS } else { MMA_THREADS };
        Ok(Launch { kernel, grid, block: [threads, 1, 1], shared: SHARED })
    }

    /// Parts of a sum over `depth` that give each multiprocessor `blocks` blocks where the outputs,
    /// `tiles` of them, do not.
    pub(crate) fn split(&self, tiles: usize, depth: usize, blocks: usize) -> Split {
        let steps = depth.div_ceil(64 / self.number().bytes()).max(1); // kDepth
        let wanted = self.device.properties().multiprocessors as usize * blocks / tiles.max(1);
        let steps_of_one = steps.div_ceil(wanted.clamp(1, (steps / FEWEST_STEPS).max(1)));
        Split { splits: steps.div_ceil(steps_of_one), steps: steps_of_one }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernels do it.
    fn divide(n: u32, d: &Divisor) -> u32 {
        (((u64::from(n) * u64::from(d.multiplier)) >> 32) as u32 + n) >> d.shift
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
