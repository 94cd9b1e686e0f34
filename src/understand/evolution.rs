//! How features come about (Fig 4): after each of some epochs, the strongest activation
//! of a map over all training images, projected to pixels.
//!
//! Two projections of a map are compared where they are drawn: shifted so that the units'
//! receptive fields coincide, for a feature is the same wherever it is found. With a and b
//! the projections after some epoch and after the last,
//!
//! ```text
//! similarity = <a, b> / (|a| |b|)      from -1 to 1; 1 after the last epoch
//! ```
//!
//! A map that was silent then counts 0: it was not there yet. One that is silent at the
//! end has nothing to be compared with and is left out. A layer's similarity is the mean
//! over its maps, and the layer has *converged* at the first epoch from which on that
//! stays at or above [`CONVERGED`].

use crate::data::packed::{Dataset, Split};
use crate::error::Result;
use crate::net::{Layer, Net, Plan, Reverse};
use crate::ops::Backend;
use crate::tensor::Extent;
use crate::understand::projection::{Projection, place_in_tile, project_units};
use crate::understand::search::Search;
use crate::understand::top::Peak;

/// Epochs that the paper shows.
pub const EPOCHS: [u64; 8] = [1, 2, 5, 10, 20, 30, 40, 64];

/// Mean similarity to the last epoch from which on a layer counts as converged.
pub const CONVERGED: f64 = 0.9;

/// A map's strongest activation after one epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Sight {
    /// The activation.
    pub peak: Peak,
    /// What it looks like.
    pub projection: Projection,
}

/// The maps of one layer through the epochs.
#[derive(Clone, Debug)]
pub struct LayerEvolution {
    /// The layer.
    pub layer: Layer,
    /// Its maps that are looked at.
    pub maps: Vec<usize>,
    /// For each epoch and map its sight; `None` where the map is silent on every image.
    pub sights: Vec<Vec<Option<Sight>>>,
    /// Extent of the network's input.
    image: Extent,
}

impl LayerEvolution {
    /// Nothing seen of `maps` of `layer` yet.
    ///
    /// # Errors
    /// [`crate::error::Error::Usage`] if there is no such layer.
    pub fn new(plan: &Plan, layer: &str, maps: Vec<usize>) -> Result<Self> {
        let layer = plan.layers[plan.layer_index(layer)?].clone();
        Ok(LayerEvolution { layer, maps, sights: Vec::new(), image: plan.input })
    }

    /// Takes in the next epoch: `net` has its weights, and `search` found its strongest
    /// activations.
    pub fn add<B: Backend>(
        &mut self,
        net: &mut Net<B>,
        data: &Dataset,
        split: Split,
        search: &Search,
        reverse: &Reverse,
    ) -> Result<()> {
        let top = search.top(&self.layer.name)?;
        let strongest = |(row, &map): (usize, &usize)| top.maps[map].first().map(|&peak| (row, (map, peak)));
        let (rows, units): (Vec<usize>, Vec<_>) = self.maps.iter().enumerate().filter_map(strongest).unzip();
        let mut sights: Vec<Option<Sight>> = vec![None; self.maps.len()];
        project_units(net, data, split, &self.layer.name, &units, reverse, &mut |i, projection| {
            sights[rows[i]] = Some(Sight { peak: units[i].1, projection });
            Ok(())
        })?;
        self.sights.push(sights);
        Ok(())
    }

    fn sight(&self, epoch: usize, row: usize) -> Option<&Sight> {
        self.sights.get(epoch)?.get(row)?.as_ref()
    }

    /// Whether another image than in the epoch before excites the map in `row` most.
    /// Epochs count from 0, those shown.
    pub fn jumped(&self, epoch: usize, row: usize) -> bool {
        let image = |epoch| self.sight(epoch, row).map(|sight| sight.peak.image);
        match (epoch.checked_sub(1).and_then(image), image(epoch)) {
            (Some(before), Some(now)) => before != now,
            _ => false,
        }
    }

    /// How the map in `row` resembles what it is after the last epoch; `None` if it is silent then.
    pub fn similarity(&self, epoch: usize, row: usize) -> Option<f64> {
        let last = self.sight(self.sights.len().checked_sub(1)?, row)?;
        Some(self.sight(epoch, row).map_or(0.0, |sight| self.cosine(sight, last)))
    }

    /// The mean of [`LayerEvolution::similarity`] over the maps; `None` if all are silent at the end.
    pub fn mean_similarity(&self, epoch: usize) -> Option<f64> {
        let known: Vec<f64> = (0..self.maps.len()).filter_map(|row| self.similarity(epoch, row)).collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    }

    /// The first of the epochs from which on the layer stays converged; `None` if all maps are silent at the end.
    pub fn converged(&self) -> Option<usize> {
        let similarity = (0..self.sights.len()).map(|epoch| self.mean_similarity(epoch)).collect::<Option<Vec<_>>>()?;
        Some(similarity.iter().rposition(|&s| s < CONVERGED).map_or(0, |below| below + 1))
    }

    /// The cosine of two projections of the same map, shifted so that their receptive fields coincide.
    fn cosine(&self, a: &Sight, b: &Sight) -> f64 {
        let square = |s: &Sight| s.projection.projection.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
        let place = |s: &Sight| place_in_tile(&self.layer, self.image, s.projection.field, s.peak.p, s.peak.q);
        let ((top, left), (other_top, other_left)) = (place(a), place(b));
        let (field, other) = (a.projection.field, b.projection.field);
        let mut product = 0.0;
        // Rows and columns of the tile that both reach.
        for row in top.max(other_top)..(top + field.height).min(other_top + other.height) {
            let columns = left.max(other_left)..(left + field.width).min(other_left + other.width);
            if columns.is_empty() {
                continue;
            }
            let line = |top: usize, left: usize, width: usize| {
                let from = ((row - top) * width + columns.start - left) * 3;
                from..from + columns.len() * 3
            };
            let x = &a.projection.projection[line(top, left, field.width)];
            let y = &b.projection.projection[line(other_top, other_left, other.width)];
            product += x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum::<f64>();
        }
        let norms = (square(a) * square(b)).sqrt();
        if norms > 0.0 { product / norms } else { 0.0 }
    }
}
