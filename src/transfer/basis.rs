//! Coordinates of the training images in which a classifier is trained.
//!
//! The classifiers know features only through inner products with their weights, and the
//! weights that minimise loss + |w|^2/2 lie in the span of the n training images (the
//! representer theorem: a component across it costs length and changes no score). In an
//! orthonormal basis Q (r, d) of that span, r <= n,
//!
//! ```text
//! x'_i = z_i Q,  w = v Q:   w . x'_i = v . z_i,  |w| = |v|
//! ```
//!
//! so both classifiers can be trained on z (n, r) in place of x' (n, d), exactly, however many
//! features there are: ZFNet's layer 1 has 290,400. Q itself is never made. The Gram matrix
//! G = x' x'^T = z z^T is one product over all features; its Cholesky factorisation with
//! pivoting gives z, lower triangular in the order of the pivots p:
//!
//! ```text
//! x'_p = z_p Q   =>   w = v Q = (z_p^-T v)^T x'_p
//! ```
//!
//! It stops where what is left of every image is shorter than a thousandth of the mean
//! length: duplicates and directions that f32 does not resolve. To move a score by 1 along
//! such a direction takes |w|^2/2 = 500,000, which no C of the grid pays for.
//! Where d <= n the features themselves are the coordinates.

use rayon::prelude::*;

use crate::error::Result;
use crate::ops::Backend;
use crate::transfer::product::{Scaled, combine, gram};

/// Square of the length at which an image counts as spanned by the others, in units of the
/// mean square: above the error of the Gram matrix, which is some 1e-8.
const TOLERANCE: f64 = 1e-6;

/// The training images in their coordinates.
pub struct Basis {
    /// Coordinates: (n, r).
    pub z: Vec<f64>,
    /// Number of coordinates.
    pub r: usize,
    /// Training images that span the rest, in the order of the coordinates; `None` where the
    /// features are the coordinates.
    pivots: Option<Vec<usize>>,
}

impl Basis {
    /// Of the images `x`.
    pub fn new<B: Backend>(backend: &mut B, x: Scaled<'_>) -> Result<Self> {
        let (n, d) = (x.rows.len(), x.x.d);
        if d <= n {
            let z = x.scaling.gather(x.x, x.rows, 0..d).into_iter().map(f64::from).collect();
            return Ok(Basis { z, r: d, pivots: None });
        }
        let (z, pivots) = cholesky(&gram(backend, x)?, n);
        if pivots.is_empty() {
            // Images that are all alike span nothing; one coordinate that is 0 says so.
            return Ok(Basis { z: vec![0.0; n], r: 1, pivots: Some(pivots) });
        }
        Ok(Basis { z, r: pivots.len(), pivots: Some(pivots) })
    }

    /// Coordinates of the training images at `positions`: (positions, r).
    pub fn some(&self, positions: &[usize]) -> Vec<f64> {
        positions.iter().flat_map(|&i| &self.z[i * self.r..][..self.r]).copied().collect()
    }

    /// Weights on the features, (C, d), from those on the coordinates. `x` are the images that
    /// the basis is of.
    pub fn weights<B: Backend>(
        &self,
        backend: &mut B,
        x: Scaled<'_>,
        v: &[f64], // (C, r)
        C: usize,
    ) -> Result<Vec<f32>> {
        let r = self.r;
        let Some(pivots) = &self.pivots else { return Ok(v.iter().map(|&v| v as f32).collect()) };
        if pivots.is_empty() {
            return Ok(vec![0.0; C * x.x.d]);
        }
        // z_p^T a = v, from the last coordinate to the first.
        let solved: Vec<Vec<f64>> = v
            .par_chunks_exact(r)
            .map(|v| {
                let mut a = v.to_vec();
                for k in (0..r).rev() {
                    let row = &self.z[pivots[k] * r..][..=k];
                    a[k] /= row[k];
                    let at = a[k];
                    a[..k].iter_mut().zip(row).for_each(|(a, z)| *a -= z * at);
                }
                a
            })
            .collect();
        let a: Vec<f32> = (0..r).flat_map(|k| solved.iter().map(move |a| a[k] as f32)).collect(); // (r, C)
        let rows: Vec<usize> = pivots.iter().map(|&p| x.rows[p]).collect();
        combine(backend, Scaled { rows: &rows, ..x }, &a, C)
    }
}

/// z (n, r) with z z^T = G up to `TOLERANCE`, and the pivots: in their order z is lower
/// triangular with a positive diagonal.
pub fn cholesky(
    G: &[f64], // (n, n)
    n: usize,
) -> (Vec<f64>, Vec<usize>) {
    let mut left: Vec<f64> = (0..n).map(|i| G[i * n + i]).collect();
    let floor = TOLERANCE * left.iter().sum::<f64>() / n.max(1) as f64;
    let mut pivots: Vec<usize> = Vec::new();
    let mut z = vec![0f64; n * n];
    let mut pivot_row = Vec::new();
    for k in 0..n {
        let longest = (0..n).max_by(|&a, &b| left[a].total_cmp(&left[b]).then(b.cmp(&a)));
        let Some(p) = longest.filter(|&p| left[p] > floor) else { break };
        let diagonal = left[p].sqrt();
        pivot_row.clear();
        pivot_row.extend_from_slice(&z[p * n..][..k]);
        let pivot_row = &pivot_row[..];
        z.par_chunks_exact_mut(n).zip(&mut left).enumerate().for_each(|(i, (z, left))| {
            // Pivots have nothing left: what rounding says they had must not become a coordinate.
            if *left > 0.0 {
                let dot: f64 = z[..k].iter().zip(pivot_row).map(|(a, b)| a * b).sum();
                z[k] = if i == p { diagonal } else { (G[i * n + p] - dot) / diagonal };
                *left = if i == p { 0.0 } else { (*left - z[k] * z[k]).max(f64::MIN_POSITIVE) };
            }
        });
        pivots.push(p);
    }
    let r = pivots.len();
    let z = z.chunks_exact(n.max(1)).flat_map(|row| &row[..r]).copied().collect();
    (z, pivots)
}
