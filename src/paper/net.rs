//! The networks of the paper's tables, at two scales.
//!
//! A variant is one of two networks with layers left out or widened by a ratio. At the
//! paper's scale that gives exactly the presets of the same name (a test compares
//! them); in miniature it gives the same network within `zfnet-64` or `alexnet-64`.

use std::str::FromStr;

use crate::error::{Error, Result};
use crate::net::config::OpConfig;
use crate::section::nearest;
use crate::train::Config;

/// How large the networks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// As in the paper: 224 or 227 px, 60 million parameters.
    Paper,
    /// 64 px, half a million parameters: for small data and two cores.
    Small,
}

impl Scale {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Scale::Paper => "paper",
            Scale::Small => "small",
        }
    }
}

impl FromStr for Scale {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = [Scale::Paper, Scale::Small].into_iter().find(|scale| scale.name() == name);
        found.ok_or_else(|| Error::Usage(format!("no scale is called \"{name}\": it is paper or small")))
    }
}

/// A network of the tables: `base` without the layers `drop`, the layers of `widen` times a ratio as wide.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// Its name, which is that of the preset at the paper's scale.
    pub name: &'static str,
    base: &'static str,
    drop: &'static [&'static str],
    widen: &'static [(&'static str, (usize, usize))],
}

const HALF: [(&str, (usize, usize)); 2] = [("fc6", (1, 2)), ("fc7", (1, 2))];
const DOUBLE: [(&str, (usize, usize)); 2] = [("fc6", (2, 1)), ("fc7", (2, 1))];
/// 384, 384, 256 maps become 512, 1024, 512.
const WIDE: [(&str, (usize, usize)); 3] = [("conv3", (4, 3)), ("conv4", (8, 3)), ("conv5", (2, 1))];
const WIDE_DOUBLE: [(&str, (usize, usize)); 5] = [WIDE[0], WIDE[1], WIDE[2], DOUBLE[0], DOUBLE[1]];

const fn variant(name: &'static str, base: &'static str) -> Variant {
    Variant { name, base, drop: &[], widen: &[] }
}

/// All of them.
pub const VARIANTS: [Variant; 12] = [
    variant("alexnet", "alexnet"),
    Variant { drop: &["conv3", "conv4"], ..variant("alexnet-no34", "alexnet") },
    Variant { drop: &["fc7"], ..variant("alexnet-no7", "alexnet") },
    Variant { drop: &["fc6", "fc7"], ..variant("alexnet-no67", "alexnet") },
    Variant { drop: &["conv3", "conv4", "fc6", "fc7"], ..variant("alexnet-no3467", "alexnet") },
    Variant { widen: &HALF, ..variant("alexnet-fc2048", "alexnet") },
    Variant { widen: &DOUBLE, ..variant("alexnet-fc8192", "alexnet") },
    variant("zfnet", "zfnet"),
    Variant { widen: &HALF, ..variant("zfnet-fc2048", "zfnet") },
    Variant { widen: &DOUBLE, ..variant("zfnet-fc8192", "zfnet") },
    Variant { widen: &WIDE, ..variant("zfnet-wide", "zfnet") },
    Variant { widen: &WIDE_DOUBLE, ..variant("zfnet-wide-fc8192", "zfnet") },
];

impl Variant {
    /// The variant called `name`.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is none.
    pub fn named(name: &str) -> Result<&'static Variant> {
        let names: Vec<&str> = VARIANTS.iter().map(|v| v.name).collect();
        VARIANTS.iter().find(|v| v.name == name).ok_or_else(|| {
            let hint = nearest(name, &names).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            Error::Usage(format!("no network of the tables is called `{name}`{hint}"))
        })
    }

    /// Its description at `scale`, with the training settings of its base.
    ///
    /// # Errors
    /// [`Error::Config`] if the base has not the layers that it changes.
    pub fn config(&self, scale: Scale) -> Result<Config> {
        let (base, name) = match scale {
            Scale::Paper => (self.base.to_owned(), self.name.to_owned()),
            Scale::Small => (format!("{}-64", self.base), format!("{}-64", self.name)),
        };
        let mut config = Config::preset(&base)?;
        let layers = &mut config.net.layers;
        layers.retain(|layer| !self.drop.contains(&layer.name.as_str()));
        for (name, (times, over)) in self.widen {
            let Some(layer) = layers.iter_mut().find(|layer| layer.name == *name) else {
                return Err(Error::Usage(format!("preset {base} has no layer {name}, which {} widens", self.name)));
            };
            match &mut layer.op {
                OpConfig::Conv(conv) => conv.filters = conv.filters * times / over,
                OpConfig::Linear(linear) => linear.outputs = linear.outputs.map(|outputs| outputs * times / over),
                OpConfig::Pool(_) | OpConfig::Lrn(_) => {}
            }
        }
        config.net.name = name;
        config.net.check()?;
        Ok(config)
    }
}
