//! Features to mean 0 and length 1.
//!
//! ```text
//! x' = s (x - mu),   mu = mean of the training images,   1/s^2 = mean of |x - mu|^2
//! ```
//!
//! One factor for all features: the geometry stays, and the same C means the same in every
//! layer, whatever its size and scale. A classifier whose bias is free does not notice the
//! shift; one whose bias is regularised does, and without it would have to spend its weights
//! on the mean, which in rectified features is most of their length.

use std::ops::Range;

use rayon::prelude::*;

use crate::transfer::features::Matrix;

/// Columns that one task takes.
const COLUMNS: usize = 1 << 12;

/// What is subtracted from features, and what they are multiplied with.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaling {
    /// Mean of the training images, mu: (d).
    pub mean: Vec<f32>,
    /// Factor, s.
    pub factor: f32,
}

impl Scaling {
    /// That of the images `rows`. Where they are all alike the factor is 1.
    pub fn fit(x: Matrix<'_>, rows: &[usize]) -> Self {
        let n = rows.len() as f64;
        let mut mean = vec![0f32; x.d];
        mean.par_chunks_mut(COLUMNS).enumerate().for_each(|(chunk, mean)| {
            let mut sums = vec![0f64; mean.len()];
            for &i in rows {
                let row = &x.row(i)[chunk * COLUMNS..][..mean.len()];
                sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
            }
            mean.iter_mut().zip(sums).for_each(|(mean, sum)| *mean = (sum / n) as f32);
        });
        let square = |i: &usize| x.row(*i).iter().zip(&mean).map(|(&v, &m)| f64::from(v - m).powi(2)).sum::<f64>();
        // Collected first, so that no order of the threads shows in the sum.
        let squares: Vec<f64> = rows.par_iter().map(square).collect();
        let square = squares.iter().sum::<f64>() / n;
        let factor = if square > 0.0 { (1.0 / square.sqrt()) as f32 } else { 1.0 };
        Scaling { mean, factor }
    }

    /// Columns `columns` of the images `rows`, scaled: (rows, columns).
    pub fn gather(&self, x: Matrix<'_>, rows: &[usize], columns: Range<usize>) -> Vec<f32> {
        let mut out = vec![0f32; rows.len() * columns.len()];
        let mean = &self.mean[columns.clone()];
        out.par_chunks_mut(columns.len().max(1)).zip(rows).for_each(|(out, &i)| {
            for ((out, &value), &mean) in out.iter_mut().zip(&x.row(i)[columns.clone()]).zip(mean) {
                *out = self.factor * (value - mean);
            }
        });
        out
    }
}
