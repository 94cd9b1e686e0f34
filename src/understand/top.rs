//! The strongest activations of every map of a layer, at most one an image.
//!
//! Kept while images go by: nine a map, whatever the number of images. Which they are
//! depends on the activations alone, not on the order of images or on how they were
//! divided: the larger value comes first, among equals the smaller image, and within
//! an image the first position in row-major order.
//!
//! Only positive activations count: to a rectified unit 0 is silence, and there is
//! nothing to project. A map that is silent on every image has no peak.

use std::cmp::Ordering;
use std::ops::Range;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::net::Layer;

/// Activations kept for each map.
pub const KEPT: usize = 9;

/// The strongest activation of one map in one image.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peak {
    /// Activation, positive.
    pub value: f32,
    /// Image of the split.
    pub image: usize,
    /// Row of the map.
    pub p: usize,
    /// Column of the map.
    pub q: usize,
}

impl Peak {
    /// Strongest first; see the module's documentation.
    fn order(&self, other: &Peak) -> Ordering {
        let place = |peak: &Peak| (peak.image, peak.p, peak.q);
        other.value.total_cmp(&self.value).then_with(|| place(self).cmp(&place(other)))
    }
}

/// The [`KEPT`] strongest peaks of each map of one layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Top {
    /// The layer's name.
    pub layer: String,
    /// For each map its peaks, the strongest first.
    pub maps: Vec<Vec<Peak>>,
}

impl Top {
    /// Nothing seen of `layer` yet.
    pub fn new(layer: &Layer) -> Self {
        Top { layer: layer.name.clone(), maps: vec![Vec::new(); layer.output.C] }
    }

    /// Takes in the layer's blob for `images`, which are images of the split.
    ///
    /// # Errors
    /// [`Error::Usage`] with layer, image and map if an activation is not finite.
    pub fn add(
        &mut self,
        layer: &Layer,
        images: &[usize], // (N)
        y: &[f32],        // (N, P, Q, K)
    ) -> Result<()> {
        let blobs = y.par_chunks_exact(layer.output.len()).zip(images);
        let found: Vec<_> = blobs.map(|(y, &image)| peaks(layer, image, y)).collect::<Result<_>>()?;
        for peaks in found {
            for (kept, peak) in self.maps.iter_mut().zip(peaks) {
                if peak.value > 0.0 {
                    insert(kept, peak);
                }
            }
        }
        Ok(())
    }

    /// Takes in what another search found in the same layer, on other images or the same.
    ///
    /// # Errors
    /// [`Error::Usage`] if it was another layer.
    pub fn merge(&mut self, other: &Top) -> Result<()> {
        if (&self.layer, self.maps.len()) != (&other.layer, other.maps.len()) {
            let (mine, theirs) = (self.maps.len(), other.maps.len());
            return Err(Error::Usage(format!(
                "cannot merge {mine} maps of {} with {theirs} maps of {}: search the same network",
                self.layer, other.layer
            )));
        }
        for (kept, others) in self.maps.iter_mut().zip(&other.maps) {
            others.iter().for_each(|&peak| insert(kept, peak));
        }
        Ok(())
    }

    /// Whether these can be peaks of `layer` in `images`.
    pub(super) fn fits(&self, layer: &Layer, images: &Range<usize>) -> bool {
        let there = |peak: &Peak| {
            let Peak { value, image, p, q } = *peak;
            value > 0.0 && value.is_finite() && images.contains(&image) && p < layer.output.H && q < layer.output.W
        };
        let sound = |peaks: &Vec<Peak>| {
            peaks.len() <= KEPT && peaks.iter().all(there) && peaks.is_sorted_by(|a, b| a.order(b) == Ordering::Less)
        };
        self.maps.len() == layer.output.C && self.maps.iter().all(sound)
    }

    /// Maps that no image activates.
    pub fn silent(&self) -> usize {
        self.maps.iter().filter(|peaks| peaks.is_empty()).count()
    }
}

/// Puts `peak` in its place unless it is too weak or its image's is there already.
fn insert(kept: &mut Vec<Peak>, peak: Peak) {
    let at = kept.partition_point(|other| other.order(&peak) == Ordering::Less);
    if at < KEPT && kept.get(at) != Some(&peak) {
        kept.insert(at, peak);
        kept.truncate(KEPT);
    }
}

/// The peak of every map in one image.
fn peaks(
    layer: &Layer,
    image: usize,
    y: &[f32], // (P, Q, K)
) -> Result<Vec<Peak>> {
    let (Q, K) = (layer.output.W, layer.output.C);
    let (mut best, mut at) = (vec![f32::NEG_INFINITY; K], vec![0u32; K]);
    let mut finite = true;
    for (position, y) in y.chunks_exact(K).enumerate() {
        for ((best, at), &v) in best.iter_mut().zip(&mut at).zip(y) {
            finite &= v.is_finite();
            let wins = v > *best;
            *best = if wins { v } else { *best };
            *at = if wins { position as u32 } else { *at };
        }
    }
    if !finite {
        let k = y.iter().position(|v| !v.is_finite()).map_or(0, |i| i % K);
        return Err(Error::Usage(format!(
            "map {k} of {} holds a value that is not finite for image {image}: the network has diverged, \
             choose an earlier checkpoint",
            layer.name
        )));
    }
    let peak = |(value, at): (f32, u32)| Peak { value, image, p: at as usize / Q, q: at as usize % Q };
    Ok(best.into_iter().zip(at).map(peak).collect())
}
