//! Numbers for what the paper saw by eye in its first layers (Fig 5), and how layers fare.
//!
//! | measure | what it is |
//! |---|---|
//! | dominance | largest RMS of a layer's filters over the median: some filters outshout the rest |
//! | dead | maps that are never active on any image |
//! | saturated | maps active at 99 % of places or more: their ReLU does nothing |
//! | sparsity | share of activations that are 0 |
//! | bands | shares of the energy of layer-1 filters below 1/8, to 1/4, and above 1/4 cycles a pixel |
//! | aliasing | see below |
//!
//! **Aliasing index.** Units of the second convolution are projected to pixels by the
//! deconvnet. Where the first convolution steps by s pixels, artefacts repeat every s pixels:
//! along rows and columns their energy lies at the frequencies i/s, i = 1 .. s - 1. Each of
//! these has a cell, 1/s wide, and in its middle a core, 1/(4s) wide. The index is the mean
//! energy in the cores over the mean energy in the cells: 1 where those frequencies are
//! nothing special (a slope of the spectrum cancels), 4 at most.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::augment::Cropper;
use crate::data::packed::{Dataset, Split};
use crate::error::{Error, Result};
use crate::net::{Keep, Layer, LayerOp, Net, Plan, Reverse};
use crate::ops::Backend;
use crate::tensor::NamedTensor;
use crate::understand::spectrum::{energies, frequency, lattice};

/// From this share of places on a map counts as saturated.
const SATURATED: f64 = 0.99;
/// Upper edges of the lower two bands, in cycles a pixel.
const BANDS: [f64; 2] = [0.125, 0.25];
/// Width of a step of the radial spectrum, in cycles a pixel.
pub const STEP: f64 = 1.0 / 24.0;
/// Steps up to the corner frequency, sqrt(1/2).
const STEPS: usize = 17;
/// Frequencies along an axis for filters: fine enough for bands, whatever the filter's size.
const FILTER_BINS: usize = 48;
/// Least frequencies along an axis for projections.
const PROJECTION_BINS: usize = 64;
/// Most projections that the aliasing index looks at.
pub const PROJECTIONS: usize = 256;

/// How the maps of one rectified layer fare.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fate {
    /// The layer.
    pub layer: String,
    /// Its maps, or outputs.
    pub maps: usize,
    /// Maps never active.
    pub dead: usize,
    /// Maps active at `SATURATED` of places or more.
    pub saturated: usize,
    /// Share of activations that are 0.
    pub sparsity: f64,
}

/// What a run's first layers look like, and how its layers fare.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// Images looked at.
    pub images: usize,
    /// Each convolution with its dominance; null if half of its filters are 0.
    pub dominance: Vec<(String, Option<f64>)>,
    /// Every rectified layer.
    pub layers: Vec<Fate>,
    /// Shares of the energy of layer-1 filters in the low, middle and high band.
    pub bands: [f64; 3],
    /// Shares of it in each [`STEP`] of frequency, in both directions together.
    pub spectrum: Vec<f64>,
    /// Aliasing index of the second convolution; null if the first steps by one pixel, or
    /// there is no second, or it is dead.
    pub aliasing: Option<f64>,
}

/// Diagnoses a network: `weights` are its parameters, images come from a split, each
/// through its centre window. `done` hears after each batch how many images are done.
///
/// # Errors
/// [`Error::Usage`] if its first layer is not a convolution, or there are no images.
pub fn diagnose<B: Backend>(
    net: &mut Net<B>,
    weights: &[NamedTensor],
    data: &Dataset,
    split: Split,
    done: &mut dyn FnMut(usize),
) -> Result<Diagnosis> {
    let plan = net.plan().clone();
    let filters = first_filters(&plan, weights)?;
    let spectrum = filter_spectrum(filters);
    let convolutions = plan.layers.iter().filter(|layer| matches!(layer.op, LayerOp::Conv { .. }));
    let dominance = convolutions.map(|layer| {
        let filters = weights.iter().find(|w| w.name == format!("{}.weight", layer.name));
        let dominance = filters.map(|filters| dominance(&rms(filters)));
        (layer.name.clone(), dominance.filter(|d| d.is_finite()))
    });
    Ok(Diagnosis {
        images: data.split(split).len(),
        dominance: dominance.collect(),
        layers: fates(net, data, split, done)?,
        bands: spectrum.bands,
        spectrum: spectrum.steps,
        aliasing: aliasing(net, data, split)?,
    })
}

