//! Every classifier on every layer, for every fold.

use crate::error::Result;
use crate::ops::Backend;
use crate::transfer::features::Features;
use crate::transfer::objective::Classifier;
use crate::transfer::probe::{COSTS, Fit, Probe};
use crate::transfer::retained::Retained;
use crate::transfer::scaling::Scaling;
use crate::transfer::split::{Examples, Fold};

/// What is probed.
pub struct Study<'a> {
    /// Features of all images.
    pub features: &'a Features,
    /// The layers.
    pub layers: &'a [Retained],
    /// Number of classes.
    pub classes: usize,
    /// The classifiers.
    pub classifiers: &'a [Classifier],
    /// The folds.
    pub folds: &'a [Fold],
}

/// One classifier, trained and judged.
pub struct Outcome<'a> {
    /// The layer whose features it sees.
    pub layer: &'a Retained,
    /// What it was trained and judged on.
    pub fold: &'a Fold,
    /// How its features are scaled.
    pub scaling: &'a Scaling,
    /// The classifier.
    pub fit: Fit,
    /// Its mean per-class accuracy, 0 to 1.
    pub accuracy: f64,
}

impl Study<'_> {
    /// Number of outcomes.
    pub fn outcomes(&self) -> usize {
        self.layers.len() * self.folds.len() * self.classifiers.len()
    }

    /// Trains and judges them on a backend that computes in f32, layer by layer. `each` hears of
    /// every outcome; what it returns as an error ends the study.
    pub fn run<B: Backend>(&self, mut backend: B, each: &mut dyn FnMut(&Outcome<'_>) -> Result<()>) -> Result<()> {
        let labels = self.features.labels();
        for layer in self.layers {
            let x = self.features.matrix(layer)?;
            for fold in self.folds {
                let [train, test] = [&fold.train, &fold.test].map(|rows| Examples::of(rows, labels));
                let probe = Probe::new(&mut backend, x, &train, self.classes)?;
                for &classifier in self.classifiers {
                    let (cost, _) = probe.choose(classifier, &COSTS)?;
                    let fit = probe.fit(&mut backend, classifier, cost)?;
                    let accuracy = probe.judge(&mut backend, &fit, &test)?;
                    each(&Outcome { layer, fold, scaling: probe.scaling(), fit, accuracy })?;
                }
            }
        }
        Ok(())
    }
}
