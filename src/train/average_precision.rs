//! Average precision: how well a class's scores put the images that show it before all others.
//!
//! With the images in descending order of score, those down to some score s are taken for
//! the class:
//!
//! ```text
//! precision(s) = right ones taken / taken        recall(s) = right ones taken / all right ones
//! envelope(r)  = max of precision over recall >= r
//! area         = integral of envelope(r) over r from 0 to 1           PASCAL VOC since 2010
//! 11-point     = 1/11 sum of envelope(r) over r = 0, 0.1, ..., 1      PASCAL VOC until 2009
//! ```
//!
//! Images that are marked difficult count neither as right nor as wrong. Images of the same score
//! cannot be told apart, so they are taken together: the result does not depend on the
//! order in which they come, as it does in a program that sorts them somehow.

use serde::Serialize;

use crate::data::packed::presence::{DIFFICULT, PRESENT};
use crate::error::{Error, Result};

/// Precision against recall of one class.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// (recall, precision) at every different score, from the highest down.
    pub points: Vec<(f64, f64)>,
}

impl Curve {
    /// From the scores of I images for one class; `None` if no image shows it.
    ///
    /// # Errors
    /// [`Error::Usage`] for a score that is no number; [`Error::Shape`] for a different number of
    /// scores and images, or a presence that is none of those of [`crate::data::packed::presence`].
    pub fn new(
        scores: &[f64],  // (I)
        presence: &[u8], // (I)
    ) -> Result<Option<Self>> {
        if scores.len() != presence.len() {
            let sizes = format!("{} scores for {} images", scores.len(), presence.len());
            return Err(Error::shape("average precision", sizes));
        }
        if let Some(i) = presence.iter().position(|p| *p > DIFFICULT) {
            let reason = format!("image {i} has presence {}: expected 0 absent, 1 present, 2 difficult", presence[i]);
            return Err(Error::shape("average precision", reason));
        }
        if let Some(i) = scores.iter().position(|s| s.is_nan()) {
            return Err(Error::Usage(format!("image {i} has no score (NaN): the network is broken, train it again")));
        }
        let mut order: Vec<usize> = (0..scores.len()).filter(|&i| presence[i] != DIFFICULT).collect();
        order.sort_by(|&i, &j| scores[j].total_cmp(&scores[i]));
        let all = order.iter().filter(|&&i| presence[i] == PRESENT).count();
        if all == 0 {
            return Ok(None);
        }
        let (mut right, mut taken) = (0, 0);
        let mut points = Vec::new();
        // 0 and -0 are the same score.
        for equals in order.chunk_by(|&i, &j| scores[i] == scores[j]) {
            right += equals.iter().filter(|&&i| presence[i] == PRESENT).count();
            taken += equals.len();
            points.push((right as f64 / all as f64, right as f64 / taken as f64));
        }
        Ok(Some(Curve { points }))
    }

    /// The best precision at a recall of at least that of each point.
    fn envelope(&self) -> Vec<f64> {
        let mut best: Vec<f64> = self.points.iter().map(|(_, precision)| *precision).collect();
        for i in (1..best.len()).rev() {
            best[i - 1] = best[i - 1].max(best[i]);
        }
        best
    }

    /// The area under the envelope, as PASCAL VOC has it since 2010.
    pub fn area(&self) -> f64 {
        let mut below = 0.0;
        let steps = self.points.iter().zip(self.envelope()).map(|((recall, _), precision)| {
            let width = recall - below;
            below = *recall;
            width * precision
        });
        steps.sum()
    }

    /// The mean of the envelope at eleven recalls, as PASCAL VOC had it until 2009.
    pub fn eleven_point(&self) -> f64 {
        let envelope = self.envelope();
        let at = |tenths: usize| {
            // The devkit's own comparison: r = tenths / 10 in f64.
            let first = self.points.partition_point(|(recall, _)| *recall < tenths as f64 / 10.0);
            envelope.get(first).copied().unwrap_or(0.0)
        };
        (0..=10).map(at).sum::<f64>() / 11.0
    }
}

/// The average precision of one class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassPrecision {
    /// Its name.
    pub class: String,
    /// Images that show it, difficult ones left out.
    pub images: usize,
    /// [`Curve::area`]; null without images.
    pub area: Option<f64>,
    /// [`Curve::eleven_point`]; null without images.
    pub eleven_point: Option<f64>,
}

/// The average precision of every class.
///
/// # Errors
/// Those of [`Curve::new`].
pub fn per_class(
    scores: &[f64],  // (I, C)
    presence: &[u8], // (I, C)
    classes: &[String],
) -> Result<Vec<ClassPrecision>> {
    let C = classes.len();
    let column = |c: usize| {
        let scores: Vec<f64> = scores.iter().skip(c).step_by(C).copied().collect();
        let presence: Vec<u8> = presence.iter().skip(c).step_by(C).copied().collect();
        let curve = Curve::new(&scores, &presence)?;
        Ok(ClassPrecision {
            class: classes[c].clone(),
            images: presence.iter().filter(|p| **p == PRESENT).count(),
            area: curve.as_ref().map(Curve::area),
            eleven_point: curve.as_ref().map(Curve::eleven_point),
        })
    };
    (0..C).map(column).collect()
}

/// The mean of what is there; `None` of nothing.
pub fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let (n, sum) = values.flatten().fold((0, 0.0), |(n, sum), value| (n + 1, sum + value));
    (n > 0).then(|| sum / f64::from(n))
}
