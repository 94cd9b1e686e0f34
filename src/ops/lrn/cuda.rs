//! Normalisation on a GPU: kernels/lrn.cu.

use bytemuck::NoUninit;

use super::{Lrn, LrnOp};
use crate::device::{Arg, Device, Launch};
use crate::error::Result;
use crate::ops::Gpu;
use crate::ops::gpu::{Version, int, versions};

/// kernels/include/geometry/lrn.cuh.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
pub(in crate::ops) struct Geometry {
    rows: i32,
    C: i32,
    below: i32,
    above: i32,
    k: f32,
    scale: f32,
    beta: f32,
}

impl Geometry {
    pub(in crate::ops) fn new(lrn: &Lrn, rows: usize, C: usize) -> Result<Self> {
        let size = |name, size| int("lrn", name, size);
        Ok(Geometry {
            rows: size("N H W", rows)?,
            C: size("C", C)?,
            below: size("n", lrn.n / 2)?,
            above: size("n", (lrn.n - 1) / 2)?,
            k: lrn.k as f32,
            scale: lrn.scale() as f32,
            beta: lrn.beta as f32,
        })
    }
}

impl<D: Device> Gpu<D> {
    /// A warp to a row, with `rows_of_shared` rows of f32 in shared memory; naive, a thread to an element.
    fn lrn_launch(&self, kernel: &'static str, rows: usize, C: usize, rows_of_shared: usize) -> Result<Launch> {
        if self.version == Version::Naive {
            return Launch::elementwise(kernel, rows * C, 256);
        }
        let warp_bytes = rows_of_shared * C * size_of::<f32>();
        // As many warps as fit the shared memory that every GPU gives unasked.
        let warps = (48 * 1024 / warp_bytes.max(1)).clamp(1, 8);
        let blocks = Launch::elementwise(kernel, rows, warps as u32)?.grid;
        Ok(Launch { kernel, grid: blocks, block: [32 * warps as u32, 1, 1], shared: warps * warp_bytes })
    }
}

impl<D: Device> LrnOp for Gpu<D> {
    fn lrn_forward(
        &mut self,
        lrn: &Lrn,
        rows: usize,
        C: usize,
        a: &Self::Buf,     // (rows, C)
        b: &mut Self::Buf, // (rows, C)
    ) -> Result<()> {
        let geometry = Geometry::new(lrn, rows, C)?;
        let launch = self.lrn_launch(self.choose(versions!("lrn_forward")), rows, C, 1)?;
        let args = [Arg::geometry(&geometry), a.read("lrn", "a", rows * C)?, b.write("lrn", "b", rows * C)?];
        self.device.launch(&launch, &args)
    }

    fn lrn_backward(
        &mut self,
        lrn: &Lrn,
        rows: usize,
        C: usize,
        a: &Self::Buf,      // (rows, C)
        db: &Self::Buf,     // (rows, C)
        da: &mut Self::Buf, // (rows, C)
    ) -> Result<()> {
        let geometry = Geometry::new(lrn, rows, C)?;
        let launch = self.lrn_launch(self.choose(versions!("lrn_backward")), rows, C, 3)?;
        let args = [
            Arg::geometry(&geometry),
            a.read("lrn", "a", rows * C)?,
            db.read("lrn", "db", rows * C)?,
            da.write("lrn", "da", rows * C)?,
        ];
        self.device.launch(&launch, &args)
    }
}
