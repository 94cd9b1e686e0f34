//! Whether a network relates the same parts of different images: hide one part, and compare
//! what that changes.
//!
//! With f the features of a layer of image i, and f' those with the part hidden, what counts
//! is the direction of change of each unit, e_i = sign(f - f'): -1, 0 or 1. The Hamming score of a part
//! is the mean over all pairs of images of the share of units that change differently,
//!
//! ```text
//! raw        = mean_{i<j} #{u: e_i(u) != e_j(u)} / #u
//! normalised = mean_{i<j} #{u: e_i(u) != e_j(u)} / #{u: e_i(u) != 0 or e_j(u) != 0}
//! ```
//!
//! Most units of a rectified layer are silent before and after, and agree for no reason;
//! the normalised score leaves out what changes in neither image. The smaller a score is
//! against that of places drawn at random, the more the network takes the part for the same
//! thing. A change below [`NOISE`] of the layer's largest activation counts as none.

use crate::data::augment::Cropper;
use crate::error::{Error, Result};
use crate::net::{Field, LayerOp, Net, Plan};
use crate::ops::Backend;
use crate::philox::{Purpose, Stream};
use crate::tensor::Extent;

/// Rounding, relative to the largest activation, that is no change.
pub const NOISE: f32 = 1e-6;

/// One image with the part that is hidden.
#[derive(Clone, Copy, Debug)]
pub struct Mark<'a> {
    /// The image.
    pub record: &'a [u8], // (S, S, 3)
    /// The square that hides the part, in the crop that the network sees.
    pub square: Field,
}

/// Scores of one part in one layer, from 0 (all images change alike) to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hamming {
    /// Over all units.
    pub raw: f64,
    /// Over the units that change in one of the two images.
    pub normalised: f64,
}

/// The layers that are compared: the last one before the linear layers (the paper's layer 5),
/// and the one below the classifier (its layer 7).
///
/// # Errors
/// [`Error::Usage`] if the network has no such layers, or they are the same.
pub fn compared(plan: &Plan) -> Result<[String; 2]> {
    let linear = plan.layers.iter().position(|layer| matches!(layer.op, LayerOp::Linear { .. }));
    let below = plan.layers.len().checked_sub(2);
    match (linear.and_then(|i| i.checked_sub(1)), below) {
        (Some(five), Some(seven)) if five < seven => Ok([five, seven].map(|i| plan.layers[i].name.clone())),
        _ => Err(Error::Usage(format!(
            "{} has no hidden linear layer above its convolutions, so there are no two layers to compare",
            plan.name
        ))),
    }
}

/// A square of `side` pixels round (row, column) of the crop, moved inside where it would
/// reach beyond the border.
///
/// # Errors
/// [`Error::Usage`] if the place is outside the crop, or the square larger than it.
pub fn square_at(row: f64, column: f64, side: usize, input: Extent) -> Result<Field> {
    if side == 0 || side > input.H.min(input.W) {
        let (H, W) = (input.H, input.W);
        return Err(Error::Usage(format!("a square of {side} px on a crop of {H} x {W}: choose another --square")));
    }
    let inside = |at: f64, length: usize| (0.0..length as f64).contains(&at);
    if !(inside(row, input.H) && inside(column, input.W)) {
        return Err(Error::Usage(format!(
            "the mark at row {row:.1}, column {column:.1} of the crop is outside the {} x {} that the network sees",
            input.H, input.W
        )));
    }
    let start = |at: f64, length: usize| ((at - side as f64 / 2.0).round().max(0.0) as usize).min(length - side);
    Ok(Field { top: start(row, input.H), left: start(column, input.W), height: side, width: side })
}

/// A square at a place that `seed`, the draw and the image determine: anywhere in the crop.
pub fn random_square(seed: u64, draw: u64, image: u64, side: usize, input: Extent) -> Field {
    let stream = Stream::new(seed, Purpose::Places, 0);
    let below = |axis: u64, length: usize| stream.below(draw, 2 * image + axis, (length - side) as u32 + 1) as usize;
    Field { top: below(0, input.H), left: below(1, input.W), height: side, width: side }
}

