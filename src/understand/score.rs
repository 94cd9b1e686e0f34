//! Pictures against the truth: how much of a projection, and of an occlusion map, lies on
//! the part that tells the class, where a data set has that part's mask.
//!
//! Only images that the network recognises count: of the others nobody knows what it saw.
//!
//! **Projections.** In each image the strongest unit of a layer is projected. With e the
//! energy of a pixel, the sum of its squared channels, and M the pixels of the part,
//!
//! ```text
//! energy   = sum_M e / sum e          share of the projection's energy inside the part
//! pointing = 1 if argmax e is in M    the pointing game (Zhang et al., 2016)
//! area     = |M| / (H W)              what either would be if the projection knew nothing
//! ```
//!
//! **Occlusion.** The map holds the probability of the true class at each place of the
//! square. It is compared with the share of the square that covers the part, by Spearman's
//! rank correlation with the probability's sign turned: 1 if hiding more of the part always
//! does more harm. The minimum counts as inside if the square's centre is in the part, no
//! margin allowed; the share of places of which that holds is what chance would give.

use serde::Serialize;

use crate::data::augment::Cropper;
use crate::data::packed::{Dataset, Split};
use crate::error::{Error, Result};
use crate::net::{Keep, Net, Reverse};
use crate::ops::Backend;
use crate::tensor::Extent;
use crate::train::evaluate::probabilities;
use crate::understand::occlusion::{Answers, Sweep, View, occlude};

/// How one projection lies on the part.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Overlap {
    /// Image of the split.
    pub image: usize,
    /// Share of the crop that the part covers.
    pub area: f64,
    /// Share of the projection's energy inside the part.
    pub energy: f64,
    /// Whether the pixel of most energy is inside.
    pub pointing: bool,
}

/// How one occlusion map lies on the part.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Harm {
    /// Image of the split.
    pub image: usize,
    /// Rank correlation of harm and of how much of the part is hidden.
    pub correlation: f64,
    /// Whether the square's centre was in the part where the probability was least.
    pub inside: bool,
    /// Share of places at which the square's centre is in the part.
    pub chance: f64,
}

/// The means over images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Means {
    /// Share of energy inside the part.
    pub energy: f64,
    /// Share of images whose strongest pixel is inside.
    pub pointing: f64,
    /// Share of the crop that the part covers.
    pub area: f64,
}

/// The means of occlusion maps over images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct HarmMeans {
    /// Rank correlation.
    pub correlation: f64,
    /// Share of images whose minimum lies in the part.
    pub inside: f64,
    /// The share that chance would give.
    pub chance: f64,
}

impl HarmMeans {
    /// The means of `harms`; NaN of none.
    pub fn of(harms: &[Harm]) -> Self {
        HarmMeans {
            correlation: mean(harms.iter().map(|h| h.correlation)),
            inside: mean(harms.iter().map(|h| f64::from(u8::from(h.inside)))),
            chance: mean(harms.iter().map(|h| h.chance)),
        }
    }
}

impl Means {
    /// The means of `overlaps`; NaN of none.
    pub fn of(overlaps: &[Overlap]) -> Self {
        Means {
            energy: mean(overlaps.iter().map(|o| o.energy)),
            pointing: mean(overlaps.iter().map(|o| f64::from(u8::from(o.pointing)))),
            area: mean(overlaps.iter().map(|o| o.area)),
        }
    }
}

/// The mean of `values`; NaN of none.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0u32), |(sum, n), v| (sum + v, n + 1));
    sum / f64::from(n)
}

/// The crop of the mask of image `i`: (H, W), true on the part.
///
/// # Errors
/// [`Error::Usage`] if the data has no masks.
pub fn mask(data: &Dataset, split: Split, i: usize, input: Extent) -> Result<Vec<bool>> {
    let (records, size) = (data.split(split), data.size());
    let mask = records.mask(i).ok_or_else(|| {
        Error::Usage(format!(
            "{} has no masks, so nobody knows which part tells the class: `zfnet pack synthetic` makes data that has",
            data.root().display()
        ))
    })?;
    let window = Cropper::new(size, input.H, input.W)?.centre();
    let rows = mask.chunks_exact(size).skip(window.top).take(input.H);
    Ok(rows.flat_map(|row| &row[window.left..window.left + input.W]).map(|m| *m > 0).collect())
}

