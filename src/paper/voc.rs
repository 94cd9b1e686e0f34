//! Table 5: PASCAL VOC 2012 classification, average precision of each class.
//!
//! The network is frozen; a softmax over the twenty classes learns from the features of its
//! highest layer, from each training image once for every class that it shows.

use crate::error::{Error, Result};
use crate::paper::comparison::{Cell, Line};
use crate::train::average_precision::{ClassPrecision, mean};

/// Class as the data set calls it, and what the paper reports, in per cent.
pub const TABLE_5: [(&str, f64); 20] = [
    ("aeroplane", 96.0),
    ("bicycle", 77.1),
    ("bird", 88.4),
    ("boat", 85.5),
    ("bottle", 55.8),
    ("bus", 85.8),
    ("car", 78.6),
    ("cat", 91.2),
    ("chair", 65.0),
    ("cow", 74.4),
    ("diningtable", 67.7),
    ("dog", 87.8),
    ("horse", 86.0),
    ("motorbike", 85.1),
    ("person", 90.9),
    ("pottedplant", 52.2),
    ("sheep", 83.6),
    ("sofa", 61.1),
    ("train", 91.8),
    ("tvmonitor", 76.1),
];

/// The mean of the column, as the paper prints it.
pub const MEAN: f64 = 79.0;

/// What the paper reports of a class.
pub fn published(class: &str) -> Option<f64> {
    TABLE_5.iter().find(|(name, _)| *name == class).map(|(_, value)| *value)
}

/// The rows of the table: each class, and their mean.
///
/// # Errors
/// [`Error::Usage`] if a class of the table is not among `found`.
pub fn rows(found: &[ClassPrecision]) -> Result<Vec<Line>> {
    let line = |label, published, ours: Option<f64>| {
        let ours = ours.map(|area| 100.0 * area).into_iter().collect();
        Line { label, networks: Vec::new(), cells: vec![Cell { measure: "AP", published: Some(published), ours }] }
    };
    let mut rows = Vec::with_capacity(TABLE_5.len() + 1);
    for (class, published) in TABLE_5 {
        let of_class = found.iter().find(|c| c.class == class).ok_or_else(|| {
            Error::Usage(format!("Table 5 has a row for \"{class}\", and the data set has no such class"))
        })?;
        rows.push(line(class, published, of_class.area));
    }
    rows.push(line("mean", MEAN, mean(found.iter().map(|c| c.area))));
    Ok(rows)
}