/// The directions of change of the two layers, for each mark. `hiding` is the record that the
/// squares show a piece of.
pub fn changes<B: Backend>(
    net: &mut Net<B>,
    marks: &[Mark],
    S: usize,
    hiding: &[u8], // (S, S, 3)
    layers: &[String; 2],
) -> Result<[Vec<Vec<i8>>; 2]> {
    let input = net.plan().input;
    let window = Cropper::new(S, input.H, input.W)?.centre();
    let mut found = [Vec::new(), Vec::new()];
    for marks in marks.chunks(net.max_batch()) {
        let whole: Vec<u8> = marks.iter().flat_map(|mark| mark.record).copied().collect();
        let mut copies_of = net.occluder(&whole, hiding, window.to_ints())?;
        let mut features = |hidden: bool| -> Result<[Vec<f32>; 2]> {
            let field = |mark: &Mark| if hidden { mark.square } else { Field { height: 0, ..mark.square } };
            let copies: Vec<_> = marks.iter().enumerate().map(|(m, mark)| (m, field(mark))).collect();
            net.load_occluded(&mut copies_of, &copies)?;
            net.forward_to(&layers[1])?;
            Ok([net.blob(&layers[0])?, net.blob(&layers[1])?])
        };
        let (before, after) = (features(false)?, features(true)?);
        for ((found, before), after) in found.iter_mut().zip(&before).zip(&after) {
            let units = before.len() / marks.len();
            let images = before.chunks_exact(units).zip(after.chunks_exact(units));
            found.extend(images.map(|(before, after)| directions(before, after)));
        }
    }
    Ok(found)
}

/// Sign of the change of each unit.
fn directions(before: &[f32], after: &[f32]) -> Vec<i8> {
    let noise = NOISE * before.iter().fold(0f32, |most, v| most.max(v.abs()));
    let sign = |(before, after): (&f32, &f32)| match before - after {
        change if change > noise => 1,
        change if change < -noise => -1,
        _ => 0,
    };
    before.iter().zip(after).map(sign).collect()
}

/// The scores of one part from the directions of change on two or more images; `None` for fewer.
pub fn hamming(changes: &[Vec<i8>]) -> Option<Hamming> {
    let (mut raw, mut normalised, mut pairs) = (0.0, 0.0, 0.0);
    for (i, a) in changes.iter().enumerate() {
        for b in &changes[..i] {
            let differing = a.iter().zip(b).filter(|(a, b)| a != b).count() as f64;
            let changing = a.iter().zip(b).filter(|(a, b)| **a != 0 || **b != 0).count() as f64;
            raw += differing / a.len().max(1) as f64;
            normalised += differing / changing.max(1.0);
            pairs += 1.0;
        }
    }
    (pairs > 0.0).then(|| Hamming { raw: raw / pairs, normalised: normalised / pairs })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_by_hand() {
        let changes = [vec![1, 0, -1, 0, 0], vec![1, 0, 1, 0, 0], vec![0, 0, -1, 1, 0]];
        // Pairs: 1 of 5 and of 2 changing; 2 of 5 and of 3; 3 of 5 and of 3.
        let found = hamming(&changes).unwrap();
        assert!((found.raw - (0.2 + 0.4 + 0.6) / 3.0).abs() < 1e-15, "{found:?}");
        assert!((found.normalised - (0.5 + 2.0 / 3.0 + 1.0) / 3.0).abs() < 1e-15, "{found:?}");
        assert_eq!(hamming(&changes[..1]), None);
        let alike = hamming(&[changes[0].clone(), changes[0].clone()]).unwrap();
        assert_eq!(alike, Hamming { raw: 0.0, normalised: 0.0 });
        assert_eq!(directions(&[2.0, 1.0, 0.5, 1.0], &[1.0, 1.0 + 1e-7, 3.0, 1.0]), [1, 0, -1, 0]);
    }

    #[test]
    fn squares_stay_inside() {
        let input = Extent::new(20, 30, 3);
        let square = |row, column| square_at(row, column, 5, input).map(|f| (f.top, f.left)).ok();
        assert_eq!([square(10.0, 12.5), square(0.0, 29.5)], [Some((8, 10)), Some((0, 25))]);
        assert_eq!([square(20.0, 3.0), square(3.0, -0.5)], [None, None]);
        assert!(square_at(3.0, 3.0, 21, input).is_err() && square_at(3.0, 3.0, 0, input).is_err());
        let places: Vec<Field> = (0..200).map(|draw| random_square(3, draw, 1, 5, input)).collect();
        assert!(places.iter().all(|f| f.top <= 15 && f.left <= 25));
        assert!(places.iter().any(|f| f.top == 15) && places.iter().any(|f| f.left > 22));
    }
}
