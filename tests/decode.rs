//! Decoding: what Pillow decodes is decoded to the same picture, what it refuses is refused with a reason.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use image::{DynamicImage, ImageFormat};
use zfnet::data::decode::{Rgb, decode, decode_file};
use zfnet::philox::{Purpose, Stream};

const REFERENCE: &str = include_str!("decode_reference.txt");

/// What Pillow decodes and this program does not.
const EXCEPTIONS: [(&str, &str); 1] = [
    // No pure-Rust decoder reads arithmetic coding, and cameras and web sites do not write it.
    ("arithmetic_or_12bit_or_lossless/testimgari.jpg", "arithmetic"),
];

/// Damaged in a way that each decoder patches differently: only the size is compared.
const PATCHED: [&str; 2] =
    ["truncated_or_corrupt_jpeg/dc-predictor-overflow.jpg", "truncated_or_corrupt_jpeg/subtract-with-overflow.jpg"];

/// Decoders differ by rounding in the inverse DCT, the chroma interpolation
/// and the colour conversion: below one grey value in the mean of a channel
/// for images of some size; in images of a few pixels each pixel counts.
fn tolerance(pixels: usize) -> f64 {
    1.0 + 20.0 / (pixels as f64).sqrt()
}

fn odd_images() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/odd-images");
    if !folder.is_dir() {
        println!("SKIP: {} is not there", folder.display());
        return None;
    }
    Some(folder)
}

fn mean(rgb: &Rgb) -> [f64; 3] {
    let mut sum = [0.0; 3];
    rgb.pixels.chunks_exact(3).for_each(|p| (0..3).for_each(|c| sum[c] += f64::from(p[c])));
    sum.map(|s| s / (rgb.W * rgb.H) as f64)
}

