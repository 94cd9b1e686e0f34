//! What moving an image does to its features: vertical translation, scale, rotation.
//!
//! For an image x and a transform T the distance of a layer's features f is Euclidean,
//!
//! ```text
//! d = |f(T x) - f(x)|
//! ```
//!
//! and beside it stands p(class | T x). The layers are the first, and the one below the
//! classifier. Low features change at once; those of the upper layers should follow
//! translation and scale slowly, and nothing makes them follow rotation but symmetry.
//!
//! The whole record is transformed about its centre and the network sees the centre crop,
//! so that what moves into the crop is image as far as the record goes. Pixels between
//! pixels are bilinear; beyond the record its border is repeated. No transform, no change:
//! the samples then are the pixels themselves.

use rayon::prelude::*;

use crate::data::augment::{Cropper, Window};
use crate::error::{Error, Result};
use crate::net::{Net, Plan};
use crate::ops::Backend;
use crate::train::evaluate::probabilities;

/// The kinds of transform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Downwards, in pixels.
    Translation,
    /// Enlarged, as a factor.
    Scale,
    /// Clockwise, in degrees.
    Rotation,
}

/// The paper's largest vertical translation, for an input of [`PAPER_INPUT`].
const FURTHEST: usize = 60;
const PAPER_INPUT: usize = 224;

impl Kind {
    /// All.
    pub const ALL: [Kind; 3] = [Kind::Translation, Kind::Scale, Kind::Rotation];

    /// Its name, and its unit.
    pub const fn name(self) -> (&'static str, &'static str) {
        match self {
            Kind::Translation => ("vertical translation", "px"),
            Kind::Scale => ("scale", "factor"),
            Kind::Rotation => ("rotation", "degrees"),
        }
    }

    /// The amount that changes nothing.
    pub const fn identity(self) -> f64 {
        match self {
            Kind::Scale => 1.0,
            Kind::Translation | Kind::Rotation => 0.0,
        }
    }

    /// The amounts to look at, ascending, for a network whose input has `H` rows: whole
    /// pixels to 60 of 224 up and down, factors to 1.8, and a full turn in steps of 10 degrees.
    pub fn amounts(self, H: usize) -> Vec<f64> {
        match self {
            Kind::Translation => {
                let furthest = (FURTHEST * H / PAPER_INPUT).max(1) as i64;
                let step = (furthest / 12).max(1);
                let steps = furthest / step;
                (-steps..=steps).map(|i| (i * step) as f64).collect()
            }
            Kind::Scale => (10..=18).map(|tenths| f64::from(tenths) / 10.0).collect(),
            Kind::Rotation => (0..=36).map(|tens| f64::from(tens) * 10.0).collect(),
        }
    }

    /// The transformed record.
    pub fn apply(
        self,
        amount: f64,
        record: &[u8], // (S, S, 3)
        S: usize,
    ) -> Vec<u8> {
        let centre = (S as f64 - 1.0) / 2.0;
        let (sin, cos) = match self {
            Kind::Rotation if amount % 360.0 != 0.0 => amount.to_radians().sin_cos(),
            _ => (0.0, 1.0),
        };
        let mut moved = vec![0; S * S * 3];
        moved.par_chunks_exact_mut(S * 3).enumerate().for_each(|(h, row)| {
            for (w, pixel) in row.chunks_exact_mut(3).enumerate() {
                let (y, x) = (h as f64 - centre, w as f64 - centre);
                // Where the pixel comes from: the inverse transform.
                let (y, x) = match self {
                    Kind::Translation => (y - amount, x),
                    Kind::Scale => (y / amount, x / amount),
                    Kind::Rotation => (cos * y - sin * x, cos * x + sin * y),
                };
                sample(record, S, y + centre, x + centre, pixel);
            }
        });
        moved
    }
}

/// Bilinear between the four pixels round (y, x), which is drawn to the border.
fn sample(
    record: &[u8], // (S, S, 3)
    S: usize,
    y: f64,
    x: f64,
    pixel: &mut [u8], // (3)
) {
    let last = S as f64 - 1.0;
    let (y, x) = (y.clamp(0.0, last), x.clamp(0.0, last));
    let (top, left) = (y.floor(), x.floor());
    let (fy, fx) = (y - top, x - left);
    let (top, left) = (top as usize, left as usize);
    let (bottom, right) = ((top + 1).min(S - 1), (left + 1).min(S - 1));
    for (c, value) in pixel.iter_mut().enumerate() {
        let at = |h: usize, w: usize| f64::from(record[(h * S + w) * 3 + c]);
        let upper = at(top, left) * (1.0 - fx) + at(top, right) * fx;
        let lower = at(bottom, left) * (1.0 - fx) + at(bottom, right) * fx;
        *value = (upper * (1.0 - fy) + lower * fy).round() as u8;
    }
}

/// What a network says of one transformed image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Response {
    /// The transform's amount.
    pub amount: f64,
    /// Distance of the first layer's features from those of the image as it is.
    pub low: f64,
    /// The same for the layer below the classifier.
    pub top: f64,
    /// Probability of the class.
    pub p: f64,
}

/// The layers that are compared: the first, and the one below the classifier.
///
/// # Errors
/// [`Error::Usage`] if the network has fewer than three layers.
pub fn compared(plan: &Plan) -> Result<[&str; 2]> {
    match plan.layers.as_slice() {
        [first, .., below, _] => Ok([&first.name, &below.name]),
        _ => Err(Error::Usage(format!("{} has too few layers to compare the first with the last", plan.name))),
    }
}

/// The responses to `amounts` of one kind of transform.
pub fn responses<B: Backend>(
    net: &mut Net<B>,
    record: &[u8], // (S, S, 3)
    S: usize,
    class: usize,
    kind: Kind,
    amounts: &[f64],
) -> Result<Vec<Response>> {
    let plan = net.plan().clone();
    let names = compared(&plan)?;
    let window = Cropper::new(S, plan.input.H, plan.input.W)?.centre();
    let ([low, top], _) = features(net, record, 1, window, names)?;
    let mut responses = Vec::new();
    for amounts in amounts.chunks(net.max_batch()) {
        let pixels: Vec<u8> = amounts.iter().flat_map(|&amount| kind.apply(amount, record, S)).collect();
        let ([lows, tops], p) = features(net, &pixels, amounts.len(), window, names)?;
        let moved = lows.chunks_exact(low.len()).zip(tops.chunks_exact(top.len())).zip(p.chunks_exact(plan.classes));
        for (&amount, ((low_moved, top_moved), p)) in amounts.iter().zip(moved) {
            let (low, top) = (distance(low_moved, &low), distance(top_moved, &top));
            responses.push(Response { amount, low, top, p: p[class] });
        }
    }
    Ok(responses)
}

/// Features of the two layers, and probabilities, of N records.
fn features<B: Backend>(
    net: &mut Net<B>,
    pixels: &[u8], // (N, S, S, 3)
    N: usize,
    window: Window,
    names: [&str; 2],
) -> Result<([Vec<f32>; 2], Vec<f64>)> {
    let p = probabilities(net, pixels, &vec![0; N], &[window])?;
    Ok(([net.blob(names[0])?, net.blob(names[1])?], p))
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum::<f64>().sqrt()
}
