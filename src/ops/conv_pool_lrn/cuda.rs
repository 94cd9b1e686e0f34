//! Convolution with pooling and normalisation on a GPU: kernels/conv_pool_lrn.cu.

use bytemuck::NoUninit;

use super::{ConvPoolLrn, ConvPoolLrnOp};
use crate::device::{Arg, Device, Launch};
use crate::error::Result;
use crate::ops::Gpu;
use crate::ops::conv::cuda::{Geometry as ConvGeometry, pad_filters};
use crate::ops::conv::{Conv, ConvOp, Laid};
use crate::ops::divisor::Divisor;
use crate::ops::gpu::{Precision, Version, check_bytes, int};
use crate::ops::lrn::cuda::Geometry as LrnGeometry;
use crate::ops::pool::{Pool, UnpoolMode, cuda::Geometry as PoolGeometry};
use crate::ops::pool_lrn::PoolLrnOp;
use crate::ops::product::{HOPPER_COLUMNS, Split};

/// Its kernels, for each of [`HOPPER_COLUMNS`].
const KERNELS: [&str; 4] = [
    "conv_pool_lrn_forward_4_bf16_n96",
    "conv_pool_lrn_forward_4_bf16_n128",
    "conv_pool_lrn_forward_4_bf16_n192",
    "conv_pool_lrn_forward_4_bf16_n256",
];

/// Pixels of a block: kLines of kernels/include/product.
const PIXELS: usize = 128;

/// Operations that an H200 does in bf16 while it moves a byte: 790 TFLOP/s by 4.3 TB/s.
const FLOPS_PER_BYTE: usize = 184;

/// What a block takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tile {
    /// Windows, along P and Q.
    windows: [usize; 2],
    /// Pixels of the convolution's output under them.
    patch: [usize; 2],
    /// Blocks that an image takes, along P and Q.
    tiles: [usize; 2],
}

impl Tile {
    /// The one with the fewest blocks; of those the one with the fewest windows. None if not even one window
    /// has room.
    fn new(pool: &Pool) -> Option<Self> {
        let pixels = |windows: usize| (windows - 1) * pool.stride + pool.R;
        let tile = |[P, Q]: [usize; 2]| Tile {
            windows: [P, Q],
            patch: [pixels(P), pixels(Q)],
            tiles: [pool.P.div_ceil(P), pool.Q.div_ceil(Q)],
        };
        let sides = (1..=pool.P).flat_map(|P| (1..=pool.Q).map(move |Q| [P, Q]));
        let fit = sides.map(tile).filter(|tile| tile.patch[0] * tile.patch[1] <= PIXELS);
        fit.min_by_key(|tile| (tile.blocks(), tile.windows[0] * tile.windows[1]))
    }

    /// Blocks of an image.
    fn blocks(&self) -> usize {
        self.tiles[0] * self.tiles[1]
    }

    /// Whether the traffic spared, y written and read, takes longer than what is computed twice.
    fn pays(&self, conv: &Conv) -> bool {
        let twice = (self.blocks() * PIXELS).saturating_sub(conv.P * conv.Q);
        let spared = 2 * conv.output().len() * size_of::<half::bf16>();
        2 * twice * conv.weights() <= spared * FLOPS_PER_BYTE
    }
}

/// kernels/include/geometry/conv_pool_lrn.cuh.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Geometry {
    conv: ConvGeometry,
    pool: PoolGeometry,
    lrn: LrnGeometry,
    windows: [i32; 2],
    patch: [i32; 2],
    by_tiles: Divisor,
    by_tiles_Q: Divisor,
    by_patch_Q: Divisor,
}

impl Geometry {
    fn new(op: &'static str, layers: &ConvPoolLrn, laid: &Laid, N: usize, tile: &Tile) -> Result<Self> {
        let ConvPoolLrn { relu, pool, lrn, .. } = layers;
        let size = |size| int(op, "a tile", size);
        let by = |value| size(value).map(Divisor::new);
        Ok(Geometry {
            conv: ConvGeometry::new(op, laid, N, *relu, Split::ONE)?,
            pool: PoolGeometry::new(pool, N, UnpoolMode::Add)?,
            lrn: LrnGeometry::new(lrn, N * pool.P * pool.Q, pool.C)?,
            windows: [size(tile.windows[0])?, size(tile.windows[1])?],
            patch: [size(tile.patch[0])?, size(tile.patch[1])?],
            by_tiles: by(tile.blocks())?,
            by_tiles_Q: by(tile.tiles[1])?,
            by_patch_Q: by(tile.patch[1])?,
        })
    }
}

