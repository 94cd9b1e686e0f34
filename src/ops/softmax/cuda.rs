//! Softmax with cross-entropy on a GPU: kernels/softmax.cu.

use bytemuck::{NoUninit, Pod, Zeroable};

use super::{LossSums, SoftmaxOp};
use crate::device::{Arg, Device, Launch};
use crate::error::Result;
use crate::ops::gpu::{Version, check_bytes, int, versions};
use crate::ops::{Gpu, Storage};

/// kernels/include/geometry/softmax.cuh.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Geometry {
    N: i32,
    C: i32,
}

impl Geometry {
    fn new(N: usize, C: usize) -> Result<Self> {
        Ok(Geometry { N: int("softmax", "N", N)?, C: int("softmax", "C", C)? })
    }
}

/// [`LossSums`] in a device's memory.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Tally {
    loss: f64,
    top1: u32,
    top5: u32,
}

impl<D: Device> Gpu<D> {
    /// A block of 4 warps to an image; naive, a thread.
    fn softmax_launch(&self, kernel: &'static str, N: usize) -> Result<Launch> {
        match self.version {
            Version::Naive => Launch::elementwise(kernel, N, 32),
            Version::Portable | Version::Gathering | Version::Fast => {
                Ok(Launch::linear(kernel, int("softmax", "N", N)? as u32, 128))
            }
        }
    }
}

impl<D: Device> SoftmaxOp for Gpu<D> {
    type Tally = D::Buffer; // one `Tally`
    type Posted = D::Download;

    fn alloc_tally(&self) -> Result<D::Buffer> {
        self.alloc_bytes(size_of::<Tally>())
    }

    fn post_tally(&mut self, tally: &D::Buffer) -> Result<D::Download> {
        self.device.download_later(tally, 0, size_of::<Tally>())
    }

    fn read_tally(&mut self, posted: D::Download) -> Result<LossSums> {
        let bytes = self.device.await_download(posted)?;
        let Tally { loss, top1, top5 } = bytemuck::pod_read_unaligned(&bytes);
        Ok(LossSums { loss, top1: top1 as usize, top5: top5 as usize })
    }

    fn softmax_loss(
        &mut self,
        N: usize,
        C: usize,
        z: &Self::Buf,              // (N, C)
        labels: &D::Buffer,         // (N)
        dz: Option<&mut Self::Buf>, // (N, C)
        tally: &mut D::Buffer,
    ) -> Result<()> {
        let geometry = Geometry::new(N, C)?;
        check_bytes("softmax", "labels", labels, N * size_of::<i32>())?;
        let kernels = if dz.is_some() { versions!("softmax_backward") } else { versions!("softmax_loss") };
        let launch = self.softmax_launch(self.choose(kernels), N)?;
        let shares = self.workspace.room(&self.device, N * size_of::<Tally>())?;
        let mut args = vec![Arg::geometry(&geometry), z.read("softmax", "z", N * C)?, Arg::input(labels)];
        if let Some(dz) = dz {
            args.push(dz.write("softmax", "dz", N * C)?);
        }
        args.push(Arg::output(shares));
        self.device.launch(&launch, &args)?;
        let args = [Arg::geometry(&geometry), Arg::input(shares), Arg::output(tally)];
        self.device.launch(&Launch::linear("softmax_sum_1", 1, 32), &args)
    }

    fn softmax(
        &mut self,
        N: usize,
        C: usize,
        z: &Self::Buf,     // (N, C)
        p: &mut Self::Buf, // (N, C)
    ) -> Result<()> {
        let geometry = Geometry::new(N, C)?;
        let launch = self.softmax_launch(self.choose(versions!("softmax_forward")), N)?;
        let args = [Arg::geometry(&geometry), z.read("softmax", "z", N * C)?, p.write("softmax", "p", N * C)?];
        self.device.launch(&launch, &args)
    }
}
