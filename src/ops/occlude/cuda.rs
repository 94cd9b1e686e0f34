//! Occluded copies on a GPU: kernels/occlude.cu.

use bytemuck::NoUninit;

use super::OccludeOp;
use crate::device::{Arg, Device, Launch};
use crate::error::{Error, Result};
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
    /// From one pixel to the next.
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
        // Where pixels are padded, what is behind their channels is copied too.
        let C = y.pitch(image.C);
        if [x, z].map(|buffer| buffer.pitch(image.C)) != [C; 2] {
            let [x, z] = [x, z].map(|buffer| buffer.pitch(image.C));
            return Err(Error::shape(
                "occlude",
                format!("the pixels of x, z and y lie {x}, {z} and {C} elements apart: allocate all for images"),
            ));
        }
        let geometry = Geometry { N: size("N", N)?, H: size("H", image.H)?, W: size("W", image.W)?, C: size("C", C)? };
        check_bytes("occlude", "copies", copies, N * 5 * size_of::<i32>())?;
        let kernel = self.choose(versions!("occlude"));
        let launch = match self.version {
            Version::Naive => Launch::elementwise(kernel, N * image.H * image.W * C, 256)?,
            Version::Portable | Version::Gathering | Version::Fast => {
                launch_rows("occlude", kernel, N * image.H, image.W * C)?
            }
        };
        let args = [
            Arg::geometry(&geometry),
            x.read_images("occlude", "x", M, image)?,
            z.read_images("occlude", "z", 1, image)?,
            Arg::input(copies),
            y.write_images("occlude", "y", N, image)?,
        ];
        self.device.launch(&launch, &args)
    }
}
