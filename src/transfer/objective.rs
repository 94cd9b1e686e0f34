//! What the classifiers minimise, in the scaling of LIBLINEAR and scikit-learn.
//!
//! ```text
//! softmax  f(w, b) = |w|^2 / 2           + C sum_i l(w x'_i + b, t_i)
//! svm      f(w, b) = |w|^2 / 2 + b^2 / 2 + C sum_i l(w x'_i + b, t_i)
//! ```
//!
//! The bias of softmax is free, as in scikit-learn's `LogisticRegression`; that of the SVM is
//! the weight of one more feature that is always 1, as in `LinearSVC` with an
//! `intercept_scaling` of 1. With two classes `LogisticRegression` has one weight vector where
//! we have two, w and -w: our C is its 2 C. In the code C is called cost, for the classes are
//! C in number.
//!
//! Everything is in f64: the product over the coordinates is the network's own, the images'
//! losses are added up in their order.

use std::fmt;
use std::str::FromStr;

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::ops::Cpu;
use crate::ops::linear::{Linear, LinearOp};
use crate::transfer::{softmax, svm};

/// A linear classifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Classifier {
    /// Multinomial logistic regression.
    Softmax,
    /// One-against-rest linear SVM, squared hinge.
    Svm,
}

impl Classifier {
    /// Both.
    pub const ALL: [Classifier; 2] = [Classifier::Softmax, Classifier::Svm];

    /// `softmax` or `svm`.
    pub fn name(self) -> &'static str {
        match self {
            Classifier::Softmax => "softmax",
            Classifier::Svm => "svm",
        }
    }

    /// Whether the bias is regularised.
    pub fn regularises_bias(self) -> bool {
        self == Classifier::Svm
    }

    /// What the objective charges for weights and biases.
    fn regularisation(self, w: impl Iterator<Item = f64>, b: &[f64]) -> f64 {
        let held = if self.regularises_bias() { b.iter().map(|b| b * b).sum() } else { 0.0 };
        0.5 * (w.map(|w| w * w).sum::<f64>() + held)
    }

    /// f of weights `w` and biases `b` that give the images of classes `labels` the scores `z`.
    pub fn objective(
        self,
        cost: f64,
        w: &[f32],
        b: &[f64], // (C)
        z: &[f64], // (n, C)
        labels: &[usize],
    ) -> f64 {
        let mut dz = vec![0.0; b.len()];
        let loss: f64 = z.chunks_exact(b.len()).zip(labels).map(|(z, &t)| self.loss(z, t, &mut dz)).sum();
        self.regularisation(w.iter().map(|&w| w.into()), b) + cost * loss
    }

    /// Loss of one image of class `t` with scores `z` (C); its derivatives go to `dz` (C).
    pub fn loss(self, z: &[f64], t: usize, dz: &mut [f64]) -> f64 {
        match self {
            Classifier::Softmax => softmax::loss(z, t, dz),
            Classifier::Svm => svm::loss(z, t, dz),
        }
    }
}

impl fmt::Display for Classifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Classifier {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Classifier::ALL.into_iter().find(|classifier| classifier.name() == name);
        found.ok_or_else(|| Error::Usage(format!("classifier {name}: expected softmax or svm")))
    }
}

/// The objective of one classifier on some images.
pub struct Objective<'a> {
    classifier: Classifier,
    cost: f64,
    z: &'a Vec<f64>, // (n, r)
    labels: &'a [usize],
    linear: Linear,
    cpu: Cpu<f64>,
    // Used again from one evaluation to the next.
    w: Vec<f64>,       // (C, r)
    b: Vec<f64>,       // (C)
    scores: Vec<f64>,  // (n, C)
    dscores: Vec<f64>, // (n, C)
    dw: Vec<f64>,      // (C, r)
    db: Vec<f64>,      // (C)
}

impl<'a> Objective<'a> {
    /// Of `classifier` with regularisation `cost` (C in the formulas), for images with
    /// coordinates `z` (n, r) and classes `labels` (n) below `C`.
    ///
    /// # Errors
    /// [`Error::Shape`] if there are no coordinates or classes, or sizes do not fit.
    pub fn new(classifier: Classifier, cost: f64, z: &'a Vec<f64>, labels: &'a [usize], C: usize) -> Result<Self> {
        let n = labels.len();
        let linear = Linear::new(z.len() / n.max(1), C)?;
        if z.len() != n * linear.inputs || labels.iter().any(|&t| t >= C) {
            return Err(Error::shape(
                "linear",
                format!("{} coordinates of {n} images of {C} classes, or a label beyond", z.len()),
            ));
        }
        let (scores, dscores) = (vec![0.0; n * C], vec![0.0; n * C]);
        let (w, dw) = (vec![0.0; linear.weights()], vec![0.0; linear.weights()]);
        let (b, db) = (vec![0.0; C], vec![0.0; C]);
        Ok(Objective { classifier, cost, z, labels, linear, cpu: Cpu::new(), w, b, scores, dscores, dw, db })
    }

    /// Number of parameters: C r weights, then C biases.
    pub fn parameters(&self) -> usize {
        self.linear.weights() + self.linear.outputs
    }

    /// f at `at`, and its derivatives.
    pub fn value(
        &mut self,
        at: &[f64],           // (C r + C)
        gradient: &mut [f64], // (C r + C)
    ) -> Result<f64> {
        let (n, C, classifier, cost) = (self.labels.len(), self.linear.outputs, self.classifier, self.cost);
        let (w, b) = at.split_at(self.linear.weights());
        self.w.copy_from_slice(w);
        self.b.copy_from_slice(b);
        self.cpu.linear_fprop(&self.linear, n, self.z, &self.w, &self.b, false, &mut self.scores)?;
        let images = self.dscores.par_chunks_exact_mut(C).zip(self.scores.par_chunks_exact(C)).zip(self.labels);
        let losses: Vec<f64> = images
            .map(|((dz, z), &t)| {
                let loss = cost * classifier.loss(z, t, dz);
                dz.iter_mut().for_each(|dz| *dz *= cost);
                loss
            })
            .collect();
        self.cpu.linear_wgrad(&self.linear, n, self.z, &self.dscores, &mut self.dw, &mut self.db)?;
        let (dw, db) = gradient.split_at_mut(w.len());
        dw.iter_mut().zip(w).zip(&self.dw).for_each(|((dw, w), loss)| *dw = w + loss);
        let held = if classifier.regularises_bias() { 1.0 } else { 0.0 };
        db.iter_mut().zip(b).zip(&self.db).for_each(|((db, b), loss)| *db = held * b + loss);
        Ok(classifier.regularisation(w.iter().copied(), b) + losses.iter().sum::<f64>())
    }
}
