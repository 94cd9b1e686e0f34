//! A figure: marks and words in SVG, and its picture.

use std::fmt::Write as _;
use std::io::Cursor;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::{ImageFormat, RgbImage};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree};

use crate::error::{Error, Result};
use crate::report::plot::colour::{Colour, INK, hex};
use crate::train::replace::replace_file;

/// Pixels of the PNG along a unit of the figure: sharp in print and on fine screens.
const SCALE: f32 = 2.0;

/// Height of ordinary text, in units of the figure.
pub const TEXT: f64 = 11.0;

/// A rectangle of a figure; y grows downwards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    /// Left edge.
    pub left: f64,
    /// Upper edge.
    pub top: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

impl Area {
    /// Right edge.
    pub fn right(&self) -> f64 {
        self.left + self.width
    }

    /// Lower edge.
    pub fn bottom(&self) -> f64 {
        self.top + self.height
    }
}

/// Which part of a text stands at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// Its beginning.
    Start,
    /// Its middle.
    Middle,
    /// Its end.
    End,
}

/// A picture that is being drawn.
#[derive(Clone, Debug)]
pub struct Figure {
    width: f64,
    height: f64,
    body: String,
}

// Writing to a string cannot fail, so what `write!` gives back is dropped throughout.
impl Figure {
    /// A white figure of so many units; the PNG has twice as many pixels.
    pub fn new(width: f64, height: f64) -> Self {
        Figure { width, height, body: String::new() }
    }

    /// A filled rectangle.
    pub fn fill(&mut self, Area { left, top, width, height }: Area, colour: Colour) {
        let _ = writeln!(
            self.body,
            r#"<rect x="{left:.2}" y="{top:.2}" width="{width:.2}" height="{height:.2}" fill="{}"/>"#,
            hex(colour)
        );
    }

    /// The edge of a rectangle.
    pub fn outline(&mut self, Area { left, top, width, height }: Area, colour: Colour, thickness: f64) {
        let _ = writeln!(
            self.body,
            r#"<rect x="{left:.2}" y="{top:.2}" width="{width:.2}" height="{height:.2}" fill="none" stroke="{}" stroke-width="{thickness}"/>"#,
            hex(colour)
        );
    }

