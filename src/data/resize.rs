//! From an image of any size to a square record.
//!
//! The shorter side goes to S and the centred S x S square is kept. The square
//! is cut out first and then resized, which gives the same picture without
//! ever making the long side of a 1 x 1000 image.
//!
//! The filter is the antialiased triangle ("bilinear" of Pillow and
//! torchvision): its support grows with the reduction, so that no detail
//! finer than a record's pixel turns into a pattern that is not there, and its
//! weights are positive, so that no edge overshoots, as edges do with the
//! sharper cubic and Lanczos filters.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use crate::data::decode::Rgb;
use crate::error::{Error, Result};

/// Writes the centred square of `image`, resized to `S` x `S`, to `record`.
pub fn centre_square(
    image: &Rgb,
    S: usize,
    record: &mut [u8], // (S, S, 3)
) -> Result<()> {
    let failed = |e: &dyn std::fmt::Display| {
        Error::shape("resize", format!("{} x {} pixels to {S} x {S}: {e}", image.W, image.H))
    };
    let side = image.W.min(image.H);
    // Whole pixels: half a pixel more would blur an image that has the right size already.
    let (left, top) = ((image.W - side) / 2, (image.H - side) / 2);
    let source =
        ImageRef::new(image.W as u32, image.H as u32, &image.pixels, PixelType::U8x3).map_err(|e| failed(&e))?;
    let mut target = Image::from_slice_u8(S as u32, S as u32, record, PixelType::U8x3).map_err(|e| failed(&e))?;
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear)).crop(
        left as f64,
        top as f64,
        side as f64,
        side as f64,
    );
    Resizer::new().resize(&source, &mut target, &options).map_err(|e| failed(&e))
}
