//! What the page finds in the folder of a run's figures. The one place where their names stand:
//!
//! | files | made by | section |
//! |---|---|---|
//! | `filters*.png` | `visualize filters` | filters |
//! | `top9-<layer>.{png,csv,json}` | `visualize top9` | strongest activations |
//! | `evolution.{csv,json}`, `evolution-<layer>.png` | `visualize evolution` | evolution |
//! | `occlusion-<image>.{png,json}`, `occlusion-<image>-crop.png` | `visualize occlusion` | occlusion |
//! | `invariance.{png,csv,json}` | `visualize invariance` | invariance |
//! | `correspondence.{csv,json}` | `visualize correspondence` | correspondence |
//! | `score.{csv,json}` | `visualize score` | scores |
//! | `diagnose.json`, `spectrum.png` | `visualize diagnose` | diagnosis |

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::error::{Error, Result};

/// The files of `folder` whose names begin with `prefix` and end with `suffix`, in
/// alphabetical order; none if there is no such folder.
pub fn named(folder: &Path, prefix: &str, suffix: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if folder.is_dir() {
        for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
            let path = entry.map_err(Error::io("read", folder))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with(prefix) && name.ends_with(suffix) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// A PNG file as a `data:` URL, so that the page needs no other file.
pub fn png_url(path: &Path) -> Result<String> {
    let png = fs::read(path).map_err(Error::io("read", path))?;
    if !png.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Err(Error::format(path, "not a PNG picture: draw the figure again"));
    }
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(png)))
}
