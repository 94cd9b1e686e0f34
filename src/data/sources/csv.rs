//! A table of images: a CSV file with the columns `path`, `label` and, if it likes, `split`.
//!
//! Paths are relative to the table. Labels are class names, sorted by name, or
//! as numbers if all of them are. `split` is `train` or `val`; without that
//! column a seeded share of every class is held out. Images are packed in the
//! order of the lines; other columns are not looked at.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use ::csv::{ErrorKind, ReaderBuilder, StringRecord, Trim};

use super::imagefolder::name_of;
use super::place::Place;
use super::{HoldOut, Inventory, Item, Source};
use crate::data::packed::{MAX_CLASSES, Split};
use crate::error::{Error, Result};

/// A table of images.
#[derive(Clone, Debug, PartialEq)]
pub struct Csv {
    /// The table.
    pub file: PathBuf,
    /// What to hold out where the table has no column `split`.
    pub hold_out: HoldOut,
}

/// What one line says.
struct Line {
    number: u64,
    path: String,
    label: String,
    split: Option<Split>,
}

impl Source for Csv {
    fn read(&self, _scratch: &Path) -> Result<Inventory> {
        self.hold_out.check()?;
        let file = &self.file;
        let lines = self.lines()?;
        let own_split = lines.iter().any(|line| line.split.is_some());
        let classes = classes(lines.iter().map(|line| line.label.as_str()).collect());
        if classes.is_empty() || classes.len() > MAX_CLASSES {
            return Err(Error::format(file, format!("has {} classes: expected 1 to {MAX_CLASSES}", classes.len())));
        }
        let labels: HashMap<&str, u16> = classes.iter().map(String::as_str).zip(0..=u16::MAX).collect();
        let folder = file.parent().unwrap_or(Path::new(""));
        let mut first = HashMap::new();
        let (mut train, mut val) = (Vec::new(), Vec::new());
        for Line { number, path, label, split } in lines {
            if let Some(before) = first.insert(path.clone(), number) {
                return Err(Error::format(file, format!("line {number}: {path} stands in line {before} already")));
            }
            let item = Item::new(path.clone(), labels[label.as_str()], Place::File(folder.join(path)));
            if split == Some(Split::Val) { val.push(item) } else { train.push(item) }
        }
        let mut held_out = None;
        if !own_split {
            (train, val) = self.hold_out.divide(file, &classes, train)?;
            held_out = Some(self.hold_out);
        }
        let origin = format!("csv {}", name_of(file));
        Ok(Inventory::new(folder, classes, [train, val], origin).held_out(held_out))
    }
}

impl Csv {
    fn lines(&self) -> Result<Vec<Line>> {
        let file = &self.file;
        let bad = |reason: String| Error::format(file, reason);
        let wrong = |e: ::csv::Error| {
            let line = e.position().map_or(String::new(), |at| format!("line {}: ", at.line()));
            match e.into_kind() {
                ErrorKind::Io(source) => Error::io("read", file)(source),
                ErrorKind::Utf8 { err, .. } => bad(format!("{line}{err}: expected UTF-8")),
                ErrorKind::UnequalLengths { expected_len, len, .. } => {
                    bad(format!("{line}{len} fields, where the first line has {expected_len}"))
                }
                other => bad(format!("{line}{other:?}")),
            }
        };
        let mut reader = ReaderBuilder::new().trim(Trim::All).from_path(file).map_err(wrong)?;
        let headers = reader.headers().map_err(wrong)?.clone();
        let column = |name: &str| headers.iter().position(|header| header.eq_ignore_ascii_case(name));
        let needed = |name: &str| {
            column(name)
                .ok_or_else(|| bad(format!("line 1: no column is called \"{name}\": expected path,label[,split]")))
        };
        let (path, label, split) = (needed("path")?, needed("label")?, column("split"));
        let mut lines = Vec::new();
        for record in reader.into_records() {
            let record: StringRecord = record.map_err(wrong)?;
            let number = record.position().map_or(0, ::csv::Position::line);
            let text = |column: usize, name: &str| match record.get(column) {
                Some(text) if !text.is_empty() => Ok(text.to_string()),
                _ => Err(bad(format!("line {number}: its {name} is empty"))),
            };
            let split = split
                .map(|column| text(column, "split")?.parse().map_err(|e: Error| bad(format!("line {number}: {e}"))));
            lines.push(Line {
                number,
                path: text(path, "path")?,
                label: text(label, "label")?,
                split: split.transpose()?,
            });
        }
        Ok(lines)
    }
}

/// Class names in order: as numbers if all are numbers, or else by name.
fn classes(names: BTreeSet<&str>) -> Vec<String> {
    let mut names: Vec<&str> = names.into_iter().collect();
    if names.iter().all(|name| name.parse::<u64>().is_ok()) {
        names.sort_by_key(|name| name.parse::<u64>().ok());
    }
    names.into_iter().map(str::to_string).collect()
}
