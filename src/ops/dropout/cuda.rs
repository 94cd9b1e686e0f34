//! Dropout on a GPU: kernels/dropout.cu.

use bytemuck::NoUninit;

use super::{Dropout, DropoutOp};
use crate::device::{Arg, Device, Launch};
use crate::error::Result;
use crate::ops::Gpu;
use crate::ops::gpu::{Version, versions};

/// kernels/include/geometry/dropout.cuh.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Geometry {
    len: u64,
    key: [u32; 2],
    tag: u32,
    threshold: u32,
    scale: f32,
    unused: u32,
}

impl<D: Device> DropoutOp for Gpu<D> {
    fn dropout(
        &mut self,
        dropout: &Dropout,
        scalars: &Self::Scalars,
        len: usize,
        x: &mut Self::Buf, // (len)
    ) -> Result<()> {
        let (key, tag) = dropout.stream.key_and_tag();
        let (threshold, scale) = (dropout.threshold(), dropout.scale() as f32);
        let geometry = Geometry { len: len as u64, key, tag, threshold, scale, unused: 0 };
        let per_thread = if self.version == Version::Naive { 1 } else { 4 };
        let launch = Launch::elementwise(self.choose(versions!("dropout_apply")), len.div_ceil(per_thread), 256)?;
        let args = [Arg::geometry(&geometry), Arg::input(scalars), x.write("dropout", "x", len)?];
        self.device.launch(&launch, &args)
    }
}
