//! What an operation must do at least: arithmetic, and traffic with memory.
//!
//! Every operand is counted once, read or written, as if no cache held anything
//! from one operation to the next. A multiply-add is two operations; what
//! the memory-bound operations compute is not counted.

use crate::ops::conv::Conv;
use crate::ops::conv_pool_lrn::ConvPoolLrn;
use crate::ops::crop::Crop;
use crate::ops::linear::Linear;
use crate::ops::pool::Pool;
use crate::ops::roof::Roof;

/// Arithmetic and traffic of one call, in any precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations of matrix products and convolutions.
    pub flops: u64,
    /// Activations, parameters and gradients that are read or written.
    pub elements: u64,
    /// Single bytes that are read or written: records and switches.
    pub bytes: u64,
}

impl Cost {
    /// A convolution of `N` images, any of its three directions.
    pub fn conv(conv: &Conv, N: usize) -> Self {
        let maps = N * (conv.input().len() + conv.output().len());
        Cost { flops: 2 * N as u64 * conv.macs(), ..Cost::memory(maps + conv.weights() + conv.K) }
    }

    /// A convolution of `N` images with the pool and the normalisation behind it, forward: its own
    /// output stays where it is computed.
    pub fn conv_pool_lrn(layers: &ConvPoolLrn, N: usize) -> Self {
        let ConvPoolLrn { conv, pool, .. } = layers;
        let map = N * pool.output().len();
        let elements = N * conv.input().len() + conv.weights() + conv.K + 2 * map;
        Cost { elements: elements as u64, bytes: map as u64, ..Cost::conv(conv, N) }
    }

    /// A linear layer on `N` images, any of its three directions.
    pub fn linear(linear: &Linear, N: usize) -> Self {
        let Linear { inputs, outputs } = *linear;
        let elements = N * (inputs + outputs) + linear.weights() + outputs;
        Cost { flops: 2 * (N * linear.weights()) as u64, ..Cost::memory(elements) }
    }

    /// The weight gradient of a linear layer on `N` images with the update of its parameters: momentum and
    /// values are read and written.
    pub fn linear_sgd(linear: &Linear, N: usize) -> Self {
        let parameters = linear.weights() + linear.outputs;
        let elements = N * (linear.inputs + linear.outputs) + 4 * parameters;
        Cost { elements: elements as u64, ..Cost::linear(linear, N) }
    }

    /// Pooling or unpooling of `N` images.
    pub fn pool(pool: &Pool, N: usize) -> Self {
        let elements = N * (pool.input().len() + pool.output().len());
        Cost { bytes: (N * pool.output().len()) as u64, ..Cost::memory(elements) }
    }

    /// The input stage for `N` images: the crop's bytes, its mean once, the crop.
    pub fn crop(crop: &Crop, N: usize) -> Self {
        let pixels = N * crop.output.len();
        Cost { bytes: pixels as u64, ..Cost::memory(pixels + crop.output.len()) }
    }

    /// An operation that reads and writes `elements` elements and hardly computes.
    pub fn memory(elements: usize) -> Self {
        Cost { elements: elements as u64, ..Cost::default() }
    }

    /// The least seconds that it can take under `roof`: all arithmetic at the peak, or all
    /// traffic at the bandwidth. What stays in a cache from one operation to the next may be faster.
    pub fn floor(&self, roof: &Roof, element_bytes: usize) -> f64 {
        (self.flops as f64 / roof.flops).max(self.traffic(element_bytes) as f64 / roof.bandwidth)
    }

    /// Traffic in bytes, with elements of `element_bytes`.
    pub fn traffic(&self, element_bytes: usize) -> u64 {
        self.elements * element_bytes as u64 + self.bytes
    }
}

impl std::ops::Add for Cost {
    type Output = Cost;

    fn add(self, other: Cost) -> Cost {
        Cost {
            flops: self.flops + other.flops,
            elements: self.elements + other.elements,
            bytes: self.bytes + other.bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::lrn::Lrn;
    use crate::ops::pool::Rounding;
    use crate::tensor::Extent;

    #[test]
    fn counts_each_operand_once() {
        let conv = Conv::new(Extent::new(7, 5, 4), 6, (3, 3), 2, 1, 2).unwrap();
        assert_eq!(conv.output(), Extent::new(4, 3, 6));
        // 3 images, 4 x 3 positions, 6 filters of 3 x 3 x 2.
        assert_eq!(Cost::conv(&conv, 3).flops, 2 * 3 * 12 * 6 * 18);
        assert_eq!(Cost::conv(&conv, 3).traffic(4), 4 * (3 * (140 + 72) + 108 + 6));
        let pool = Pool::new(Extent::new(7, 5, 4), 3, 2, Rounding::Ceil).unwrap();
        assert_eq!(Cost::pool(&pool, 2).traffic(8), 8 * 2 * (140 + 24) + 2 * 24);
        let on_conv = Pool::new(conv.output(), 3, 1, Rounding::Ceil).unwrap();
        let layers = ConvPoolLrn { conv, relu: true, pool: on_conv, lrn: Lrn::default() };
        // x, w, b, then two maps of 2 x 1 x 6 and their switches.
        let [flops, elements] = [2 * 3 * 12 * 6 * 18, 3 * 140 + 108 + 6 + 2 * 3 * 12];
        assert_eq!(Cost::conv_pool_lrn(&layers, 3), Cost { flops, elements, bytes: 3 * 12 });
        let linear = Linear { inputs: 5, outputs: 7 };
        assert_eq!(Cost::linear(&linear, 2), Cost { flops: 140, elements: 2 * 12 + 35 + 7, bytes: 0 });
        assert_eq!(Cost::linear_sgd(&linear, 2), Cost { flops: 140, elements: 2 * 12 + 4 * 42, bytes: 0 });
    }
}
