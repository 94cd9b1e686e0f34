//! Initialisation, and the two recipes that choose it together with decay and schedule.

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
    /// N(0, 2/fan_in) (He et al. 2015), which keeps the mean square of the
    /// activations from layer to layer; over [`INPUT_RMS`] in the first layer.
    He,
}

impl Init {
    /// Names in descriptions.
    pub const NAMES: [(&'static str, Init); 2] = [("paper", Init::Paper), ("he", Init::He)];

    /// Standard deviation of the weights of a layer with `fan_in` inputs to an
    /// output (R S C/groups, or in).
    ///
    /// He's derivation takes inputs of unit mean square. Pixels lie in about
    /// [-128, 128] with a root mean square near 64, so without the division
    /// the first maps, and with them every later activation and the logits,
    /// would start 64 times too large and the first step would overflow.
    pub fn std(self, fan_in: usize, first_layer: bool) -> f64 {
        match self {
            Init::Paper => 0.01,
            Init::He => (2.0 / fan_in.max(1) as f64).sqrt() / if first_layer { INPUT_RMS } else { 1.0 },
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
