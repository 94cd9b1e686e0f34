//! Networks that come with the program: the paper's, those it is compared with, and a small one.
//!
//! Each is a description in `presets/`, in the grammar that users write. The
//! variants start from `zfnet` or `alexnet` and say only what differs.

use crate::error::{Error, Result};
use crate::section::nearest;

macro_rules! presets {
    ($($name:literal),+ $(,)?) => {
        /// Name and description of every preset.
        const PRESETS: &[(&str, &str)] = &[$(($name, include_str!(concat!("presets/", $name, ".toml")))),+];
    };
}

presets![
    "zfnet",
    "zfnet-fc2048",
    "zfnet-fc8192",
    "zfnet-wide",
    "zfnet-wide-fc8192",
    "alexnet",
    "alexnet-no34",
    "alexnet-no7",
    "alexnet-no67",
    "alexnet-no3467",
    "alexnet-fc2048",
    "alexnet-fc8192",
    "small",
    "zfnet-64",
    "alexnet-64",
];

/// The names of all presets.
pub fn names() -> Vec<&'static str> {
    PRESETS.iter().map(|(name, _)| *name).collect()
}

/// What messages call the preset `name`.
pub fn origin(name: &str) -> String {
    format!("preset {name}")
}

/// The description of preset `name`.
///
/// # Errors
/// [`Error::Usage`] that lists the presets, if there is none of that name.
pub fn text(name: &str) -> Result<&'static str> {
    PRESETS.iter().find(|(n, _)| *n == name).map(|(_, text)| *text).ok_or_else(|| {
        let hint = nearest(name, &names()).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
        Error::Usage(format!("no preset `{name}`{hint} (there are {})", names().join(", ")))
    })
}
