//! Pooling with normalisation on a GPU: kernels/pool_lrn.cu.

use bytemuck::NoUninit;

use super::PoolLrnOp;
use crate::device::{Arg, Device, Launch};
use crate::error::Result;
use crate::ops::Gpu;
use crate::ops::gpu::{Version, check_bytes, int, versions};
use crate::ops::lrn::{Lrn, LrnOp, cuda::Geometry as LrnGeometry};
use crate::ops::pool::{Pool, PoolOp, UnpoolMode, cuda::Geometry as PoolGeometry};

/// Threads of a block, and its warps.
const THREADS: usize = 256;
const WARPS: usize = THREADS / 32;
/// Shared memory that every GPU gives a block unasked.
const SHARED: usize = 48 * 1024;

/// Windows of a block along P and Q, and the shared memory that they take.
#[derive(Clone, Copy)]
struct Tile {
    P: usize,
    Q: usize,
    shared: usize,
}

impl Tile {
    /// A piece of a row; none if not even one pixel fits.
    fn forward(pool: &Pool) -> Option<Self> {
        let pixel = pool.C * size_of::<f32>();
        let Q = (SHARED / pixel).min(pool.Q);
        (Q > 0).then_some(Tile { P: 1, Q, shared: Q * pixel })
    }

    /// At most 4 x 16 windows, beside the rows of the warps; none if not even one fits.
    fn backward(pool: &Pool, element_bytes: usize) -> Option<Self> {
        let work = WARPS * 2 * pool.C * size_of::<f32>();
        let windows = SHARED.saturating_sub(work) / (pool.C * element_bytes);
        // As many windows more, above and to the left, reach into the tile.
        let seam = (pool.R - 1) / pool.stride;
        let P = (1..=pool.P.min(4)).rev().find(|P| (P + seam) * (1 + seam) <= windows)?;
        let Q = (windows / (P + seam) - seam).min(pool.Q).min(16);
        Some(Tile { P, Q, shared: work + (P + seam) * (Q + seam) * pool.C * element_bytes })
    }
}

/// kernels/include/geometry/pool_lrn.cuh.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Geometry {
    pool: PoolGeometry,
    lrn: LrnGeometry,
    tile_P: i32,
    tile_Q: i32,
    tiles_P: i32,
    tiles_Q: i32,
}

impl Geometry {
    /// `tiles` blocks to an image, along P and Q.
    fn new(pool: &Pool, lrn: &Lrn, N: usize, tile: Tile, tiles: [usize; 2]) -> Result<Self> {
        let size = |name, size| int("pool_lrn", name, size);
        Ok(Geometry {
            pool: PoolGeometry::new(pool, N, UnpoolMode::Add)?,
            lrn: LrnGeometry::new(lrn, N * pool.P * pool.Q, pool.C)?,
            tile_P: size("a tile", tile.P)?,
            tile_Q: size("a tile", tile.Q)?,
            tiles_P: size("P", tiles[0])?,
            tiles_Q: size("Q", tiles[1])?,
        })
    }
}

fn launch(kernel: &'static str, N: usize, tile: Tile, tiles: [usize; 2]) -> Result<Launch> {
    let blocks = int("pool_lrn", "the number of tiles", N * tiles[0] * tiles[1])?;
    Ok(Launch { shared: tile.shared, ..Launch::linear(kernel, blocks as u32, THREADS as u32) })
}

impl<D: Device> PoolLrnOp for Gpu<D> {
    fn fuses_pool_lrn_forward(&self, pool: &Pool) -> bool {
        self.version != Version::Naive && Tile::forward(pool).is_some()
    }

    fn pool_lrn_forward(
        &mut self,
        pool: &Pool,
        lrn: &Lrn,
        N: usize,
        x: &Self::Buf,              // (N, H, W, C)
        a: &mut Self::Buf,          // (N, P, Q, C)
        switches: &mut Self::Bytes, // (N, P, Q, C)
        b: &mut Self::Buf,          // (N, P, Q, C)
    ) -> Result<()> {
        let (Some(tile), Version::Portable | Version::Gathering | Version::Fast) = (Tile::forward(pool), self.version)
        else {
            self.pool_forward(pool, N, x, a, switches)?;
            return self.lrn_forward(lrn, N * pool.P * pool.Q, pool.C, a, b);
        };
        let tiles = [pool.P, pool.Q.div_ceil(tile.Q)];
        let geometry = Geometry::new(pool, lrn, N, tile, tiles)?;
        let (image, map) = (pool.input().len(), pool.output().len());
        check_bytes("pool_lrn", "switches", switches, N * map)?;
        let args = [
            Arg::geometry(&geometry),
            x.read("pool_lrn", "x", N * image)?,
            a.write("pool_lrn", "a", N * map)?,
            Arg::output(switches),
            b.write("pool_lrn", "b", N * map)?,
        ];
        let kernel = self.choose(versions!("pool_lrn_forward"));
        self.device.launch(&launch(kernel, N, tile, tiles)?, &args)
    }

    fn pool_lrn_backward(
        &mut self,
        pool: &Pool,
        lrn: &Lrn,
        N: usize,
        a: &Self::Buf,          // (N, P, Q, C)
        switches: &Self::Bytes, // (N, P, Q, C)
        db: &Self::Buf,         // (N, P, Q, C)
        da: &mut Self::Buf,     // (N, P, Q, C)
        dx: &mut Self::Buf,     // (N, H, W, C)
    ) -> Result<()> {
        let (Some(tile), Version::Portable | Version::Gathering | Version::Fast) =
            (Tile::backward(pool, self.number().bytes()), self.version)
        else {
            self.lrn_backward(lrn, N * pool.P * pool.Q, pool.C, a, db, da)?;
            return self.unpool(pool, N, UnpoolMode::Add, da, switches, dx);
        };
        // Every position belongs to the tile of the window that starts at it or before it.
        let tiles = [pool.H.div_ceil(tile.P * pool.stride), pool.W.div_ceil(tile.Q * pool.stride)];
        let geometry = Geometry::new(pool, lrn, N, tile, tiles)?;
        let (image, map) = (pool.input().len(), pool.output().len());
        check_bytes("pool_lrn", "switches", switches, N * map)?;
        let args = [
            Arg::geometry(&geometry),
            a.read("pool_lrn", "a", N * map)?,
            Arg::input(switches),
            db.read("pool_lrn", "db", N * map)?,
            dx.write("pool_lrn", "dx", N * image)?,
        ];
        let kernel = self.choose(versions!("pool_lrn_backward"));
        self.device.launch(&launch(kernel, N, tile, tiles)?, &args)
    }
}
