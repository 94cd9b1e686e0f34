//! Kept activations on a GPU: kernels/keep.cu.

use bytemuck::NoUninit;

use super::KeepOp;
use crate::device::{Arg, Device, Launch};
use crate::error::Result;
use crate::ops::Gpu;
use crate::ops::gpu::{Version, check_bytes, int, launch_rows, versions};
use crate::tensor::Extent;

/// kernels/include/geometry/keep.cuh.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Geometry {
    N: i32,
    P: i32,
    Q: i32,
    K: i32,
}

impl<D: Device> KeepOp for Gpu<D> {
    fn keep(
        &mut self,
        blob: Extent,
        N: usize,
        y: &Self::Buf,          // (N, P, Q, K)
        units: &D::Buffer,      // (N, 3)
        signal: &mut Self::Buf, // (N, P, Q, K)
    ) -> Result<()> {
        let size = |name, size| int("keep", name, size);
        let geometry =
            Geometry { N: size("N", N)?, P: size("P", blob.H)?, Q: size("Q", blob.W)?, K: size("K", blob.C)? };
        check_bytes("keep", "units", units, N * 3 * size_of::<i32>())?;
        let kernel = self.choose(versions!("keep"));
        let launch = match self.version {
            Version::Naive => Launch::elementwise(kernel, N * blob.len(), 256)?,
            Version::Portable | Version::Gathering | Version::Fast => {
                launch_rows("keep", kernel, N * blob.H * blob.W, blob.C)?
            }
        };
        let args = [
            Arg::geometry(&geometry),
            y.read("keep", "y", N * blob.len())?,
            Arg::input(units),
            signal.write("keep", "signal", N * blob.len())?,
        ];
        self.device.launch(&launch, &args)
    }
}
