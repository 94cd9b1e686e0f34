//! The weight gradient of a linear layer with its update on a GPU: kernels/linear_sgd.cu.

use bytemuck::NoUninit;

use super::{LinearSgdOp, Trained};
use crate::device::{Arg, Device, Launch};
use crate::error::Result;
use crate::ops::Gpu;
use crate::ops::gpu::Version;
use crate::ops::linear::{Linear, cuda::Geometry as LinearGeometry};
use crate::ops::product::{Direction, Product, Split, products};

/// kernels/include/geometry/linear_sgd.cuh.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Geometry {
    linear: LinearGeometry,
    decays: i32,
    bias_decays: i32,
}

impl<D: Device> LinearSgdOp for Gpu<D> {
    fn linear_wgrad_sgd(
        &mut self,
        linear: &Linear,
        N: usize,
        x: &Self::Buf,  // (N, in)
        dy: &Self::Buf, // (N, out)
        scalars: &D::Buffer,
        weights: Trained<'_, Self::Buf>, // (out, in)
        biases: Trained<'_, Self::Buf>,  // (out)
    ) -> Result<()> {
        const OP: &str = "linear_wgrad_sgd";
        let Linear { inputs, outputs } = *linear;
        let product = Product { kernels: products!("linear_sgd_wgrad"), ..linear.product(N, Direction::Wgrad) };
        let launch = match self.version {
            Version::Naive => Launch::elementwise(product.kernels.naive, linear.weights(), 256)?,
            Version::Portable | Version::Gathering | Version::Fast => {
                self.product(&self.tiling(&product)?, product.size, 1, 1)?
            }
        };
        let geometry = Geometry {
            linear: LinearGeometry::new(OP, linear, N, false, Split::ONE)?,
            decays: weights.decays.into(),
            bias_decays: biases.decays.into(),
        };
        let (w, copy) = weights.w.write_both(OP, "w", linear.weights())?;
        let mut args = vec![
            Arg::geometry(&geometry),
            Arg::input(scalars),
            x.read(OP, "x", N * inputs)?,
            dy.read(OP, "dy", N * outputs)?,
            w,
            weights.v.write(OP, "the momentum of w", linear.weights())?,
        ];
        args.extend(copy);
        args.push(biases.w.write(OP, "bias", outputs)?);
        args.push(biases.v.write(OP, "the momentum of bias", outputs)?);
        self.device.launch(&launch, &args)
    }
}