/// The filters of the first layer: (K, R, S, C).
///
/// # Errors
/// [`Error::Usage`] if it is not a convolution.
pub fn first_filters<'a>(plan: &Plan, weights: &'a [NamedTensor]) -> Result<&'a NamedTensor> {
    let first = plan.layers.first().filter(|layer| matches!(layer.op, LayerOp::Conv { .. }));
    let name = first.map(|layer| format!("{}.weight", layer.name));
    weights.iter().find(|w| Some(&w.name) == name.as_ref()).ok_or_else(|| {
        Error::Usage(format!("the first layer of {} is no convolution: there are no filters to look at", plan.name))
    })
}

/// Root mean square of each filter.
pub fn rms(filters: &NamedTensor) -> Vec<f64> {
    let len = filters.shape[1..].iter().product::<usize>().max(1);
    let square = |filter: &[f32]| filter.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
    filters.data.chunks_exact(len).map(|filter| (square(filter) / len as f64).sqrt()).collect()
}

/// The largest of `rms` over their median; infinite if half of them are 0.
pub fn dominance(rms: &[f64]) -> f64 {
    let mut sorted = rms.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    let median = match (sorted.len() % 2, sorted.get(half)) {
        (_, None) => return f64::NAN,
        (0, Some(upper)) => (sorted[half - 1] + upper) / 2.0,
        (_, Some(middle)) => *middle,
    };
    sorted[sorted.len() - 1] / median
}

struct Spectrum {
    bands: [f64; 3],
    steps: Vec<f64>,
}

impl Spectrum {
    /// Shares of `energies` by distance from frequency 0.
    fn of<'a>(
        energies: impl Iterator<Item = &'a Vec<f64>>, // (M, M) each
        M: usize,
    ) -> Self {
        let (mut bands, mut steps) = ([0.0; 3], vec![0.0; STEPS]);
        for (at, energy) in energies.flat_map(|energies| energies.iter().enumerate()) {
            let radius = frequency(at / M, M).hypot(frequency(at % M, M));
            bands[BANDS.iter().filter(|edge| radius >= **edge).count()] += energy;
            steps[((radius / STEP) as usize).min(STEPS - 1)] += energy;
        }
        let total = bands.iter().sum::<f64>();
        Spectrum { bands: bands.map(|e| e / total), steps: steps.into_iter().map(|e| e / total).collect() }
    }
}

fn filter_spectrum(filters: &NamedTensor) -> Spectrum {
    let [S, C] = [filters.shape[2], filters.shape[3]];
    let len = filters.shape[1..].iter().product::<usize>().max(1);
    let M = FILTER_BINS.max(filters.shape[1]).max(S);
    let all: Vec<Vec<f64>> = filters.data.par_chunks_exact(len).map(|filter| energies(filter, (S, C), M)).collect();
    Spectrum::of(all.iter(), M)
}

/// The shares of white noise in each [`STEP`]: what filters that have learned nothing have.
pub fn white() -> Vec<f64> {
    Spectrum::of([vec![1.0; FILTER_BINS * FILTER_BINS]].iter(), FILTER_BINS).steps
}

/// Looks at every image of the split.
fn fates<B: Backend>(net: &mut Net<B>, data: &Dataset, split: Split, done: &mut dyn FnMut(usize)) -> Result<Vec<Fate>> {
    let rectified: Vec<Layer> = net.plan().layers.iter().filter(|layer| layer.relu()).cloned().collect();
    let mut active: Vec<Vec<u64>> = rectified.iter().map(|layer| vec![0; layer.output.C]).collect();
    let images = data.split(split).len();
    let Some(top) = rectified.last() else { return Ok(Vec::new()) };
    for first in (0..images).step_by(net.max_batch()) {
        let batch = first..(first + net.max_batch()).min(images);
        load(net, data, split, batch.clone())?;
        net.forward_to(&top.name)?;
        for (layer, active) in rectified.iter().zip(&mut active) {
            for y in net.blob(&layer.name)?.chunks_exact(layer.output.C) {
                active.iter_mut().zip(y).for_each(|(count, y)| *count += u64::from(*y > 0.0));
            }
        }
        done(batch.end);
    }
    let fate = |(layer, active): (&Layer, Vec<u64>)| {
        let maps = layer.output.C;
        let places = (images * layer.output.len() / maps) as f64;
        let share = active.iter().map(|count| *count as f64 / places);
        Fate {
            layer: layer.name.clone(),
            maps,
            dead: active.iter().filter(|count| **count == 0).count(),
            saturated: share.clone().filter(|share| *share >= SATURATED).count(),
            sparsity: 1.0 - share.sum::<f64>() / maps as f64,
        }
    };
    Ok(rectified.iter().zip(active).map(fate).collect())
}

