//! Occluded copies on the CPU: a copy is a task.

use rayon::prelude::*;

use super::OccludeOp;
use crate::error::{Error, Result};
use crate::ops::cpu::{lead, lead_mut};
use crate::ops::{Cpu, Real};
use crate::tensor::Extent;

impl<T: Real> OccludeOp for Cpu<T> {
    fn occlude(
        &mut self,
        image: Extent,
        M: usize,
        N: usize,
        x: &Vec<T>,        // (M, H, W, C)
        z: &Vec<T>,        // (H, W, C)
        copies: &Vec<i32>, // (N, 5)
        y: &mut Vec<T>,    // (N, H, W, C)
    ) -> Result<()> {
        let len = image.len();
        let (x, z) = (lead("occlude", "x", x, M * len)?, lead("occlude", "z", z, len)?);
        let copies = lead("occlude", "copies", copies, N * 5)?;
        let y = lead_mut("occlude", "y", y, N * len)?;
        y.par_chunks_exact_mut(len.max(1)).zip(copies.par_chunks_exact(5)).try_for_each(|(y, copy)| {
            let [m, top, left, height, width] = numbers(copy, M)?;
            y.copy_from_slice(&x[m * len..(m + 1) * len]);
            let columns = left.min(image.W)..left.saturating_add(width).min(image.W);
            for h in top.min(image.H)..top.saturating_add(height).min(image.H) {
                let row = (h * image.W + columns.start) * image.C..(h * image.W + columns.end) * image.C;
                y[row.clone()].copy_from_slice(&z[row]);
            }
            Ok(())
        })
    }
}

/// What a copy is made of: m below `M`, and a rectangle.
fn numbers(copy: &[i32], M: usize) -> Result<[usize; 5]> {
    let mut found = [0; 5];
    for (found, &given) in found.iter_mut().zip(copy) {
        *found = usize::try_from(given)
            .map_err(|_| Error::shape("occlude", format!("copy {copy:?} has a number below 0")))?;
    }
    match found[0] < M {
        true => Ok(found),
        false => Err(Error::shape("occlude", format!("copy {copy:?} is of image {}, and there are {M}", found[0]))),
    }
}