    /// Straight lines through `points`, dashed if `dashes` says so (as SVG does: `"4 2"`).
    pub fn lines(&mut self, points: &[(f64, f64)], colour: Colour, thickness: f64, dashes: &str) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.2},{y:.2}")).collect();
        let dashes =
            if dashes.is_empty() { String::new() } else { format!(r#" stroke-dasharray="{}""#, escaped(dashes)) };
        let _ = writeln!(
            self.body,
            r#"<polyline points="{}" fill="none" stroke="{}" stroke-width="{thickness}" stroke-linejoin="round"{dashes}/>"#,
            points.join(" "),
            hex(colour)
        );
    }

    /// A line of text with its base line at y.
    pub fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        self.write(&format!(r#"x="{x:.2}" y="{y:.2}" font-size="{TEXT}""#), anchor, text);
    }

    /// The same, bold and a little larger.
    pub fn title(&mut self, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        let size = TEXT + 1.0;
        self.write(&format!(r#"x="{x:.2}" y="{y:.2}" font-size="{size}" font-weight="bold""#), anchor, text);
    }

    /// A line of text that reads upwards.
    pub fn upright(&mut self, (x, y): (f64, f64), text: &str) {
        let place = format!(r#"transform="translate({x:.2} {y:.2}) rotate(-90)" font-size="{TEXT}""#);
        self.write(&place, Anchor::Middle, text);
    }

    fn write(&mut self, attributes: &str, anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let (ink, text) = (hex(INK), escaped(text));
        let _ = writeln!(self.body, r#"<text {attributes} text-anchor="{anchor}" fill="{ink}">{text}</text>"#);
    }

    /// A picture stretched over `area`, in hard pixels unless `smooth`.
    ///
    /// # Errors
    /// [`Error::Usage`] if it cannot be encoded.
    pub fn picture(&mut self, area: Area, picture: &RgbImage, smooth: bool) -> Result<()> {
        let mut png = Cursor::new(Vec::new());
        picture.write_to(&mut png, ImageFormat::Png).map_err(|e| {
            Error::Usage(format!("a picture of {} x {} cannot be encoded: {e}", picture.width(), picture.height()))
        })?;
        let Area { left, top, width, height } = area;
        let rendering = if smooth { "optimizeQuality" } else { "pixelated" };
        let _ = writeln!(
            self.body,
            r#"<image x="{left:.2}" y="{top:.2}" width="{width:.2}" height="{height:.2}" preserveAspectRatio="none" style="image-rendering:{rendering}" href="data:image/png;base64,{}"/>"#,
            STANDARD.encode(png.get_ref())
        );
        Ok(())
    }

    /// The figure as an SVG document.
    pub fn svg(&self) -> String {
        let Figure { width, height, body } = self;
        format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="Noto Sans, sans-serif">
<rect width="100%" height="100%" fill="#ffffff"/>
{body}</svg>
"##
        )
    }

    /// Writes the PNG, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Format`] if it is too large to be drawn; [`Error::Io`].
    pub fn save(&self, path: &Path) -> Result<()> {
        let failed = |what: &str, reason: &dyn std::fmt::Display| {
            Error::format(path, format!("the figure ({} x {}) cannot be {what}: {reason}", self.width, self.height))
        };
        let mut options = Options::default();
        let fonts = options.fontdb_mut();
        fonts.load_font_data(notosans::REGULAR_TTF.to_vec());
        fonts.load_font_data(notosans::BOLD_TTF.to_vec());
        let tree = Tree::from_str(&self.svg(), &options).map_err(|e| failed("read", &e))?;
        let size = tree.size().to_int_size().scale_by(SCALE).ok_or_else(|| failed("drawn", &"it has no area"))?;
        let mut pixels = Pixmap::new(size.width(), size.height()).ok_or_else(|| failed("drawn", &"it is too large"))?;
        resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
        let png = pixels.encode_png().map_err(|e| failed("encoded", &e))?;
        replace_file(path, |out| out.write_all(&png))
    }
}

/// Words as XML takes them: no markup, and none of the control characters that it forbids,
/// which the name of a file or of a class may well hold.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

/// `text`, cut to `most` characters with an ellipsis where something is missing.
pub fn shortened(text: &str, most: usize) -> String {
    match text.chars().count() <= most {
        true => text.to_owned(),
        false => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Draws and reads back: white ground, words, a picture in hard pixels where it was put.
    #[test]
    fn what_is_drawn_is_in_the_picture() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("figure.png");
        let mut figure = Figure::new(120.0, 50.0);
        let picture = RgbImage::from_raw(2, 1, vec![255, 0, 0, 0, 0, 255]).unwrap();
        figure.picture(Area { left: 10.0, top: 10.0, width: 20.0, height: 10.0 }, &picture, false).unwrap();
        figure.text((50.0, 30.0), Anchor::Start, "<a & \"b\">\u{7}");
        figure.save(&path).unwrap();
        let drawn = image::open(&path).unwrap().to_rgb8();
        assert_eq!(drawn.dimensions(), (240, 100));
        assert_eq!(drawn.get_pixel(2, 2).0, [255, 255, 255]);
        assert_eq!((drawn.get_pixel(38, 30).0, drawn.get_pixel(42, 30).0), ([255, 0, 0], [0, 0, 255]));
        let dark = |x: std::ops::Range<u32>| {
            x.flat_map(|x| (36..64).map(move |y| (x, y))).filter(|&(x, y)| drawn.get_pixel(x, y)[0] < 128).count()
        };
        assert!(dark(100..200) > 60, "no words: {} dark pixels", dark(100..200));
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(shortened("fünf", 4), "fünf");
        assert_eq!(shortened("fünfzig", 4), "fün…");
    }
}
