//! Grey pictures, and how alike two of them are.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use crate::data::decode::Rgb;
use crate::error::{Error, Result};

/// Standard deviation, in grey levels, below which a picture is flat: half a level is
/// what rounding to 8 bits leaves of any picture.
const FLAT: f64 = 0.5;

/// A picture in grey levels.
#[derive(Clone, Debug, PartialEq)]
pub struct Grey {
    /// Height in pixels.
    pub H: usize,
    /// Width in pixels.
    pub W: usize,
    /// Row-major: (H, W), 0 to 255.
    pub pixels: Vec<f32>,
}

impl Grey {
    /// Luma of `image` by ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B.
    pub fn of(image: &Rgb) -> Self {
        let luma = |p: &[u8]| 0.299 * f32::from(p[0]) + 0.587 * f32::from(p[1]) + 0.114 * f32::from(p[2]);
        Grey { H: image.H, W: image.W, pixels: image.pixels.chunks_exact(3).map(luma).collect() }
    }

    /// The same picture stretched to `H` x `W`, antialiased as records are.
    ///
    /// # Errors
    /// [`Error::Shape`] if either has no pixels.
    pub fn resized(&self, H: usize, W: usize) -> Result<Grey> {
        if (H, W) == (self.H, self.W) {
            return Ok(self.clone());
        }
        let failed = |e: &dyn std::fmt::Display| {
            Error::shape("resize", format!("{} x {} grey pixels to {H} x {W}: {e}", self.H, self.W))
        };
        let bytes = bytemuck::cast_slice(&self.pixels);
        let source = ImageRef::new(self.W as u32, self.H as u32, bytes, PixelType::F32).map_err(|e| failed(&e))?;
        let mut pixels = vec![0f32; H * W];
        let target = bytemuck::cast_slice_mut(&mut pixels);
        let mut target = Image::from_slice_u8(W as u32, H as u32, target, PixelType::F32).map_err(|e| failed(&e))?;
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        Resizer::new().resize(&source, &mut target, &options).map_err(|e| failed(&e))?;
        Ok(Grey { H, W, pixels })
    }

    /// Its centred square, in whole pixels, as packing cuts it.
    pub fn centre_square(&self) -> Grey {
        let side = self.H.min(self.W);
        let (top, left) = ((self.H - side) / 2, (self.W - side) / 2);
        let rows = self.pixels.chunks_exact(self.W).skip(top).take(side);
        Grey { H: side, W: side, pixels: rows.flat_map(|row| &row[left..left + side]).copied().collect() }
    }

    /// Its mirror image, left for right.
    pub fn mirrored(&self) -> Grey {
        let rows = self.pixels.chunks_exact(self.W);
        Grey { pixels: rows.flat_map(|row| row.iter().rev()).copied().collect(), ..*self }
    }

    /// Whether it is of one grey, but for rounding; also if a pixel is no number.
    pub fn is_flat(&self) -> bool {
        let (_, squares) = moments(&self.pixels);
        squares.is_nan() || squares < FLAT * FLAT * self.pixels.len() as f64
    }
}

/// Mean, and sum of squares about it.
fn moments(pixels: &[f32]) -> (f64, f64) {
    let mean = pixels.iter().map(|&p| f64::from(p)).sum::<f64>() / pixels.len() as f64;
    (mean, pixels.iter().map(|&p| (f64::from(p) - mean).powi(2)).sum())
}

/// Normalised correlation of two pictures at the size of the smaller one, the one of fewer
/// pixels; `None` if one of them is flat there.
///
/// # Errors
/// Those of [`Grey::resized`].
pub fn correlation(x: &Grey, y: &Grey) -> Result<Option<f64>> {
    let (large, small) = if x.pixels.len() > y.pixels.len() { (x, y) } else { (y, x) };
    let large = large.resized(small.H, small.W)?;
    if small.is_flat() || large.is_flat() {
        return Ok(None);
    }
    let ((mean_s, squares_s), (mean_l, squares_l)) = (moments(&small.pixels), moments(&large.pixels));
    let products = small.pixels.iter().zip(&large.pixels);
    let sum: f64 = products.map(|(&s, &l)| (f64::from(s) - mean_s) * (f64::from(l) - mean_l)).sum();
    Ok(Some(sum / (squares_s * squares_l).sqrt()))
}