impl<D: Device> Gpu<D> {
    /// The kernel, its tile and its shared memory, where there is one and it pays.
    fn conv_pool_lrn_tile(&self, layers: &ConvPoolLrn) -> Option<(&'static str, Tile, usize)> {
        let ConvPoolLrn { conv, pool, .. } = layers;
        let i = HOPPER_COLUMNS.iter().position(|&columns| conv.K <= columns)?;
        let (kernel, columns) = (KERNELS[i], HOPPER_COLUMNS[i]);
        let tile = Tile::new(pool).filter(|tile| tile.pays(conv))?;
        // kWgmmaStages of rows and columns of 128 bytes; in their place Results, then the pooled windows.
        let stages = 4 * (PIXELS + columns.next_multiple_of(64)) * 128;
        let results = (PIXELS * (columns + 8) + tile.windows[0] * tile.windows[1] * columns) * size_of::<f32>();
        let shared = stages.max(results);
        let asked = matches!(self.version, Version::Gathering | Version::Fast) && self.precision == Precision::Bf16;
        let fits = conv.groups == 1 && shared <= self.device.properties().shared_bytes;
        (asked && fits && self.device.has(kernel)).then_some((kernel, tile, shared))
    }
}

impl<D: Device> ConvPoolLrnOp for Gpu<D> {
    fn fuses_conv_pool_lrn_forward(&self, layers: &ConvPoolLrn) -> bool {
        self.conv_pool_lrn_tile(layers).is_some()
    }

    fn conv_pool_lrn_forward(
        &mut self,
        layers: &ConvPoolLrn,
        N: usize,
        x: &Self::Buf,              // (N, H, W, C)
        w: &Self::Buf,              // (K, R, S, C/groups)
        bias: &Self::Buf,           // (K)
        y: &mut Self::Buf,          // (N, P, Q, K)
        a: &mut Self::Buf,          // (N, P', Q', K)
        switches: &mut Self::Bytes, // (N, P', Q', K)
        b: &mut Self::Buf,          // (N, P', Q', K)
    ) -> Result<()> {
        const OP: &str = "conv_pool_lrn";
        let ConvPoolLrn { conv, relu, pool, lrn } = layers;
        let Some((kernel, tile, shared)) = self.conv_pool_lrn_tile(layers) else {
            self.conv_fprop(conv, N, x, w, bias, *relu, y)?;
            return self.pool_lrn_forward(pool, lrn, N, y, a, switches, b);
        };
        let laid = Laid::new(OP, conv, x.pitch(conv.C), self.version)?;
        let geometry = Geometry::new(OP, layers, &laid, N, &tile)?;
        let map = N * pool.output().len();
        check_bytes(OP, "switches", switches, map)?;
        let (number, mut w) = (self.number(), w.read_rounded(OP, "w", conv.weights())?);
        if laid.padded() {
            w = pad_filters(&self.device, &mut self.workspace, &laid, &geometry.conv, number, w)?;
        }
        let args = [
            Arg::geometry(&geometry),
            x.read_images(OP, "x", N, conv.input())?,
            w,
            bias.read(OP, "bias", conv.K)?,
            a.write(OP, "a", map)?,
            Arg::output(switches),
            b.write(OP, "b", map)?,
        ];
        let blocks = int(OP, "the number of tiles", N * tile.blocks())? as u32;
        self.device.launch(&Launch { shared, ..Launch::linear(kernel, blocks, 384) }, &args)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::pool::Rounding;
    use crate::tensor::Extent;

    /// ZFNet's first two layers: benches/NOTES.md has the numbers.
    #[test]
    fn layer_1_pays_and_layer_2_does_not() {
        let of = |input, K, kernel, pad| {
            let conv = Conv::new(input, K, (kernel, kernel), 2, pad, 1).unwrap();
            (conv, Tile::new(&Pool::new(conv.output(), 3, 2, Rounding::Ceil).unwrap()).unwrap())
        };
        let (conv1, tile1) = of(Extent::new(224, 224, 3), 96, 7, 1);
        assert_eq!(tile1, Tile { windows: [5, 5], patch: [11, 11], tiles: [11, 11] });
        assert!(tile1.pays(&conv1));
        let (conv2, tile2) = of(Extent::new(55, 55, 96), 256, 5, 0);
        assert_eq!(tile2.blocks(), 9);
        assert!(!tile2.pays(&conv2));
        let too_large = Pool::new(Extent::new(20, 20, 3), 12, 1, Rounding::Ceil).unwrap();
        assert_eq!(Tile::new(&too_large), None);
    }
}
