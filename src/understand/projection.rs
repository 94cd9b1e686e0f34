//! Units projected to pixels, beside the pixels they looked at.
//!
//! A unit of a map looks at a box of the image: its receptive field, cut at the border.
//! Outside it the projection is exactly 0, so only the box is kept.

use crate::data::augment::Cropper;
use crate::data::packed::{Dataset, Split};
use crate::error::Result;
use crate::net::{Field, Keep, Layer, Net, Reverse};
use crate::ops::Backend;
use crate::tensor::Extent;
use crate::understand::top::Peak;

/// One unit's activation, seen in pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Projection {
    /// Its receptive field in the network's input (the centre crop), cut at the border.
    pub field: Field,
    /// The projection there, signed, in the units of activation times filter: (height, width, 3).
    pub projection: Vec<f32>,
    /// The image there: (height, width, 3).
    pub patch: Vec<u8>,
}

/// Projects units of one layer, each given by its map and its peak, in batches of as
/// many as `net` holds. `each` gets the number of the unit and its projection.
///
/// # Errors
/// [`crate::error::Error::Usage`] if layer, map or position are not there.
pub fn project_units<B: Backend>(
    net: &mut Net<B>,
    data: &Dataset,
    split: Split,
    layer: &str,
    units: &[(usize, Peak)],
    reverse: &Reverse,
    each: &mut dyn FnMut(usize, Projection) -> Result<()>,
) -> Result<()> {
    let (image, records) = (net.plan().input, data.split(split));
    let planned = net.plan().layers[net.plan().layer_index(layer)?].clone();
    let window = Cropper::new(data.size(), image.H, image.W)?.centre();
    let mut done = 0;
    for units in units.chunks(net.max_batch()) {
        let pixels: Vec<u8> = units.iter().flat_map(|(_, peak)| records.record(peak.image)).copied().collect();
        let labels: Vec<i32> = units.iter().map(|(_, peak)| records.label(peak.image) as i32).collect();
        net.load_records(&pixels, &window.to_ints().repeat(units.len()), &labels)?;
        net.forward_to(layer)?;
        let keep: Vec<Keep> = units.iter().map(|&(k, Peak { p, q, .. })| Keep::Unit { p, q, k }).collect();
        let rows = net.project(layer, &keep, reverse)?;
        for ((_, peak), row) in units.iter().zip(rows.chunks_exact(image.len())) {
            let field = planned.field(peak.p, peak.q, image);
            let in_record = Field { top: field.top + window.top, left: field.left + window.left, ..field };
            let patch = cut(records.record(peak.image), data.size(), in_record);
            each(done, Projection { field, projection: cut(row, image.W, field), patch })?;
            done += 1;
        }
    }
    Ok(())
}

/// The pixels of `field` in an image of `W` columns.
fn cut<E: Copy>(
    image: &[E], // (H, W, 3)
    W: usize,
    field: Field,
) -> Vec<E> {
    let rows = image.chunks_exact(W * 3).skip(field.top).take(field.height);
    rows.flat_map(|row| &row[field.left * 3..][..field.width * 3]).copied().collect()
}

/// Side of a tile that holds any projection of `layer`: the whole receptive field, so
/// that all units look alike, or the image where the field is larger.
pub fn tile_side(layer: &Layer, image: Extent) -> usize {
    layer.receptive_field.min(image.H.max(image.W))
}

/// Row and column of the tile at which `field` begins, the receptive field of (p, q) cut
/// at the border. Where the field is larger than the image, the tile is the image.
pub fn place_in_tile(layer: &Layer, image: Extent, field: Field, p: usize, q: usize) -> (usize, usize) {
    let whole = layer.receptive_field == tile_side(layer, image);
    let start = |i: usize| if whole { layer.field_start + (i * layer.jump) as isize } else { 0 };
    let place = |cut: usize, i: usize| (cut as isize - start(i)).max(0) as usize;
    (place(field.top, p), place(field.left, q))
}
