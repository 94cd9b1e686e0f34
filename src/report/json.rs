//! What a figure shows, in the JSON file beside it.

use std::fs;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::train::replace::replace_file;

/// Writes `figure`, whole or not at all.
pub fn save(path: &Path, figure: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_vec(figure).map_err(|e| Error::format(path, format!("cannot be written: {e}")))?;
    text.push(b'\n');
    replace_file(path, |out| out.write_all(&text))
}

/// What [`save`] wrote; `None` if there is no such file. `command` makes it anew.
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] with the command if the file is damaged.
pub fn read<T: DeserializeOwned>(path: &Path, command: &str) -> Result<Option<T>> {
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    let damaged = |e| Error::format(path, format!("not a figure of this program ({e}): run zfnet {command} again"));
    serde_json::from_str(&text).map(Some).map_err(damaged)
}
