//! Initialisation, and the two recipes that choose it together with decay and schedule.
//!
//! **He's initialisation and pixels.** N(0, 2/fan_in) keeps the mean square of
//! the activations from layer to layer, but it is derived for inputs of unit
//! mean square. Ours are grey levels in [-128, 128], root mean square X near
//! 64, and the logits should start near 1: somewhere the factor X must go.
//! Let layer l multiply He's deviation by c_l, with c_1 ... c_L = 1/X. Its
//! input is then X c_1 ... c_(l-1) times what He assumes, the gradient of its
//! output 1/(X c_1 ... c_l) times, so the gradient of its weights grows by
//! 1/c_l while the weights shrink by c_l: it learns as if its rate were
//! lr / c_l^2. All in the first layer, c_1 = 1/X, is a rate 4096 times too
//! high, and the first steps blow up at lr = 0.01. The least harm is
//! to share it evenly,
//!
//! ```text
//! c_l = X^(-1/L):   0.595 in ZFNet (L = 8), 0.5 in `small` (L = 6)
//! ```
//!
//! a rate 2.8 or 4 times higher, in every layer alike.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::schedule::ScheduleConfig;

/// Root mean square of a mean-subtracted 8-bit photograph, in grey levels.
const INPUT_RMS: f64 = 64.0;

/// How weights are drawn; biases start at 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Init {
    /// N(0, 0.01^2) everywhere: the paper's "initialised to 1e-2".
    Paper,
    /// N(0, 2/fan_in) (He et al. 2015) times X^(-1/L), for pixels: see the module's documentation.
    He,
}

impl Init {
    /// Names in descriptions.
    pub const NAMES: [(&'static str, Init); 2] = [("paper", Init::Paper), ("he", Init::He)];

    /// Standard deviation of the weights of a layer with `fan_in` inputs to an
    /// output (R S C/groups, or in), one of `depth` layers that have weights.
    pub fn std(self, fan_in: usize, depth: usize) -> f64 {
        match self {
            Init::Paper => 0.01,
            Init::He => (2.0 / fan_in.max(1) as f64).sqrt() * INPUT_RMS.powf(-1.0 / depth.max(1) as f64),
        }
    }

    /// Its name in descriptions.
    pub fn name(self) -> &'static str {
        match self {
            Init::Paper => "paper",
            Init::He => "he",
        }
    }
}

/// A choice of initialisation, weight decay and schedule that go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recipe {
    /// What the paper says: N(0, 0.01^2), no weight decay, the rate lowered on a plateau.
    Paper,
    /// What trains reliably: He, weight decay 5e-4, the rate lowered at fixed times.
    Practical,
}

impl Recipe {
    /// Names in descriptions.
    pub const NAMES: [(&'static str, Recipe); 2] = [("paper", Recipe::Paper), ("practical", Recipe::Practical)];

    /// Its initialisation.
    pub fn init(self) -> Init {
        match self {
            Recipe::Paper => Init::Paper,
            Recipe::Practical => Init::He,
        }
    }

    /// Its weight decay (on weights; biases never decay).
    pub fn weight_decay(self) -> f64 {
        match self {
            Recipe::Paper => 0.0,
            Recipe::Practical => 5e-4,
        }
    }

    /// Its schedule.
    pub fn schedule(self) -> ScheduleConfig {
        match self {
            Recipe::Paper => ScheduleConfig::plateau(),
            Recipe::Practical => ScheduleConfig::steps(),
        }
    }

    /// Its name in descriptions.
    pub fn name(self) -> &'static str {
        match self {
            Recipe::Paper => "paper",
            Recipe::Practical => "practical",
        }
    }
}

/// For `--recipe`.
impl FromStr for Recipe {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = Recipe::NAMES.into_iter().find(|(name, _)| *name == word);
        found.map(|(_, recipe)| recipe).ok_or_else(|| format!("`{word}` is neither paper nor practical"))
    }
}
