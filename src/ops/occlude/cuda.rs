//! Occluded copies on a GPU: kernels/occlude.cu.

use bytemuck::NoUninit;

use super::OccludeOp;
use crate::device::{Arg, Device, Launch};
use crate::error::Result;
use crate::ops::Gpu;
use crate::ops::gpu::{Version, check_bytes, int, launch_rows, versions};
use crate::tensor::Extent;

/// kernels/include/geometry/occlude.cuh.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Geometry {
    N: i32,
    H: i32,
    W: i32,
    C: i32,
}

impl<D: Device> OccludeOp for Gpu<D> {
    fn occlude(
        &mut self,
        image: Extent,
        M: usize,
        N: usize,
        x: &Self::Buf,      // (M, H, W, C)
        z: &Self::Buf,      // (H, W, C)
        copies: &D::Buffer, // (N, 5)
        y: &mut Self::Buf,  // (N, H, W, C)
    ) -> Result<()> {
        let size = |name, size| int("occlude", name, size);
        let geometry =
            Geometry { N: size("N", N)?, H: size("H", image.H)?, W: size("W", image.W)?, C: size("C", image.C)? };
        check_bytes("occlude", "copies", copies, N * 5 * size_of::<i32>())?;
        let kernel = self.choose(versions!("occlude"));
        let launch = match self.version {
            Version::Naive => Launch::elementwise(kernel, N * image.len(), 256)?,
            Version::Portable | Version::Gathering | Version::Fast => {
                launch_rows("occlude", kernel, N * image.H, image.W * image.C)?
            }
        };
        let args = [
            Arg::geometry(&geometry),
            x.read("occlude", "x", M * image.len())?,
            z.read("occlude", "z", image.len())?,
            Arg::input(copies),
            y.write("occlude", "y", N * image.len())?,
        ];
        self.device.launch(&launch, &args)
    }
}
