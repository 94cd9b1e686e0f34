//! Fully connected layers on the CPU: matrix products by the `gemm` crate.

use rayon::prelude::*;

use crate::error::Result;
use crate::ops::Real;
use crate::ops::cpu::{Cpu, view, view_mut};
use crate::ops::linear::{Linear, LinearOp};

impl<T: Real> LinearOp for Cpu<T> {
    fn linear_fprop(
        &mut self,
        linear: &Linear,
        N: usize,
        x: &Vec<T>,
        w: &Vec<T>,
        bias: &Vec<T>,
        relu: bool,
        y: &mut Vec<T>,
    ) -> Result<()> {
        let Linear { inputs, outputs } = *linear;
        let x = view("linear_fprop", "x", x, N * inputs)?;
        let w = view("linear_fprop", "w", w, linear.weights())?;
        let bias = view("linear_fprop", "bias", bias, outputs)?;
        let y = view_mut("linear_fprop", "y", y, N * outputs)?;
        // As y^T = w x^T: gemm then reads the large matrix w where it lies.
        product([outputs, N, inputs], (y, [1, outputs]), (w, [inputs, 1]), (x, [1, inputs]));
        y.par_chunks_mut(outputs).for_each(|y| {
            for (y, b) in y.iter_mut().zip(bias) {
                *y += *b;
                if relu && *y < T::ZERO {
                    *y = T::ZERO;
                }
            }
        });
        Ok(())
    }

    fn linear_dgrad(&mut self, linear: &Linear, N: usize, dy: &Vec<T>, w: &Vec<T>, dx: &mut Vec<T>) -> Result<()> {
        let Linear { inputs, outputs } = *linear;
        let dy = view("linear_dgrad", "dy", dy, N * outputs)?;
        let w = view("linear_dgrad", "w", w, linear.weights())?;
        let dx = view_mut("linear_dgrad", "dx", dx, N * inputs)?;
        product([inputs, N, outputs], (dx, [1, inputs]), (w, [1, inputs]), (dy, [1, outputs]));
        Ok(())
    }

    fn linear_wgrad(
        &mut self,
        linear: &Linear,
        N: usize,
        x: &Vec<T>,
        dy: &Vec<T>,
        dw: &mut Vec<T>,
        dbias: &mut Vec<T>,
    ) -> Result<()> {
        let Linear { inputs, outputs } = *linear;
        let x = view("linear_wgrad", "x", x, N * inputs)?;
        let dy = view("linear_wgrad", "dy", dy, N * outputs)?;
        let dw = view_mut("linear_wgrad", "dw", dw, linear.weights())?;
        let dbias = view_mut("linear_wgrad", "dbias", dbias, outputs)?;
        product([inputs, outputs, N], (dw, [1, inputs]), (x, [1, inputs]), (dy, [outputs, 1]));
        dbias.fill(T::ZERO);
        for dy in dy.chunks_exact(outputs) {
            dbias.iter_mut().zip(dy).for_each(|(db, dy)| *db += *dy);
        }
        Ok(())
    }
}

/// A matrix as a slice with its strides (rows, columns).
type Strided<S> = (S, [usize; 2]);

/// c = a b for c (m, n), a (m, k), b (k, n).
fn product<T: Real>([m, n, k]: [usize; 3], c: Strided<&mut [T]>, a: Strided<&[T]>, b: Strided<&[T]>) {
    let reaches =
        |[rows, columns]: [usize; 2], strides: [usize; 2]| (rows - 1) * strides[0] + (columns - 1) * strides[1];
    assert!(reaches([m, n], c.1) < c.0.len() && reaches([m, k], a.1) < a.0.len() && reaches([k, n], b.1) < b.0.len());
    // SAFETY: the assertion bounds every element that the strides address inside
    // its slice; c is borrowed mutably, so it overlaps neither a nor b.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.0.as_mut_ptr(),
            c.1[1] as isize,
            c.1[0] as isize,
            false,
            a.0.as_ptr(),
            a.1[1] as isize,
            a.1[0] as isize,
            b.0.as_ptr(),
            b.1[1] as isize,
            b.1[0] as isize,
            T::ZERO,
            T::of(1.0),
            false,
            false,
            false,
            gemm::Parallelism::Rayon(0),
        );
    }
}
