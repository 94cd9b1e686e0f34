//! Max pooling and unpooling on a GPU: kernels/pool.cu.

use bytemuck::NoUninit;

use super::{Pool, PoolOp, UnpoolMode};
use crate::device::{Arg, Device, Launch};
use crate::error::Result;
use crate::ops::Gpu;
use crate::ops::gpu::{Version, check_bytes, int, launch_rows, versions};

/// kernels/include/geometry/pool.cuh.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
pub(in crate::ops) struct Geometry {
    N: i32,
    H: i32,
    W: i32,
    C: i32,
    R: i32,
    stride: i32,
    P: i32,
    Q: i32,
    set: i32,
}

impl Geometry {
    pub(in crate::ops) fn new(pool: &Pool, N: usize, mode: UnpoolMode) -> Result<Self> {
        let size = |name, size| int("pool", name, size);
        Ok(Geometry {
            N: size("N", N)?,
            H: size("H", pool.H)?,
            W: size("W", pool.W)?,
            C: size("C", pool.C)?,
            R: size("R", pool.R)?,
            stride: size("stride", pool.stride)?,
            P: size("P", pool.P)?,
            Q: size("Q", pool.Q)?,
            set: (mode == UnpoolMode::Set).into(),
        })
    }
}

impl<D: Device> Gpu<D> {
    /// A block to each of `rows` rows of `columns` pixels; naive, a thread to an element.
    fn pool_launch(&self, kernel: &'static str, rows: usize, columns: usize, C: usize) -> Result<Launch> {
        match self.version {
            Version::Naive => Launch::elementwise(kernel, rows * columns * C, 256),
            Version::Portable | Version::Gathering | Version::Fast => {
                launch_rows("pool", kernel, rows, columns * C / self.number().vector(C))
            }
        }
    }
}

impl<D: Device> PoolOp for Gpu<D> {
    fn pool_forward(
        &mut self,
        pool: &Pool,
        N: usize,
        x: &Self::Buf,              // (N, H, W, C)
        y: &mut Self::Buf,          // (N, P, Q, C)
        switches: &mut Self::Bytes, // (N, P, Q, C)
    ) -> Result<()> {
        let geometry = Geometry::new(pool, N, UnpoolMode::Add)?;
        let (image, map) = (pool.input().len(), pool.output().len());
        check_bytes("pool", "switches", switches, N * map)?;
        let launch = self.pool_launch(self.choose(versions!("pool_forward")), N * pool.P, pool.Q, pool.C)?;
        let args = [
            Arg::geometry(&geometry),
            x.read("pool", "x", N * image)?,
            y.write("pool", "y", N * map)?,
            Arg::output(switches),
        ];
        self.device.launch(&launch, &args)
    }

    fn unpool(
        &mut self,
        pool: &Pool,
        N: usize,
        mode: UnpoolMode,
        y: &Self::Buf,          // (N, P, Q, C)
        switches: &Self::Bytes, // (N, P, Q, C)
        x: &mut Self::Buf,      // (N, H, W, C)
    ) -> Result<()> {
        let geometry = Geometry::new(pool, N, mode)?;
        let (image, map) = (pool.input().len(), pool.output().len());
        check_bytes("unpool", "switches", switches, N * map)?;
        let launch = self.pool_launch(self.choose(versions!("pool_unpool")), N * pool.H, pool.W, pool.C)?;
        let args = [
            Arg::geometry(&geometry),
            y.read("unpool", "y", N * map)?,
            Arg::input(switches),
            x.write("unpool", "x", N * image)?,
        ];
        self.device.launch(&launch, &args)
    }
}
