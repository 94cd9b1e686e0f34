//! Where in the image a unit looks.

use serde::{Deserialize, Serialize};

use crate::net::plan::Layer;
use crate::tensor::Extent;

/// A box of pixels in the network's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Layer {
    /// The receptive field of the units at (p, q), cut at the border of `image`:
    /// rows field_start + p jump .. field_start + p jump + receptive_field, columns
    /// likewise. Nothing outside has any influence on them.
    pub fn field(&self, p: usize, q: usize, image: Extent) -> Field {
        let cut = |i: usize, side: usize| {
            let start = self.field_start + (i * self.jump) as isize;
            let end = (start + self.receptive_field as isize).clamp(0, side as isize) as usize;
            let start = start.clamp(0, side as isize) as usize;
            (start, end - start)
        };
        let ((top, height), (left, width)) = (cut(p, image.H), cut(q, image.W));
        Field { top, left, height, width }
    }
}
