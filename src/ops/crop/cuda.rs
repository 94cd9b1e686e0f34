//! The input stage on a GPU: kernels/crop.cu.

use bytemuck::NoUninit;

use super::{Crop, CropOp};
use crate::device::{Arg, Device, Launch};
use crate::error::Result;
use crate::ops::Gpu;
use crate::ops::gpu::{Number, Version, check_bytes, int, launch_rows, versions};

/// kernels/include/geometry/crop.cuh.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Geometry {
    N: i32,
    record: i32,
    H: i32,
    W: i32,
    C: i32,
    pitch: i32,
}

impl Geometry {
    fn new(crop: &Crop, N: usize, pitch: usize) -> Result<Self> {
        let size = |name, size| int("crop", name, size);
        Ok(Geometry {
            N: size("N", N)?,
            record: size("a record's side", crop.record)?,
            H: size("H", crop.output.H)?,
            W: size("W", crop.output.W)?,
            C: size("C", crop.output.C)?,
            pitch: size("a pixel", pitch)?,
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
        let (record, output, pitch) = (crop.input().len(), crop.output, y.pitch(crop.output.C));
        let geometry = Geometry::new(crop, N, pitch)?;
        check_bytes("crop", "images", images, N * record)?;
        check_bytes("crop", "windows", windows, N * 3 * size_of::<i32>())?;
        let launch = if pitch > output.C {
            let kernel = match self.number() {
                Number::F32 => "crop_forward_3_f32",
                Number::Bf16 => "crop_forward_3_bf16",
            };
            // Four elements a thread.
            launch_rows("crop", kernel, N * output.H, output.W * pitch / 4)?
        } else {
            let kernel = self.choose(versions!("crop_forward"));
            match self.version {
                Version::Naive => Launch::elementwise(kernel, N * output.len(), 256)?,
                Version::Portable | Version::Gathering | Version::Fast => {
                    launch_rows("crop", kernel, N * output.H, output.W * output.C)?
                }
            }
        };
        let args = [
            Arg::geometry(&geometry),
            Arg::input(images),
            Arg::input(windows),
            mean.read("crop", "mean", record)?,
            y.write_images("crop", "y", N, output)?,
        ];
        self.device.launch(&launch, &args)
    }
}
