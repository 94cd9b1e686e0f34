//! Occlusion (Fig 6): what a network says while a square hides part of the image.
//!
//! The square moves over the crop that the network sees, in rows and columns one stride
//! apart, whole squares only and as far from one border as from the other. Each place is a
//! copy of the image, and copies go through the network in batches of as many as it holds.
//!
//! What hides is a second record, of which the square shows a piece. So grey is grey, the
//! mean image is rounded to whole levels (the network then sees less than half a level
//! there), and the image itself changes nothing. Image and record go to the network once;
//! the copies are made there.

use std::str::FromStr;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::augment::{Cropper, Window};
use crate::error::{Error, Result};
use crate::net::{Field, Layer, LayerOp, Net, Plan};
use crate::ops::{Backend, Role};
use crate::tensor::Extent;
use crate::train::evaluate::{add_probabilities, probabilities};

/// The paper's square and stride, for an input of [`PAPER_INPUT`].
const PAPER: (usize, usize) = (50, 8);
const PAPER_INPUT: usize = 224;

/// Most copies in a pass: beyond it nothing is faster, on a GPU either.
const MOST_COPIES: usize = 256;

/// What the square shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fill {
    /// Grey, level 128.
    #[default]
    Grey,
    /// The training set's mean image: to the network, nothing.
    Mean,
}

impl Fill {
    /// The record that the square shows a piece of; `mean` is the training set's.
    pub fn record(self, mean: &[f32]) -> Vec<u8> {
        match self {
            Fill::Grey => vec![128; mean.len()],
            Fill::Mean => mean.iter().map(|m| m.round() as u8).collect(),
        }
    }
}

impl FromStr for Fill {
    type Err = Error;

    /// `grey` or `mean`.
    fn from_str(name: &str) -> Result<Self> {
        match name {
            "grey" => Ok(Fill::Grey),
            "mean" => Ok(Fill::Mean),
            _ => Err(Error::Usage(format!("fill {name}: expected grey or mean"))),
        }
    }
}

/// The places of a square on the crop that the network sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sweep {
    /// Side of the square, in pixels.
    pub side: usize,
    /// Pixels from one place to the next.
    pub stride: usize,
    /// First rows of the squares.
    pub tops: Vec<usize>,
    /// First columns of the squares.
    pub lefts: Vec<usize>,
}

impl Sweep {
    /// The places on crops of `input`. Without a side or stride, the paper's 50 and 8 pixels,
    /// scaled with the crop.
    ///
    /// # Errors
    /// [`Error::Usage`] if a square does not fit, or nothing would move.
    pub fn new(input: Extent, side: Option<usize>, stride: Option<usize>) -> Result<Self> {
        let least = input.H.min(input.W);
        let scaled = |pixels: usize| ((pixels * least + PAPER_INPUT / 2) / PAPER_INPUT).max(1);
        let (side, stride) = (side.unwrap_or(scaled(PAPER.0)), stride.unwrap_or(scaled(PAPER.1)));
        if side == 0 || stride == 0 || side > least {
            return Err(Error::Usage(format!(
                "a square of {side} px every {stride} px on a crop of {} x {}: both must be at least 1, \
                 and the square no larger than the crop",
                input.H, input.W
            )));
        }
        let places = |length: usize| {
            let free = length - side;
            (free % stride / 2..=free).step_by(stride).collect()
        };
        Ok(Sweep { side, stride, tops: places(input.H), lefts: places(input.W) })
    }

    /// Number of places.
    pub fn len(&self) -> usize {
        self.tops.len() * self.lefts.len()
    }

    /// True if there are none (never: one square always fits).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The square at place `i`, in row-major order, in pixels of the crop.
    pub fn square(&self, i: usize) -> Field {
        let (row, column) = (i / self.lefts.len(), i % self.lefts.len());
        Field { top: self.tops[row], left: self.lefts[column], height: self.side, width: self.side }
    }
}

/// A record as it is stored and where the network looks at it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The image.
    pub record: &'a [u8], // (size, size, 3)
    /// Side of the record, in pixels.
    pub size: usize,
    /// The crop that the network sees.
    pub window: Window,
}

impl<'a> View<'a> {
    /// The centre of a record of side `size`, for crops of `input`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the record is too small.
    pub fn centre(record: &'a [u8], size: usize, input: Extent) -> Result<Self> {
        Ok(View { record, size, window: Cropper::new(size, input.H, input.W)?.centre() })
    }
}