/// Those of `images` whose class is the most probable one. `done` hears after each batch
/// how many images are done.
pub fn recognised<B: Backend>(
    net: &mut Net<B>,
    data: &Dataset,
    split: Split,
    images: &[usize],
    done: &mut dyn FnMut(usize),
) -> Result<Vec<usize>> {
    let (records, input) = (data.split(split), net.plan().input);
    let window = Cropper::new(data.size(), input.H, input.W)?.centre();
    let (mut found, mut seen) = (Vec::new(), 0);
    for batch in images.chunks(net.max_batch()) {
        let pixels: Vec<u8> = batch.iter().flat_map(|&i| records.record(i)).copied().collect();
        let p = probabilities(net, &pixels, &vec![0; batch.len()], &[window])?;
        let answers = Answers { activity: Vec::new(), p, classes: net.plan().classes };
        found.extend(
            batch.iter().zip(answers.labels()).filter(|&(&i, label)| label == records.label(i)).map(|(&i, _)| i),
        );
        seen += batch.len();
        done(seen);
    }
    Ok(found)
}

/// Projects the strongest unit of `layer` in each of `images` and lays it on the mask.
/// `done` hears after each batch how many images are done.
pub fn overlaps<B: Backend>(
    net: &mut Net<B>,
    data: &Dataset,
    split: Split,
    images: &[usize],
    layer: &str,
    reverse: &Reverse,
    done: &mut dyn FnMut(usize),
) -> Result<Vec<Overlap>> {
    let (input, records) = (net.plan().input, data.split(split));
    let output = net.plan().layers[net.plan().layer_index(layer)?].output;
    let window = Cropper::new(data.size(), input.H, input.W)?.centre();
    let mut found = Vec::with_capacity(images.len());
    for batch in images.chunks(net.max_batch()) {
        let pixels: Vec<u8> = batch.iter().flat_map(|&i| records.record(i)).copied().collect();
        net.load_records(&pixels, &window.to_ints().repeat(batch.len()), &vec![0; batch.len()])?;
        net.forward_to(layer)?;
        let keep: Vec<Keep> = net.blob(layer)?.chunks_exact(output.len()).map(|y| strongest(y, output)).collect();
        let rows = net.project(layer, &keep, reverse)?;
        for (&image, row) in batch.iter().zip(rows.chunks_exact(input.len())) {
            found.push(overlap(image, row, input.C, &mask(data, split, image, input)?));
        }
        done(found.len());
    }
    Ok(found)
}

/// The unit of the largest activation; of equals the first.
fn strongest(
    y: &[f32], // (P, Q, K)
    output: Extent,
) -> Keep {
    let first_of_largest = |best: (usize, f32), (i, &v): (usize, &f32)| if v > best.1 { (i, v) } else { best };
    let (at, _) = y.iter().enumerate().fold((0, f32::NEG_INFINITY), first_of_largest);
    Keep::Unit { p: at / (output.W * output.C), q: at / output.C % output.W, k: at % output.C }
}

fn overlap(
    image: usize,
    projection: &[f32], // (H, W, C)
    C: usize,
    mask: &[bool], // (H, W)
) -> Overlap {
    let (mut inside, mut total, mut largest, mut pointing) = (0.0, 0.0, 0.0, false);
    for (pixel, &on) in projection.chunks_exact(C).zip(mask) {
        let energy: f64 = pixel.iter().map(|v| f64::from(*v).powi(2)).sum();
        total += energy;
        inside += if on { energy } else { 0.0 };
        if energy > largest {
            (largest, pointing) = (energy, on);
        }
    }
    let area = mask.iter().filter(|on| **on).count() as f64 / mask.len() as f64;
    // A silent projection tells nothing: it has no share of its energy anywhere.
    Overlap { image, area, energy: if total > 0.0 { inside / total } else { 0.0 }, pointing }
}

/// Hides parts of each of `images` and lays the harm on the mask. `hiding` is the record
/// that the square shows a piece of. `done` hears after each image how many are done.
pub fn harms<B: Backend>(
    net: &mut Net<B>,
    data: &Dataset,
    split: Split,
    images: &[usize],
    hiding: &[u8], // (size, size, 3)
    sweep: &Sweep,
    done: &mut dyn FnMut(usize),
) -> Result<Vec<Harm>> {
    let (input, records) = (net.plan().input, data.split(split));
    let layer = match net.plan().layers.last() {
        Some(layer) => layer.name.clone(),
        None => return Err(Error::Usage("a network without layers has no probabilities".into())),
    };
    let mut found = Vec::with_capacity(images.len());
    for &image in images {
        let (view, class) = (View::centre(records.record(image), data.size(), input)?, records.label(image));
        let answers = occlude(net, view, hiding, sweep, (&layer, class), &mut |_| ())?;
        let mask = mask(data, split, image, input)?;
        found.push(harm(image, &answers, class, sweep, &mask, input.W));
        done(found.len());
    }
    Ok(found)
}

