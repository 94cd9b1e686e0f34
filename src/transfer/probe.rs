//! A classifier on the features of one layer: trained, its regularisation chosen, judged.
//!
//! For each C of the grid a classifier is trained on two thirds of the images of each class and
//! judged on the third; with the C that does best there, of equals the smallest, it is trained
//! on all of them. What it is judged on in the end plays no part in that.

use crate::error::Result;
use crate::ops::linear::{Linear, LinearOp};
use crate::ops::{Backend, Cpu};
use crate::transfer::basis::Basis;
use crate::transfer::features::Matrix;
use crate::transfer::lbfgs::{Minimum, minimise};
use crate::transfer::objective::{Classifier, Objective};
use crate::transfer::product::{Scaled, scores};
use crate::transfer::scaling::Scaling;
use crate::transfer::split::Examples;

/// The grid of C, in ascending order.
pub const COSTS: [f64; 7] = [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2];

/// Relative error of an objective that is allowed: see [`crate::transfer::lbfgs`].
pub const TOLERANCE: f64 = 1e-6;

/// One layer's features of one fold, ready for any classifier.
pub struct Probe<'a> {
    x: Matrix<'a>,
    examples: &'a Examples,
    C: usize,
    scaling: Scaling,
    basis: Basis,
}

/// A trained classifier.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// Which one.
    pub classifier: Classifier,
    /// C of its objective.
    pub cost: f64,
    /// Weights on the scaled features: (C, d).
    pub weights: Vec<f32>,
    /// Biases: (C).
    pub bias: Vec<f64>,
    /// Its objective on the features of all training images.
    pub objective: f64,
    /// Bound on how far above the minimum the optimiser left it, relative to it.
    pub gap: f64,
    /// Iterations of the last training.
    pub iterations: usize,
}

impl<'a> Probe<'a> {
    /// Of the features `x` of all images, for those to learn from and their classes below `C`.
    pub fn new<B: Backend>(backend: &mut B, x: Matrix<'a>, examples: &'a Examples, C: usize) -> Result<Self> {
        let scaling = Scaling::fit(x, &examples.rows);
        let basis = Basis::new(backend, Scaled { x, rows: &examples.rows, scaling: &scaling })?;
        Ok(Probe { x, examples, C, scaling, basis })
    }

    /// How features are scaled.
    pub fn scaling(&self) -> &Scaling {
        &self.scaling
    }

    /// The C of `costs` (ascending) that does best on the images held out, and its mean
    /// per-class accuracy there.
    pub fn choose(&self, classifier: Classifier, costs: &[f64]) -> Result<(f64, f64)> {
        let (learned, held) = self.examples.held_out();
        let (z, z_held) = (self.basis.some(&learned), self.basis.some(&held));
        let [labels, labels_held] = [&learned, &held].map(|part| self.classes_at(part));
        let mut best = (f64::NAN, f64::NEG_INFINITY);
        let mut start = None;
        for &cost in costs {
            let minimum = self.minimum(classifier, cost, &z, &labels, start.take())?;
            let accuracy = mean_accuracy(&self.scores(&z_held, &minimum.x)?, &labels_held, self.C);
            if accuracy > best.1 {
                best = (cost, accuracy);
            }
            // The next one's solution is not far.
            start = Some(minimum.x);
        }
        Ok(best)
    }

    /// Trains on all training images.
    pub fn fit<B: Backend>(&self, backend: &mut B, classifier: Classifier, cost: f64) -> Result<Fit> {
        let all: Vec<usize> = (0..self.examples.rows.len()).collect();
        let labels = self.classes_at(&all);
        let Minimum { x, gap, iterations, .. } = self.minimum(classifier, cost, &self.basis.z, &labels, None)?;
        let (v, bias) = x.split_at(self.C * self.basis.r);
        let images = Scaled { x: self.x, rows: &self.examples.rows, scaling: &self.scaling };
        let weights = self.basis.weights(backend, images, v, self.C)?;
        let z = self.scores_on_features(backend, &self.examples.rows, &weights, bias)?;
        let objective = classifier.objective(cost, &weights, bias, &z, &labels);
        Ok(Fit { classifier, cost, weights, bias: bias.to_vec(), objective, gap, iterations })
    }

    /// Mean per-class accuracy of `fit` on the images to judge by.
    pub fn judge<B: Backend>(&self, backend: &mut B, fit: &Fit, by: &Examples) -> Result<f64> {
        Ok(mean_accuracy(&self.scores_of(backend, fit, &by.rows)?, &by.labels, self.C))
    }

    /// Scores of `fit` for the images `rows`: (rows, C).
    pub fn scores_of<B: Backend>(&self, backend: &mut B, fit: &Fit, rows: &[usize]) -> Result<Vec<f64>> {
        self.scores_on_features(backend, rows, &fit.weights, &fit.bias)
    }

    /// Scores of the images `rows`: (rows, C).
    fn scores_on_features<B: Backend>(
        &self,
        backend: &mut B,
        rows: &[usize],
        weights: &[f32], // (C, d)
        bias: &[f64],    // (C)
    ) -> Result<Vec<f64>> {
        let images = Scaled { x: self.x, rows, scaling: &self.scaling };
        let mut z = scores(backend, images, weights, self.C)?;
        z.chunks_exact_mut(self.C).for_each(|z| z.iter_mut().zip(bias).for_each(|(z, b)| *z += b));
        Ok(z)
    }

    /// Classes of the training images at `positions`.
    fn classes_at(&self, positions: &[usize]) -> Vec<usize> {
        positions.iter().map(|&i| self.examples.labels[i]).collect()
    }

    fn minimum(
        &self,
        classifier: Classifier,
        cost: f64,
        z: &Vec<f64>, // (n, r)
        labels: &[usize],
        start: Option<Vec<f64>>,
    ) -> Result<Minimum> {
        let mut objective = Objective::new(classifier, cost, z, labels, self.C)?;
        let start = start.unwrap_or_else(|| vec![0.0; objective.parameters()]);
        minimise(start, TOLERANCE, |x, gradient| objective.value(x, gradient))
    }

    /// Scores of images by their coordinates: (n, C).
    fn scores(
        &self,
        z: &Vec<f64>,       // (n, r)
        parameters: &[f64], // (C r + C)
    ) -> Result<Vec<f64>> {
        let (C, r) = (self.C, self.basis.r);
        let (w, b) = parameters.split_at(C * r);
        let n = z.len() / r;
        let mut scores = vec![0.0; n * C];
        Cpu::new().linear_fprop(&Linear::new(r, C)?, n, z, &w.to_vec(), &b.to_vec(), false, &mut scores)?;
        Ok(scores)
    }
}

/// Mean over the classes that occur of the share of their images whose score is the highest;
/// of equal scores the first counts.
pub fn mean_accuracy(
    scores: &[f64], // (n, C)
    labels: &[usize],
    C: usize,
) -> f64 {
    let (mut right, mut all) = (vec![0usize; C], vec![0usize; C]);
    for (z, &t) in scores.chunks_exact(C).zip(labels) {
        let best = (0..C).rev().max_by(|&a, &b| z[a].total_cmp(&z[b])).unwrap_or(0);
        right[t] += usize::from(best == t);
        all[t] += 1;
    }
    let shares: Vec<f64> =
        right.iter().zip(&all).filter(|(_, all)| **all > 0).map(|(&right, &all)| right as f64 / all as f64).collect();
    shares.iter().sum::<f64>() / shares.len().max(1) as f64
}
