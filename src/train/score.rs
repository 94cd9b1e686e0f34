//! From probabilities to scores: loss, top-1, top-5, per class, confusion.

use serde::Serialize;

/// The scores of a network, or an ensemble, on a split.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Images scored.
    pub images: usize,
    /// Mean cross-entropy, in nats.
    pub loss: f64,
    /// Share of images whose class is the most probable one.
    pub top1: f64,
    /// Share of images whose class is among the five most probable ones.
    pub top5: f64,
    /// The same for the images of each class.
    pub per_class: Vec<ClassScore>,
    /// Images of class (row) that were taken for class (column).
    pub confusion: Vec<Vec<u64>>,
}

/// The scores of one class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassScore {
    /// Its name.
    pub class: String,
    /// Its images.
    pub images: usize,
    /// Share of them whose class is the most probable one; null without images.
    pub top1: Option<f64>,
    /// Share of them whose class is among the five most probable ones.
    pub top5: Option<f64>,
}

/// Sums up scores, image by image.
pub struct Scorer {
    loss: f64,
    top5: Vec<u64>,           // (C) images of each class that are in their top five
    confusion: Vec<Vec<u64>>, // (C, C)
}

impl Scorer {
    /// For `C` classes.
    pub fn new(C: usize) -> Self {
        Scorer { loss: 0.0, top5: vec![0; C], confusion: vec![vec![0; C]; C] }
    }

    /// Adds an image of class `label` with probabilities `p` (C). Of equal
    /// probabilities the first counts as the larger. A probability of 0 counts as
    /// the smallest positive number: 708 nats, not infinity.
    pub fn add(&mut self, label: usize, p: &[f64]) {
        let truth = p[label];
        self.loss -= if truth == 0.0 { f64::MIN_POSITIVE.ln() } else { truth.ln() };
        let rank = p.iter().enumerate().filter(|&(c, &q)| q > truth || (q == truth && c < label)).count();
        self.top5[label] += u64::from(rank < 5);
        self.confusion[label][most_probable(p, 1)[0]] += 1;
    }

    /// The scores; `classes` are the names.
    pub fn finish(self, classes: &[String]) -> Evaluation {
        let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
        let images: u64 = self.confusion.iter().flatten().sum();
        let hits: u64 = self.confusion.iter().enumerate().map(|(c, row)| row[c]).sum();
        let per_class = classes.iter().enumerate().map(|(c, name)| {
            let of_class: u64 = self.confusion[c].iter().sum();
            ClassScore {
                class: name.clone(),
                images: of_class as usize,
                top1: share(self.confusion[c][c], of_class),
                top5: share(self.top5[c], of_class),
            }
        });
        Evaluation {
            images: images as usize,
            loss: self.loss / images.max(1) as f64,
            top1: share(hits, images).unwrap_or(0.0),
            top5: share(self.top5.iter().sum(), images).unwrap_or(0.0),
            per_class: per_class.collect(),
            confusion: self.confusion,
        }
    }
}

/// The `k` most probable classes, the most probable first; of equals the first.
pub fn most_probable(p: &[f64], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    let larger_first = |a: &usize, b: &usize| p[*b].total_cmp(&p[*a]).then(a.cmp(b));
    if k < order.len() {
        order.select_nth_unstable_by(k, larger_first);
        order.truncate(k);
    }
    order.sort_by(larger_first);
    order
}