fn harm(
    image: usize,
    answers: &Answers,
    class: usize,
    sweep: &Sweep,
    mask: &[bool], // (H, W)
    W: usize,
) -> Harm {
    let p = answers.probability(class);
    let squares: Vec<_> = (0..sweep.len()).map(|i| sweep.square(i)).collect();
    let covered = |i: usize| {
        let (square, side) = (squares[i], sweep.side);
        let rows = mask.chunks_exact(W).skip(square.top).take(side);
        rows.flat_map(|row| &row[square.left..square.left + side]).filter(|on| **on).count() as f64
    };
    let centre = |i: usize| mask[(squares[i].top + sweep.side / 2) * W + squares[i].left + sweep.side / 2];
    let hidden: Vec<f64> = (0..sweep.len()).map(covered).collect();
    let harm: Vec<f64> = p.iter().map(|p| -p).collect();
    let worst = (0..p.len()).min_by(|a, b| p[*a].total_cmp(&p[*b])).unwrap_or(0);
    let chance = (0..sweep.len()).filter(|&i| centre(i)).count() as f64 / sweep.len() as f64;
    Harm { image, correlation: spearman(&harm, &hidden), inside: centre(worst), chance }
}

/// Spearman's rank correlation: Pearson's of the ranks, equal values sharing theirs. 0 where
/// one of the two is constant.
pub fn spearman(a: &[f64], b: &[f64]) -> f64 {
    let (a, b) = (ranks(a), ranks(b));
    let (mean_a, mean_b) = (mean(a.iter().copied()), mean(b.iter().copied()));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(&b) {
        let (a, b) = (a - mean_a, b - mean_b);
        (ab, aa, bb) = (ab + a * b, aa + a * a, bb + b * b);
    }
    if aa > 0.0 && bb > 0.0 { ab / (aa * bb).sqrt() } else { 0.0 }
}

/// The rank of each value, from 0; equal values get the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let (mut ranks, mut first) = (vec![0.0; values.len()], 0);
    for equals in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let rank = first as f64 + (equals.len() - 1) as f64 / 2.0;
        equals.iter().for_each(|&i| ranks[i] = rank);
        first += equals.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Field;

    #[test]
    fn ranks_correlate() {
        assert_eq!(ranks(&[5.0, 1.0, 5.0, 9.0]), [1.5, 0.0, 1.5, 3.0]);
        let close = |a: &[f64], b: &[f64], expected: f64| {
            let found = spearman(a, b);
            assert!((found - expected).abs() < 1e-12, "{found}");
        };
        close(&[1.0, 2.0, 30.0], &[-5.0, 0.0, 1.0], 1.0);
        close(&[1.0, 2.0, 30.0], &[3.0, 2.0, 1.0], -1.0);
        // Ranks 0 1 2 3 against 1 0 2 3: 1 - 6 (1 + 1) / (4 (16 - 1)).
        close(&[1.0, 2.0, 3.0, 4.0], &[2.0, 1.0, 3.0, 4.0], 0.8);
        close(&[1.0, 1.0, 1.0], &[3.0, 2.0, 1.0], 0.0);
    }

    #[test]
    fn energy_is_counted_inside() {
        let mask = [false, true, true, false];
        let row = [3.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, -4.0, 0.0, 0.0, 0.0, 0.0];
        let found = overlap(7, &row, 3, &mask);
        assert_eq!((found.image, found.area, found.pointing), (7, 0.5, true));
        assert!((found.energy - 20.0 / 29.0).abs() < 1e-12);
        let silent = overlap(7, &[0.0; 12], 3, &mask);
        assert_eq!((silent.energy, silent.pointing), (0.0, false));
    }

    /// A part in a corner of a 5 x 5 crop: the square of 3 whose centre is in it harms most.
    #[test]
    fn harm_is_laid_on_the_mask() {
        let sweep = Sweep::new(Extent::new(5, 5, 3), Some(3), Some(1)).unwrap();
        assert_eq!(sweep.square(5), Field { top: 1, left: 2, height: 3, width: 3 });
        let mask: Vec<bool> = (0..25).map(|i| i / 5 < 2 && i % 5 < 2).collect();
        let covered = |i: usize| [4.0, 2.0, 0.0, 2.0, 1.0, 0.0, 0.0, 0.0, 0.0][i];
        let p: Vec<f64> = (0..9).flat_map(|i| [0.1 * covered(i), 1.0 - 0.1 * covered(i)]).collect();
        let answers = Answers { activity: vec![0.0; 9], p, classes: 2 };
        let found = harm(3, &answers, 1, &sweep, &mask, 5);
        assert_eq!((found.inside, found.chance), (true, 1.0 / 9.0));
        assert!((found.correlation - 1.0).abs() < 1e-12, "{found:?}");
        let other = harm(3, &answers, 0, &sweep, &mask, 5);
        assert!(!other.inside && (other.correlation + 1.0).abs() < 1e-12, "{other:?}");
    }
}