/// What the network says about one image: with nothing hidden, or at each place of a square.
#[derive(Clone, Debug, PartialEq)]
pub struct Answers {
    /// Activity of the maps of a layer, summed over each map: (images, maps looked at).
    pub activity: Vec<f64>,
    /// Probabilities: (images, C).
    pub p: Vec<f64>,
    /// Number of classes C.
    pub classes: usize,
}

impl Answers {
    /// Probability of `class`, for each image.
    pub fn probability(&self, class: usize) -> Vec<f64> {
        self.p.chunks_exact(self.classes).map(|p| p[class]).collect()
    }

    /// The most probable class of each image; of equals the first.
    pub fn labels(&self) -> Vec<usize> {
        let first_of_largest = |best: (usize, f64), (c, &p): (usize, &f64)| if p > best.1 { (c, p) } else { best };
        let label = |p: &[f64]| p.iter().enumerate().fold((0, f64::NEG_INFINITY), first_of_largest).0;
        self.p.chunks_exact(self.classes).map(label).collect()
    }
}

/// The highest convolution: the layer whose maps are looked at unless told otherwise.
///
/// # Errors
/// [`Error::Usage`] if there is none.
pub fn top_convolution(plan: &Plan) -> Result<&Layer> {
    let convolution = |layer: &&Layer| matches!(layer.op, LayerOp::Conv { .. });
    plan.layers.iter().rfind(convolution).ok_or_else(|| Error::Usage(format!("{} has no convolution", plan.name)))
}

/// How many copies of an image to run at a time: `MOST_COPIES`, or fewer where they would
/// take more than half of the memory that is free (the other half is for working space).
pub fn batch_for<B: Backend>(backend: &B, plan: &Plan) -> usize {
    let bytes = |batch: usize| {
        let memory = plan.memory(batch, |role| backend.element_bytes(role));
        let largest = plan.layers.iter().map(|layer| layer.output.len()).fold(plan.input.len(), usize::max);
        let projections = 2 * (batch * largest * backend.element_bytes(Role::Activation)) as u64;
        memory.parameters + memory.activations + memory.switches + projections
    };
    let free = backend.available_bytes().unwrap_or(u64::MAX) / 2;
    let halves = std::iter::successors(Some(MOST_COPIES), |batch| (*batch > 1).then_some(batch / 2));
    halves.take_while(|batch| *batch > 1).find(|&batch| bytes(batch) <= free).unwrap_or(1)
}

/// The answers with nothing hidden: the activity of every map of `layer`.
pub fn clear<B: Backend>(net: &mut Net<B>, view: View, layer: &str) -> Result<Answers> {
    let p = probabilities(net, view.record, &[0], &[view.window])?;
    let K = net.plan().layers[net.plan().layer_index(layer)?].output.C;
    let mut activity = vec![0f64; K];
    for y in net.blob(layer)?.chunks_exact(K) {
        activity.iter_mut().zip(y).for_each(|(sum, y)| *sum += f64::from(*y));
    }
    Ok(Answers { activity, p, classes: net.plan().classes })
}

/// The answers at each place of `sweep`: the activity of map `map` of `layer`. `hiding` is
/// the record that the square shows a piece of (see [`Fill::record`]). `done` hears after
/// each batch how many places are done.
///
/// # Errors
/// [`Error::Usage`] if there is no such layer or map.
pub fn occlude<B: Backend>(
    net: &mut Net<B>,
    view: View,
    hiding: &[u8], // (size, size, 3)
    sweep: &Sweep,
    (layer, map): (&str, usize),
    done: &mut dyn FnMut(usize),
) -> Result<Answers> {
    let output = net.plan().layers[net.plan().layer_index(layer)?].output;
    if map >= output.C {
        return Err(Error::Usage(format!("no map {map} in {layer}: its maps are 0 to {}", output.C - 1)));
    }
    let mut answers = Answers { activity: Vec::new(), p: Vec::new(), classes: net.plan().classes };
    let mut copies_of = net.occluder(view.record, hiding, view.window.to_ints())?;
    for first in (0..sweep.len()).step_by(net.max_batch()) {
        let places = first..(first + net.max_batch()).min(sweep.len());
        let copies: Vec<_> = places.clone().map(|place| (0, sweep.square(place))).collect();
        net.load_occluded(&mut copies_of, &copies)?;
        answers.p.resize(places.end * answers.classes, 0.0);
        add_probabilities(net, 1.0, &mut answers.p[first * answers.classes..])?;
        let y = net.blob(layer)?; // (N, P, Q, K)
        let sums = y.par_chunks_exact(output.len()).map(|y| y.iter().skip(map).step_by(output.C).copied());
        answers.activity.par_extend(sums.map(|y| y.map(f64::from).sum::<f64>()));
        done(places.end);
    }
    Ok(answers)
}
