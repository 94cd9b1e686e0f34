//! What the page needs to move an occluder over an image: `occlusion-<image>.json`.

use serde::{Deserialize, Serialize};

/// One image and what the network said at each place of the square, in row-major order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Occluder {
    /// The image's name.
    pub name: String,
    /// File name of the crop that the network sees.
    pub crop: String,
    /// File name of the figure with all panels.
    pub panels: String,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// The class whose probability is told.
    pub class: usize,
    /// Its probability with nothing hidden.
    pub clear: f64,
    /// Layer of the map whose activity is told.
    pub layer: String,
    /// The map.
    pub map: usize,
    /// Side of the square, in pixels of the crop.
    pub side: usize,
    /// First rows of the square's places.
    pub tops: Vec<usize>,
    /// First columns of the square's places.
    pub lefts: Vec<usize>,
    /// Probability of the class: (rows, columns).
    pub probability: Vec<f64>,
    /// The most probable class: (rows, columns).
    pub labels: Vec<usize>,
    /// Summed activity of the map: (rows, columns).
    pub activity: Vec<f64>,
}

impl Occluder {
    /// Refuses a file whose parts do not fit together, and says what to do.
    pub fn check(&self) -> Result<(), String> {
        let places = self.tops.len() * self.lefts.len();
        let sound = [self.probability.len(), self.labels.len(), self.activity.len()].iter().all(|len| *len == places)
            && places > 0
            && self.labels.iter().chain([&self.class]).all(|label| *label < self.classes.len());
        match sound {
            true => Ok(()),
            false => Err("its values do not fit its places or classes: run zfnet visualize occlusion again".into()),
        }
    }
}
