//! Images that a list keeps out of a data set, e.g. duplicates of another one's.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use super::Inventory;
use crate::data::packed::Split;
use crate::error::{Error, Result};

/// Takes the images that the file `list` names out of `inventory`, one name a
/// line, as the source has them; gives their number. A name that it does not
/// have is no error, for one list may serve several data sets: it is noted.
pub(super) fn exclude(inventory: &mut Inventory, list: &Path) -> Result<usize> {
    let bytes = fs::read(list).map_err(Error::io("read", list))?;
    let text = str::from_utf8(&bytes).map_err(|e| {
        let line = bytes[..e.valid_up_to()].split(|&byte| byte == b'\n').count();
        Error::format(list, format!("line {line} is not UTF-8: expected the name of an image"))
    })?;
    let lines = text.lines().map(str::trim).enumerate().filter(|(_, name)| !name.is_empty());
    // The line that has the name, and whether an image was found for it.
    let mut names: HashMap<&str, (usize, bool)> = lines.map(|(i, name)| (name, (i + 1, false))).collect();
    let before = inventory.len();
    for split in Split::ALL {
        inventory.split_mut(split).retain(|item| match names.get_mut(item.name.as_str()) {
            Some((_, found)) => {
                *found = true;
                false
            }
            None => true,
        });
    }
    let unknown: Vec<(usize, &str)> =
        names.iter().filter(|(_, (_, found))| !found).map(|(name, (line, _))| (*line, *name)).collect();
    if let Some((line, name)) = unknown.iter().min() {
        let list = list.display();
        let note = format!("{list}: {} names are not in this data set, first \"{name}\" in line {line}", unknown.len());
        inventory.notes.push(note);
    }
    Ok(before - inventory.len())
}
