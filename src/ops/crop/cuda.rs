//! The input stage on a GPU: kernels/crop.cu.

use bytemuck::NoUninit;

use super::{Crop, CropOp};
use crate::device::{Arg, Device, Launch};
use crate::error::Result;
use crate::ops::Gpu;
use crate::ops::gpu::{Version, check_bytes, int, launch_rows, versions};

/// kernels/include/geometry/crop.cuh.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Geometry {
    N: i32,
    record: i32,
    H: i32,
    W: i32,
    C: i32,
}

impl Geometry {
    fn new(crop: &Crop, N: usize) -> Result<Self> {
        let size = |name, size| int("crop", name, size);
        Ok(Geometry {
            N: size("N", N)?,
            record: size("a record's side", crop.record)?,
            H: size("H", crop.output.H)?,
            W: size("W", crop.output.W)?,
            C: size("C", crop.output.C)?,
        })
    }
}

impl<D: Device> CropOp for Gpu<D> {
    /// The windows stay on the device unseen: that they lie inside the records is up to the caller.
    fn crop_forward(
        &mut self,
        crop: &Crop,
        N: usize,
        images: &D::Buffer,  // (N, record, record, C)
        windows: &D::Buffer, // (N, 3): top, left, 1 if flipped
        mean: &Self::Buf,    // (record, record, C)
        y: &mut Self::Buf,   // (N, H, W, C)
    ) -> Result<()> {
        let geometry = Geometry::new(crop, N)?;
        let (record, output) = (crop.input().len(), crop.output.len());
        check_bytes("crop", "images", images, N * record)?;
        check_bytes("crop", "windows", windows, N * 3 * size_of::<i32>())?;
        let kernel = self.choose(versions!("crop_forward"));
        let launch = match self.version {
            Version::Naive => Launch::elementwise(kernel, N * output, 256)?,
            Version::Portable | Version::Gathering | Version::Fast => {
                launch_rows("crop", kernel, N * crop.output.H, crop.output.W * crop.output.C)?
            }
        };
        let args = [
            Arg::geometry(&geometry),
            Arg::input(images),
            Arg::input(windows),
            mean.read("crop", "mean", record)?,
            y.write("crop", "y", N * output)?,
        ];
        self.device.launch(&launch, &args)
    }
}
