//! An image file's bytes to upright 8-bit RGB, or the reason why not.
//!
//! The format is found from the content: a PNG called `.jpg` is a PNG. JPEG
//! (baseline, progressive; grey, RGB, CMYK and YCCK, Adobe's inverted ones
//! too) and PNG (every depth, palette, interlaced) go through the crate
//! `image`, which decodes JPEG with zune-jpeg: of the pure-Rust decoders the
//! one that takes most of the damaged files that libjpeg takes. What it does
//! not judge as libjpeg does, the marker walk in `jpeg.rs` judges first.
//!
//! Decisions, where a file leaves one:
//! - EXIF orientation is applied: a net should see what a viewer shows.
//! - Transparency is laid over white, as a page shows it. Dropping alpha would
//!   bring up the colours under transparent pixels, which nobody has chosen and
//!   which are often black or noise.
//! - 16-bit samples are scaled to 8 bits, rounding; they are never clipped.
//! - Colour profiles are ignored: values are taken as sRGB.
//! - A truncated file is refused, not filled up with grey.
//!
//! Limits are checked on the header, before anything is allocated for pixels:
//! at most [`MAX_PIXELS`], at most [`MAX_BYTES`] decoded, and no more pixels
//! than the file's bytes can describe. A bomb costs the reading of its header.

use std::fs::{self, File};
use std::io::{Cursor, Read};
use std::path::Path;

use image::codecs::jpeg::JpegDecoder;
use image::codecs::png::PngDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat};

use crate::error::{Error, Result};

mod jpeg;
mod png;

/// Most pixels of an image: 256 MiB of RGB, the size from which Pillow warns of a bomb.
pub const MAX_PIXELS: u64 = (256 << 20) / 3;

/// Most bytes that an image may take as its decoder delivers it (16-bit and alpha count), and most of a file.
pub const MAX_BYTES: u64 = 512 << 20;

/// An upright image in 8-bit RGB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rgb {
    /// Height in pixels, at least 1.
    pub H: usize,
    /// Width in pixels, at least 1.
    pub W: usize,
    /// Row-major: (H, W, 3).
    pub pixels: Vec<u8>,
}

/// Reads and decodes `path`.
pub fn decode_file(path: &Path) -> Result<Rgb> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let length = fs::metadata(path).map_err(Error::io("read", path))?.len();
    if length > MAX_BYTES {
        return Err(Error::format(path, format!("{length} bytes long, and the limit is {MAX_BYTES}")));
    }
    let mut bytes = Vec::with_capacity(length as usize);
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    decode(&bytes).map_err(|reason| Error::format(path, reason))
}

/// Decodes the contents of an image file; the error is the reason in words.
pub fn decode(bytes: &[u8]) -> Result<Rgb, String> {
    if bytes.is_empty() {
        return Err("the file is empty".into());
    }
    match image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) => {
            let (header, bytes) = jpeg::examine(bytes)?;
            check_size(header.W.into(), header.H.into(), jpeg::most_pixels(bytes.len()))?;
            upright(JpegDecoder::new(Cursor::new(&bytes[..])).map_err(reason)?)
        }
        Ok(ImageFormat::Png) => {
            let header = png::examine(bytes)?;
            check_size(header.W.into(), header.H.into(), header.most_pixels(bytes.len()))?;
            upright(PngDecoder::new(Cursor::new(bytes)).map_err(reason)?)
        }
        Ok(other) => Err(format!("a {other:?} file: only JPEG and PNG are read; convert it first")),
        Err(_) => Err("not an image: it begins neither as a JPEG nor as a PNG file".into()),
    }
}

/// Refuses a header that promises too much. `possible`: pixels that the file's length can describe.
fn check_size(W: u64, H: u64, possible: u64) -> Result<(), String> {
    let pixels = W * H;
    if pixels == 0 {
        return Err(format!("its header says {W} x {H} pixels"));
    }
    if pixels > MAX_PIXELS {
        return Err(format!("{W} x {H} pixels are more than the limit of {MAX_PIXELS}"));
    }
    if pixels > possible {
        return Err(format!("its header says {W} x {H} pixels, but a file this short holds {possible} at most"));
    }
    Ok(())
}

/// Runs a decoder whose header has been accepted.
fn upright(mut decoder: impl ImageDecoder) -> Result<Rgb, String> {
    let bytes = decoder.total_bytes();
    if bytes > MAX_BYTES {
        return Err(format!("{bytes} bytes when decoded, and the limit is {MAX_BYTES}"));
    }
    // Broken EXIF is no reason to lose the picture.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(reason)?;
    let mut rgb =
        DynamicImage::ImageRgb8(if image.color().has_alpha() { over_white(image) } else { image.into_rgb8() });
    rgb.apply_orientation(orientation);
    let (W, H) = (rgb.width() as usize, rgb.height() as usize);
    Ok(Rgb { H, W, pixels: rgb.into_rgb8().into_raw() })
}

/// Lays an image with alpha over white: c alpha + 1 - alpha, rounded once.
fn over_white(image: DynamicImage) -> image::RgbImage {
    let (W, H) = (image.width(), image.height());
    let mut out = image::RgbImage::new(W, H);
    // 16 bits for both depths: an 8-bit value v becomes 257 v and comes back as v.
    let rgba = image.into_rgba16();
    for (out, pixel) in out.pixels_mut().zip(rgba.pixels()) {
        // One division for both steps: by 65535 for the weights, by 257 for the depth.
        const UNIT: u64 = 65535 * 257;
        let alpha = u64::from(pixel[3]);
        for c in 0..3 {
            let sum = u64::from(pixel[c]) * alpha + 65535 * (65535 - alpha);
            out[c] = ((sum + UNIT / 2) / UNIT) as u8;
        }
    }
    out
}

fn reason(error: image::ImageError) -> String {
    error.to_string()
}