/// The aliasing index: image i projects the strongest unit of map i (mod K).
fn aliasing<B: Backend>(net: &mut Net<B>, data: &Dataset, split: Split) -> Result<Option<f64>> {
    let mut convolutions = net.plan().layers.iter().filter_map(|layer| match &layer.op {
        LayerOp::Conv { conv, .. } => Some((conv.stride, layer.clone())),
        _ => None,
    });
    let (Some((stride, _)), Some((_, second))) = (convolutions.next(), convolutions.next()) else { return Ok(None) };
    drop(convolutions);
    if stride < 2 {
        return Ok(None);
    }
    let (input, K) = (net.plan().input, second.output.C);
    let M = 8 * stride * PROJECTION_BINS.max(second.receptive_field).div_ceil(8 * stride);
    let images = data.split(split).len().min(PROJECTIONS);
    let mut sums = (0.0, 0.0);
    for first in (0..images).step_by(net.max_batch()) {
        let batch = first..(first + net.max_batch()).min(images);
        load(net, data, split, batch.clone())?;
        net.forward_to(&second.name)?;
        let units: Vec<(usize, usize, usize)> = net
            .blob(&second.name)?
            .chunks_exact(second.output.len())
            .zip(batch)
            .map(|(y, image)| {
                let of_map = y.iter().skip(image % K).step_by(K).enumerate();
                let (at, _) = of_map.fold((0, f32::MIN), |best, (at, v)| if *v > best.1 { (at, *v) } else { best });
                (at / second.output.W, at % second.output.W, image % K)
            })
            .collect();
        let keep: Vec<Keep> = units.iter().map(|&(p, q, k)| Keep::Unit { p, q, k }).collect();
        let rows = net.project(&second.name, &keep, &Reverse::DECONVNET)?;
        let found = rows.par_chunks_exact(input.len()).zip(&units).map(|(row, &(p, q, _))| {
            let field = second.field(p, q, input);
            let lines = row.chunks_exact(input.W * input.C).skip(field.top).take(field.height);
            let picture: Vec<f32> =
                lines.flat_map(|l| &l[field.left * input.C..][..field.width * input.C]).copied().collect();
            // Strong projections must not speak for the weak ones: each counts with energy 1.
            let scale = picture.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
            let (cores, cells) = lattice(&energies(&picture, (field.width, input.C), M), M, stride);
            if scale > 0.0 { (cores / scale, cells / scale) } else { (0.0, 0.0) }
        });
        for (cores, cells) in found.collect::<Vec<_>>() {
            sums = (sums.0 + cores, sums.1 + cells);
        }
    }
    Ok(Some(sums.0 / sums.1).filter(|index| index.is_finite()))
}

/// Loads images of the split, each through its centre window.
fn load<B: Backend>(net: &mut Net<B>, data: &Dataset, split: Split, images: std::ops::Range<usize>) -> Result<()> {
    let (records, input) = (data.split(split), net.plan().input);
    let window = Cropper::new(data.size(), input.H, input.W)?.centre().to_ints();
    let pixels: Vec<u8> = images.clone().flat_map(|i| records.record(i)).copied().collect();
    net.load_records(&pixels, &window.repeat(images.len()), &vec![0; images.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dominance_is_over_the_median() {
        assert_eq!(dominance(&[1.0, 9.0, 2.0]), 4.5);
        assert_eq!(dominance(&[1.0, 9.0, 2.0, 4.0]), 3.0);
        let filters = NamedTensor {
            name: "w".into(),
            shape: vec![2, 1, 2, 2],
            data: vec![3.0, 3.0, -3.0, 3.0, 0.0, 0.0, 0.0, 2.0],
        };
        assert_eq!(rms(&filters), [3.0, 1.0]);
    }

    /// One filter is flat, one a checkerboard, with energies 1 and 3.
    #[test]
    fn bands_tell_coarse_from_fine() {
        let (side, root) = (24, 3f32.sqrt());
        let checker = |i: usize| if (i / side + i % side).is_multiple_of(2) { root } else { -root };
        let data = (0..side * side).map(|_| 1.0).chain((0..side * side).map(checker)).collect();
        let found = filter_spectrum(&NamedTensor { name: "w".into(), shape: vec![2, side, side, 1], data });
        let [low, middle, high] = found.bands;
        // Edges of the picture leak a little of the flat filter into higher bands.
        assert!((low - 0.25).abs() < 0.02 && middle < 0.02 && (high - 0.75).abs() < 0.02, "{:?}", found.bands);
        assert!((found.steps.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert!(found.steps[0] > 0.2 && found.steps[STEPS - 1] > 0.5, "{:?}", found.steps);
    }
}
