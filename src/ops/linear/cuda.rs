//! Fully connected layers on a GPU: kernels/linear.cu.

use bytemuck::NoUninit;

use super::{Linear, LinearOp};
use crate::device::{Arg, Device, Launch};
use crate::error::Result;
use crate::ops::Gpu;
use crate::ops::gpu::{Version, int, versions};
use crate::ops::product::{Bulk, Cut, Direction, Product, ProductSize, Split, products, whole_tiles};

/// A batch gives few tiles of outputs, each a long sum: blocks wanted for a multiprocessor. One
/// keeps its copies from memory going; each more writes all outputs once more.
const CUT: Cut = Cut { blocks: 1, fills: false };

/// kernels/include/geometry/linear.cuh.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
pub(in crate::ops) struct Geometry {
    N: i32,
    inputs: i32,
    outputs: i32,
    relu: i32,
    splits: i32,
    split_steps: i32,
}

impl Linear {
    /// The matrix product that a direction is, of `N` images.
    pub(crate) fn product(&self, N: usize, direction: Direction) -> Product {
        let Linear { inputs, outputs } = *self;
        let size = |rows, columns, depth| ProductSize { rows, columns, depth, parts: 1 };
        match direction {
            Direction::Fprop => Product {
                kernels: products!("linear_fprop"),
                size: size(N, outputs, inputs),
                cut: Some(CUT),
                bulk: Bulk::default(),
            },
            Direction::Dgrad => Product {
                kernels: products!("linear_dgrad"),
                size: size(N, inputs, outputs),
                cut: Some(CUT),
                bulk: Bulk::default(),
            },
            Direction::Wgrad => Product {
                kernels: products!("linear_wgrad"),
                size: size(outputs, inputs, N),
                cut: None,
                bulk: Bulk::default(),
            },
        }
    }
}

impl Geometry {
    pub(in crate::ops) fn new(op: &'static str, linear: &Linear, N: usize, relu: bool, split: Split) -> Result<Self> {
        let size = |name, size| whole_tiles(op, name, size);
        Ok(Geometry {
            N: size("N", N)?,
            inputs: size("in", linear.inputs)?,
            outputs: size("out", linear.outputs)?,
            relu: relu.into(),
            splits: int(op, "splits", split.splits)?,
            split_steps: int(op, "steps", split.steps)?,
        })
    }
}

impl<D: Device> LinearOp for Gpu<D> {
    fn linear_fprop(
        &mut self,
        linear: &Linear,
        N: usize,
        x: &Self::Buf,    // (N, in)
        w: &Self::Buf,    // (out, in)
        bias: &Self::Buf, // (out)
        relu: bool,
        y: &mut Self::Buf, // (N, out)
    ) -> Result<()> {
        const OP: &str = "linear_fprop";
        let outputs = N * linear.outputs;
        let product = linear.product(N, Direction::Fprop);
        let tiling = self.tiling(&product)?;
        let split = tiling.split;
        let geometry = Geometry::new(OP, linear, N, relu, split)?;
        let x = x.read(OP, "x", N * linear.inputs)?;
        let w = w.read_rounded(OP, "w", linear.weights())?;
        let bias = || bias.read(OP, "bias", linear.outputs);
        if self.version == Version::Naive {
            let naive = Launch::elementwise(product.kernels.naive, outputs, 256)?;
            return self.device.launch(&naive, &[Arg::geometry(&geometry), x, w, bias()?, y.write(OP, "y", outputs)?]);
        }
        let sum = Launch::elementwise(self.choose(versions!("linear_fprop_sum")), outputs, 256)?;
        let product = self.product(&tiling, product.size, split.splits, 1)?;
        let sums = self.workspace.room(&self.device, split.bytes(outputs))?;
        let to = y.write(OP, "y", outputs)?;
        self.device.launch(&product, &[Arg::geometry(&geometry), x, w, bias()?, to, Arg::output(sums)])?;
        if split.splits == 1 {
            return Ok(());
        }
        let to = y.write(OP, "y", outputs)?;
        self.device.launch(&sum, &[Arg::geometry(&geometry), Arg::input(sums), bias()?, to])
    }

    fn linear_dgrad(
        &mut self,
        linear: &Linear,
        N: usize,
        dy: &Self::Buf,     // (N, out)
        w: &Self::Buf,      // (out, in)
        dx: &mut Self::Buf, // (N, in)
    ) -> Result<()> {
        const OP: &str = "linear_dgrad";
        let inputs = N * linear.inputs;
        let product = linear.product(N, Direction::Dgrad);
        let tiling = self.tiling(&product)?;
        let split = tiling.split;
        let geometry = Geometry::new(OP, linear, N, false, split)?;
        let dy = dy.read(OP, "dy", N * linear.outputs)?;
        let w = w.read_rounded(OP, "w", linear.weights())?;
        if self.version == Version::Naive {
            let naive = Launch::elementwise(product.kernels.naive, inputs, 256)?;
            return self.device.launch(&naive, &[Arg::geometry(&geometry), dy, w, dx.write(OP, "dx", inputs)?]);
        }
        let sum = Launch::elementwise(self.choose(versions!("linear_dgrad_sum")), inputs, 256)?;
        let product = self.product(&tiling, product.size, split.splits, 1)?;
        let sums = self.workspace.room(&self.device, split.bytes(inputs))?;
        let to = dx.write(OP, "dx", inputs)?;
        self.device.launch(&product, &[Arg::geometry(&geometry), dy, w, to, Arg::output(sums)])?;
        if split.splits == 1 {
            return Ok(());
        }
        self.device.launch(&sum, &[Arg::geometry(&geometry), Arg::input(sums), dx.write(OP, "dx", inputs)?])
    }

    fn linear_wgrad(
        &mut self,
        linear: &Linear,
        N: usize,
        x: &Self::Buf,         // (N, in)
        dy: &Self::Buf,        // (N, out)
        dw: &mut Self::Buf,    // (out, in)
        dbias: &mut Self::Buf, // (out)
    ) -> Result<()> {
        const OP: &str = "linear_wgrad";
        let product = linear.product(N, Direction::Wgrad);
        let geometry = Geometry::new(OP, linear, N, false, Split::ONE)?;
        let launch = match self.version {
            Version::Naive => Launch::elementwise(product.kernels.naive, linear.weights(), 256)?,
            Version::Portable | Version::Gathering | Version::Fast => {
                self.product(&self.tiling(&product)?, product.size, 1, 1)?
            }
        };
        let args = [
            Arg::geometry(&geometry),
            x.read(OP, "x", N * linear.inputs)?,
            dy.read(OP, "dy", N * linear.outputs)?,
            dw.write(OP, "dw", linear.weights())?,
            dbias.write(OP, "dbias", linear.outputs)?,
        ];
        self.device.launch(&launch, &args)
    }
}