#[test]
fn odd_images_come_out_as_pillow_has_them() {
    let Some(folder) = odd_images() else { return };
    let mut wrong = Vec::new();
    let lines: Vec<&str> = REFERENCE.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines.len(), 99);
    for line in lines {
        let mut columns = line.split(' ');
        let file = columns.next().unwrap();
        let reference: Option<Vec<f64>> = columns.map(|column| column.parse().ok()).collect();
        let start = Instant::now();
        let decoded = decode_file(&folder.join(file));
        let time = start.elapsed();
        if time > Duration::from_secs(1) {
            wrong.push(format!("{file}: took {time:?}"));
        }
        let exception = EXCEPTIONS.iter().find(|(name, _)| *name == file);
        match (decoded, reference, exception) {
            (Ok(rgb), Some(reference), None) => {
                if (rgb.W as f64, rgb.H as f64) != (reference[0], reference[1]) {
                    wrong.push(format!("{file}: {} x {} but Pillow has {reference:?}", rgb.W, rgb.H));
                }
                let (found, tol) = (mean(&rgb), tolerance(rgb.W * rgb.H));
                let near = (0..3).all(|c| (found[c] - reference[2 + c]).abs() <= tol);
                if !near && !PATCHED.contains(&file) {
                    wrong.push(format!("{file}: mean {found:.1?}, Pillow {:?}, tolerance {tol:.1}", &reference[2..]));
                }
            }
            (Err(error), None, None) => println!("{error}"),
            (Err(error), Some(_), Some((_, why))) if error.to_string().contains(why) => println!("{error}"),
            (Ok(_), None, _) => wrong.push(format!("{file}: decoded, but Pillow refuses it")),
            (Err(error), _, _) => wrong.push(format!("{error}: but Pillow decodes it")),
            (Ok(_), Some(_), Some(_)) => wrong.push(format!("{file}: decoded: no exception any more")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The bytes of `image` in `format`.
fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// 24 x 16 pixels in four flat quarters: red, green; blue, white.
fn quarters() -> DynamicImage {
    DynamicImage::ImageRgb8(image::RgbImage::from_fn(24, 16, |x, y| {
        image::Rgb(
            [[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]][usize::from(y >= 8)][usize::from(x >= 12)],
        )
    }))
}

/// One letter a quarter, in reading order.
fn letters(rgb: &Rgb) -> String {
    let at = |h: usize, w: usize| {
        let pixel = &rgb.pixels[(h * rgb.W + w) * 3..][..3];
        match [pixel[0] > 128, pixel[1] > 128, pixel[2] > 128] {
            [true, false, false] => 'r',
            [false, true, false] => 'g',
            [false, false, true] => 'b',
            [true, true, true] => 'w',
            _ => '?',
        }
    };
    let (h, w) = (rgb.H / 4, rgb.W / 4);
    [at(h, w), at(h, 3 * w), at(3 * h, w), at(3 * h, 3 * w)].iter().collect()
}

#[test]
fn the_content_and_not_the_name_tells_the_format() {
    let dir = tempfile::tempdir().unwrap();
    for (name, format) in [("a.jpg", ImageFormat::Png), ("b.png", ImageFormat::Jpeg), ("c", ImageFormat::Png)] {
        let path = dir.path().join(name);
        fs::write(&path, encoded(&quarters(), format)).unwrap();
        assert_eq!(letters(&decode_file(&path).unwrap()), "rgbw", "{name}");
    }
}

#[test]
fn every_orientation_comes_out_upright() {
    let jpeg = encoded(&quarters(), ImageFormat::Jpeg);
    // What the eight values of the EXIF tag make of the stored quarters r g / b w.
    let upright = ["rgbw", "grwb", "wbgr", "bwrg", "rbgw", "brwg", "wgbr", "gwrb"];
    for (orientation, expected) in (1u8..).zip(upright) {
        let tiff =
            [&b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0"[..], &[orientation, 0, 0, 0], &[0; 4]].concat();
        let segment = [&[0xFF, 0xE1, 0, tiff.len() as u8 + 2][..], &tiff].concat();
        let rgb = decode(&[&jpeg[..2], &segment, &jpeg[2..]].concat()).unwrap();
        assert_eq!((rgb.W, rgb.H), if orientation < 5 { (24, 16) } else { (16, 24) });
        assert_eq!(letters(&rgb), expected, "orientation {orientation}");
    }
}

#[test]
fn sixteen_bits_are_scaled() {
    let grey = image::ImageBuffer::<image::Luma<u16>, _>::from_fn(4, 1, |x, _| {
        image::Luma([[0, 300, 32768, 65535][x as usize]])
    });
    let rgb = decode(&encoded(&DynamicImage::ImageLuma16(grey), ImageFormat::Png)).unwrap();
    // 300 / 257 = 1.17, 32768 / 257 = 127.5.
    assert_eq!(rgb.pixels, [0, 0, 0, 1, 1, 1, 128, 128, 128, 255, 255, 255]);
}

#[test]
fn transparency_is_laid_over_white() {
    let pixels = [[10, 20, 30, 255], [10, 20, 30, 0], [0, 100, 255, 128]];
    let image = image::RgbaImage::from_fn(3, 1, |x, _| image::Rgba(pixels[x as usize]));
    let rgb = decode(&encoded(&DynamicImage::ImageRgba8(image), ImageFormat::Png)).unwrap();
    // 255 * 127/255 = 127; 100 * 128/255 + 127 = 177.2; 255 stays.
    assert_eq!(rgb.pixels, [10, 20, 30, 255, 255, 255, 127, 177, 255]);
}

#[test]
fn a_bomb_costs_nothing() {
    let big = |mut bytes: Vec<u8>, at: usize, size: &[u8]| {
        bytes[at..at + size.len()].copy_from_slice(size);
        bytes
    };
    let png = encoded(&quarters(), ImageFormat::Png);
    let jpeg = encoded(&quarters(), ImageFormat::Jpeg);
    let frame = jpeg.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
    let bombs = [
        // 65535 x 65535; then sizes below the limit that so short a file cannot hold.
        (big(png.clone(), 16, &[0, 0, 0xFF, 0xFF, 0, 0, 0xFF, 0xFF]), "more than the limit"),
        (big(png.clone(), 16, &[0, 0, 0x1F, 0xFF, 0, 0, 0x1F, 0xFF]), "a file this short"),
        (big(png, 16, &[0xFF; 8]), "more than the limit"),
        (big(jpeg.clone(), frame + 5, &[0xFF, 0xFF, 0xFF, 0xFF]), "more than the limit"),
        (big(jpeg, frame + 5, &[0x1F, 0xFF, 0x1F, 0xFF]), "a file this short"),
    ];
    for (i, (bytes, expected)) in bombs.iter().enumerate() {
        let start = Instant::now();
        let message = decode(bytes).map(|_| ()).unwrap_err();
        assert!(message.contains(expected), "bomb {i}: {message}");
        // Filling the memory of 67 million pixels alone would take longer.
        assert!(start.elapsed() < Duration::from_millis(20), "bomb {i} took {:?}", start.elapsed());
    }
}

#[test]
fn every_truncation_is_refused() {
    for format in [ImageFormat::Jpeg, ImageFormat::Png] {
        let bytes = encoded(&quarters(), format);
        // A PNG file's last four bytes are the check sum of a chunk that holds nothing.
        let needed = if format == ImageFormat::Png { bytes.len() - 4 } else { bytes.len() };
        for length in 0..needed {
            assert!(decode(&bytes[..length]).is_err(), "{format:?} cut to {length} of {} bytes decoded", bytes.len());
        }
    }
}

#[test]
fn other_files_are_refused_by_name() {
    let says = |bytes: &[u8], expected: &str| {
        let message = decode(bytes).map(|_| ()).unwrap_err();
        assert!(message.contains(expected), "{message}");
    };
    says(b"", "empty");
    says(b"GIF89a\x01\0\x01\0", "Gif");
    says(b"RIFF\x24\0\0\0WEBPVP8 ", "WebP");
    says(b"These are the licences of the photographs.", "not an image");
}

/// Damaged files must give an error or some picture, never a panic.
#[test]
fn damage_makes_no_panic() {
    let Some(folder) = odd_images() else { return };
    let stream = Stream::new(4, Purpose::Test, 0);
    let (mut decoded, mut refused) = (0, 0);
    let files = REFERENCE.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(' ').next().unwrap());
    for (f, file) in files.enumerate() {
        let bytes = fs::read(folder.join(file)).unwrap();
        if bytes.is_empty() || bytes.len() > 40_000 {
            continue;
        }
        for trial in 0..ROUNDS_OF_DAMAGE {
            let mut damaged = bytes.clone();
            let words = |i| stream.block(trial, (f * 16 + i) as u64);
            for i in 0..1 + words(0)[0] as usize % 4 {
                let [place, value, ..] = words(1 + i);
                damaged[place as usize % bytes.len()] = value as u8;
            }
            match decode(&damaged) {
                Ok(_) => decoded += 1,
                Err(_) => refused += 1,
            }
        }
    }
    assert!(decoded > 0 && refused > 0, "{decoded} decoded, {refused} refused");
}

/// Keeps the test at a fraction of a second; 400 rounds were run once, by hand.
const ROUNDS_OF_DAMAGE: u64 = 8;
