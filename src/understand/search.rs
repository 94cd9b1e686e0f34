//! One pass over the images of a split that finds the strongest activations.
//!
//! The search is a value: it knows which weights and images it is about, which images
//! it has seen, and what it has found. Saved now and then it can be taken up again
//! where it stood; searches of the shards of a split can be merged.

use std::fs;
use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::data::augment::Cropper;
use crate::data::packed::{Dataset, Split};
use crate::error::{Error, Result};
use crate::net::{Net, Plan};
use crate::ops::Backend;
use crate::train::model::Model;
use crate::train::replace::replace_file;
use crate::understand::top::Top;

/// Layout of the saved file.
const VERSION: u32 = 1;

/// A search through part of a split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Search {
    version: u32,
    /// Fingerprint of weights and images: see [`subject`].
    subject: String,
    /// Images to search, of which those before `next` are done.
    images: Range<usize>,
    next: usize,
    /// What was found, a layer each.
    tops: Vec<Top>,
}

impl Search {
    /// A search through `images` for the maps of `layers`. `subject` says what is
    /// searched: see [`subject`].
    ///
    /// # Errors
    /// [`Error::Usage`] that lists the layers, if one is not there.
    pub fn new(subject: String, plan: &Plan, layers: &[String], images: Range<usize>) -> Result<Self> {
        let top = |name: &String| Ok(Top::new(&plan.layers[plan.layer_index(name)?]));
        let tops = layers.iter().map(top).collect::<Result<_>>()?;
        Ok(Search { version: VERSION, subject, next: images.start, images, tops })
    }

    /// The search saved at `path` if it is about the subject and images of `wanted` and
    /// covers its layers; `None` if there is none or it is about something else.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] if the file is damaged.
    pub fn load(path: &Path, wanted: &Search, plan: &Plan) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
        let damaged =
            |reason: String| Error::format(path, format!("not a saved search: {reason}; delete it to search anew"));
        let found: Search = serde_json::from_str(&text).map_err(|e| damaged(e.to_string()))?;
        let same = (found.version, &found.subject, &found.images) == (VERSION, &wanted.subject, &wanted.images);
        let covers = |top: &Top| found.tops.iter().any(|t| (&t.layer, t.maps.len()) == (&top.layer, top.maps.len()));
        if !(same && wanted.tops.iter().all(covers)) {
            return Ok(None);
        }
        let inside = found.images.start <= found.next && found.next <= found.images.end;
        let fits = |top: &Top| plan.layer_index(&top.layer).is_ok_and(|i| top.fits(&plan.layers[i], &found.images));
        match inside && found.tops.iter().all(fits) {
            true => Ok(Some(found)),
            false => Err(damaged("it names units or images that are not there".into())),
        }
    }

    /// Saves the search, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec(self).map_err(|e| Error::format(path, format!("cannot be written: {e}")))?;
        replace_file(path, |out| out.write_all(&text))
    }

    /// Looks at the images that are left, each through its centre window. `go_on` is
    /// asked after each batch, with the search as it stands; if it says no, the rest is
    /// left for later and the answer is false.
    pub fn run<B: Backend>(
        &mut self,
        net: &mut Net<B>,
        data: &Dataset,
        split: Split,
        go_on: &mut dyn FnMut(&Search) -> Result<bool>,
    ) -> Result<bool> {
        let plan = net.plan().clone();
        let layers = self.tops.iter().map(|top| plan.layer_index(&top.layer)).collect::<Result<Vec<_>>>()?;
        let Some(&highest) = layers.iter().max() else { return Ok(true) };
        let window = Cropper::new(data.size(), plan.input.H, plan.input.W)?.centre().to_ints();
        let records = data.split(split);
        if self.images.end > records.len() {
            let (end, there) = (self.images.end, records.len());
            return Err(Error::Usage(format!("image {end} of a {split} split that has {there}")));
        }
        let mut pixels = Vec::new();
        while self.next < self.images.end {
            let batch: Vec<usize> = (self.next..self.images.end).take(net.max_batch()).collect();
            pixels.clear();
            batch.iter().for_each(|&i| pixels.extend_from_slice(records.record(i)));
            let labels: Vec<i32> = batch.iter().map(|&i| records.label(i) as i32).collect();
            net.load_records(&pixels, &window.repeat(batch.len()), &labels)?;
            net.forward_to(&plan.layers[highest].name)?;
            for (top, &i) in self.tops.iter_mut().zip(&layers) {
                top.add(&plan.layers[i], &batch, &net.blob(&top.layer)?)?;
            }
            self.next += batch.len();
            if !go_on(self)? && self.next < self.images.end {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes in a finished search through other images: the answer is that of one
    /// search through all of them.
    ///
    /// # Errors
    /// [`Error::Usage`] if one is not finished, they are about different things, or
    /// their images do not follow each other.
    pub fn merge(&mut self, other: &Search) -> Result<()> {
        let refuse = |reason: String| Err(Error::Usage(format!("cannot merge two searches: {reason}")));
        if self.subject != other.subject || self.tops.len() != other.tops.len() {
            return refuse("they are about different weights, images or layers".into());
        }
        if !(self.finished() && other.finished()) {
            return refuse("one of them is not finished".into());
        }
        self.images = match (self.images.clone(), other.images.clone()) {
            (a, b) if a.end == b.start => a.start..b.end,
            (a, b) if b.end == a.start => b.start..a.end,
            (a, b) => return refuse(format!("images {a:?} and {b:?} do not follow each other")),
        };
        self.next = self.images.end;
        self.tops.iter_mut().zip(&other.tops).try_for_each(|(top, other)| top.merge(other))
    }

    /// Whether every image has been seen.
    pub fn finished(&self) -> bool {
        self.next == self.images.end
    }

    /// Images seen so far.
    pub fn seen(&self) -> usize {
        self.next - self.images.start
    }

    /// What was found in `layer`.
    ///
    /// # Errors
    /// [`Error::Usage`] if it was not searched.
    pub fn top(&self, layer: &str) -> Result<&Top> {
        let found = self.tops.iter().find(|top| top.layer == layer);
        found.ok_or_else(|| Error::Usage(format!("{layer} was not searched")))
    }
}

/// What tells one search from another: checksums of configuration and weights, and of
/// the split's shards. A search that was saved for other weights is not taken up.
pub fn subject(model: &Model, data: &Dataset, split: Split) -> String {
    format!("weights {:08x}, {split} {:08x}", model.fingerprint(), data.fingerprint(split))
}
