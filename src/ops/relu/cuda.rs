//! ReLU going down on a GPU: kernels/relu.cu.

use bytemuck::NoUninit;

use super::{ReluOp, ReluRule};
use crate::device::{Arg, Device, Launch};
use crate::error::Result;
use crate::ops::Gpu;
use crate::ops::gpu::{Version, versions};

/// kernels/include/geometry/relu.cuh.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Geometry {
    len: u64,
    by_output: i32,
    by_signal: i32,
}

impl<D: Device> ReluOp for Gpu<D> {
    fn relu_backward(
        &mut self,
        rule: ReluRule,
        len: usize,
        y: &Self::Buf,          // (len)
        signal: &mut Self::Buf, // (len)
    ) -> Result<()> {
        let (by_output, by_signal) = match rule {
            ReluRule::Gradient => (1, 0),
            ReluRule::Deconvnet => (0, 1),
            ReluRule::Guided => (1, 1),
        };
        let geometry = Geometry { len: len as u64, by_output, by_signal };
        let per_thread = if self.version == Version::Naive { 1 } else { 16 / self.number().bytes() };
        let launch = Launch::elementwise(self.choose(versions!("relu_backward")), len.div_ceil(per_thread), 256)?;
        let args = [Arg::geometry(&geometry), y.read("relu", "y", len)?, signal.write("relu", "signal", len)?];
        self.device.launch(&launch, &args)
    }
}
