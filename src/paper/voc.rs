//! Table 5: PASCAL VOC 2012 classification, average precision of each class.

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
