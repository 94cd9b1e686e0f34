//! Fig 6: an image, and what the network says while a square hides part of it.
//!
//! Five panels, all in the pixels of the crop that the network sees, so that a place in one
//! is the same place in the others; a cell of a map stands round the centre of its square.

use std::fmt::Write as _;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::{ImageFormat, RgbImage};

use crate::error::{Error, Result};
use crate::report::contrast::symmetric;
use crate::report::csv::quoted;
use crate::report::json;
use crate::report::occluder::Occluder;
use crate::report::plot::category::{self, LabelMap};
use crate::report::plot::colour::INK;
use crate::report::plot::figure::shortened;
use crate::report::plot::heat::{self, Cells, Heat};
use crate::report::plot::{Anchor, Area, Axis, Figure, Frame};
use crate::tensor::Extent;
use crate::train::replace::replace_file;
use crate::understand::Projection;
use crate::understand::occlusion::{Answers, Sweep, View};

/// The columns of the CSV: the square's box in the crop, summed activity of the map,
/// probability of the class, the most probable class.
pub const HEADER: &str = "top,left,height,width,activity,probability,label";

/// Side of a panel, and of the tiles below, in units of the figure.
const SIDE: f64 = 224.0;
const TILE: f64 = 112.0;
/// Room left of a panel for its numbers, and right of one that has nothing there.
const LEFT: f64 = 52.0;
const RIGHT: f64 = 14.0;
/// Upper edge of the panels, and room for the numbers below them.
const TOP: f64 = 64.0;
const BELOW: f64 = 52.0;

/// Everything that the figure shows.
pub struct Panels<'a> {
    /// The image's name.
    pub name: &'a str,
    /// The image.
    pub view: View<'a>,
    /// Extent of the crop.
    pub input: Extent,
    /// Where the square stood.
    pub sweep: &'a Sweep,
    /// What hid: `grey` or `mean`, for the headline.
    pub fill: &'a str,
    /// The record that hid.
    pub hiding: &'a [u8], // (size, size, 3)
    /// What the network said at each place.
    pub answers: &'a Answers,
    /// What it says with nothing hidden: summed activity of the map, and probabilities (C).
    pub clear: (f64, &'a [f64]),
    /// Class whose probability is shown.
    pub class: usize,
    /// Names of the classes.
    pub classes: &'a [String],
    /// Layer and map whose activity is shown.
    pub map: (&'a str, usize),
    /// The map projected to pixels: (H, W, 3).
    pub projection: &'a [f32],
    /// The map's strongest units on other images, if they have been searched for.
    pub others: &'a [Projection],
}

/// The files of one image's figure.
pub struct Files {
    /// The panels.
    pub png: PathBuf,
    /// A line for each place: see [`HEADER`].
    pub csv: PathBuf,
    /// The same for a movable square: [`Occluder`].
    pub json: PathBuf,
}

impl Panels<'_> {
    /// Place at which the probability of the class is least: the first of equals.
    pub fn worst(&self) -> usize {
        let p = self.answers.probability(self.class);
        (0..p.len()).min_by(|a, b| p[*a].total_cmp(&p[*b])).unwrap_or(0)
    }

    /// Draws the figure into `folder`: `<stem>.png`, `.csv` and `.json`, and the crop, `<stem>-crop.png`.
    pub fn draw(&self, folder: &Path, stem: &str) -> Result<Files> {
        let file = |extension: &str| folder.join(format!("{stem}.{extension}"));
        let files = Files { png: file("png"), csv: file("csv"), json: file("json") };
        self.figure()?.save(&files.png)?;
        replace_file(&files.csv, |out| out.write_all(self.csv().as_bytes()))?;
        let crop = format!("{stem}-crop.png");
        let mut png = Cursor::new(Vec::new());
        picture(self.input.W, self.input.H, cut(self.view, self.view.record, self.input))?
            .write_to(&mut png, ImageFormat::Png)
            .map_err(|e| Error::format(folder.join(&crop), format!("the picture cannot be encoded: {e}")))?;
        replace_file(&folder.join(&crop), |out| out.write_all(png.get_ref()))?;
        json::save(&files.json, &self.occluder(crop, format!("{stem}.png")))?;
        Ok(files)
    }

    fn occluder(&self, crop: String, panels: String) -> Occluder {
        Occluder {
            name: self.name.to_owned(),
            crop,
            panels,
            classes: self.classes.to_vec(),
            class: self.class,
            clear: self.clear.1[self.class],
            layer: self.map.0.to_owned(),
            map: self.map.1,
            side: self.sweep.side,
            tops: self.sweep.tops.clone(),
            lefts: self.sweep.lefts.clone(),
            probability: self.answers.probability(self.class),
            labels: self.answers.labels(),
            activity: self.answers.activity.clone(),
        }
    }

    fn figure(&self) -> Result<Figure> {
        let widths = [RIGHT, heat::MARGIN, RIGHT, heat::MARGIN, category::MARGIN].map(|right| LEFT + SIDE + right);
        let row = TOP + SIDE + BELOW;
        let tiles = if self.others.is_empty() { 0.0 } else { 34.0 + 2.0 * (TILE + 4.0) + 12.0 };
        let mut figure = Figure::new(widths.iter().sum(), row + tiles);
        figure.title((LEFT, 22.0), Anchor::Start, &self.headline());
        let mut left = LEFT;
        let areas = widths.map(|width| {
            let area = Area { left, top: TOP, width: SIDE, height: SIDE * self.input.H as f64 / self.input.W as f64 };
            left += width;
            area
        });
        let x = Axis::new("column (px)", 0.0, self.input.W as f64);
        let y = Axis::new("row (px)", self.input.H as f64, 0.0);
        self.pictures(&mut figure, [areas[0], areas[2]], &x, &y)?;
        let corners = self.corners();
        let columns = self.sweep.lefts.len();
        let (layer, map) = self.map;
        let most = self.answers.activity.iter().copied().fold(self.clear.0, f64::max);
        let title = format!("(b) activity of {layer}, map {map}");
        let bar = Axis::new("sum over the map", 0.0, most);
        let cells = Cells { values: &self.answers.activity, columns, corners };
        Heat { title: &title, cells, x: &x, y: &y, bar: &bar }.draw(&mut figure, areas[1])?;
        let p = self.answers.probability(self.class);
        let title = format!("(d) probability of {}", shortened(&self.classes[self.class], 18));
        let bar = Axis::new("probability", 0.0, 1.0);
        Heat { title: &title, cells: Cells { values: &p, columns, corners }, x: &x, y: &y, bar: &bar }
            .draw(&mut figure, areas[3])?;
        let labels = self.answers.labels();
        let cells = Cells { values: &labels, columns, corners };
        let title = "(e) most probable class";
        LabelMap { title, cells, names: self.classes, first: self.class, x: &x, y: &y }.draw(&mut figure, areas[4])?;
        self.tiles(&mut figure, row)?;
        Ok(figure)
    }

    fn headline(&self) -> String {
        let Sweep { side, stride, .. } = self.sweep;
        let (name, class) = (shortened(self.name, 60), shortened(&self.classes[self.class], 40));
        let p = self.clear.1[self.class];
        format!("{name}: {class}, p = {p:.3} with nothing hidden. A {side} px square, {}, every {stride} px", self.fill)
    }

    /// Outer corners of the first and the last cell, in pixels of the crop.
    fn corners(&self) -> [(f64, f64); 2] {
        let Sweep { side, stride, tops, lefts } = self.sweep;
        let edge = |places: &[usize], last: bool| {
            let at = if last { places.last() } else { places.first() };
            let centre = *at.unwrap_or(&0) as f64 + *side as f64 / 2.0;
            if last { centre + *stride as f64 / 2.0 } else { centre - *stride as f64 / 2.0 }
        };
        [(edge(lefts, false), edge(tops, false)), (edge(lefts, true), edge(tops, true))]
    }

    /// Panels (a) and (c): the image with the square where it does most harm, the projection.
    fn pictures(&self, figure: &mut Figure, [image, projection]: [Area; 2], x: &Axis, y: &Axis) -> Result<()> {
        let (H, W) = (self.input.H, self.input.W);
        let square = self.sweep.square(self.worst());
        let mut pixels = cut(self.view, self.view.record, self.input);
        let hiding = cut(self.view, self.hiding, self.input);
        for h in square.top..square.top + square.height {
            let row = (h * W + square.left) * 3..(h * W + square.left + square.width) * 3;
            pixels[row.clone()].copy_from_slice(&hiding[row]);
        }
        figure.picture(image, &picture(W, H, pixels)?, true)?;
        let frame = Frame::new(image, x, y);
        frame.draw(figure, "(a) square where (d) is least");
        let corner = |h: usize, w: usize| (w as f64, h as f64);
        let (from, to) =
            (corner(square.top, square.left), corner(square.top + square.height, square.left + square.width));
        figure.outline(frame.rectangle(from, to), INK, 0.8);
        figure.picture(projection, &picture(W, H, symmetric(self.projection))?, true)?;
        let title = format!("(c) map {} projected to pixels", self.map.1);
        Frame::new(projection, x, y).draw(figure, &title);
        Ok(())
    }

    /// The same map on other images: projections, and below them the patches.
    fn tiles(&self, figure: &mut Figure, top: f64) -> Result<()> {
        if self.others.is_empty() {
            return Ok(());
        }
        let (layer, map) = self.map;
        let title = format!("{layer}, map {map}: its strongest units on other images, projected, and what they saw");
        figure.title((LEFT, top + 16.0), Anchor::Start, &title);
        for (i, Projection { field, projection, patch }) in self.others.iter().enumerate() {
            let scale = TILE / field.height.max(field.width) as f64;
            let (width, height) = (scale * field.width as f64, scale * field.height as f64);
            let area = Area { left: LEFT + i as f64 * (TILE + 4.0), top: top + 28.0, width, height };
            figure.picture(area, &picture(field.width, field.height, symmetric(projection))?, true)?;
            let below = Area { top: area.top + TILE + 4.0, ..area };
            figure.picture(below, &picture(field.width, field.height, patch.clone())?, true)?;
        }
        Ok(())
    }

    fn csv(&self) -> String {
        let mut csv = format!("{HEADER}\n");
        let (p, labels) = (self.answers.probability(self.class), self.answers.labels());
        for (i, ((activity, p), label)) in self.answers.activity.iter().zip(p).zip(labels).enumerate() {
            let square = self.sweep.square(i);
            let label = quoted(&self.classes[label]);
            // Writing to a string cannot fail.
            let _ = writeln!(
                csv,
                "{},{},{},{},{activity},{p},{label}",
                square.top, square.left, square.height, square.width
            );
        }
        csv
    }
}

/// The crop that the network sees of a record.
fn cut(view: View, record: &[u8], input: Extent) -> Vec<u8> {
    let rows = record.chunks_exact(view.size * 3).skip(view.window.top).take(input.H);
    rows.flat_map(|row| &row[view.window.left * 3..][..input.W * 3]).copied().collect()
}

fn picture(W: usize, H: usize, pixels: Vec<u8>) -> Result<RgbImage> {
    let len = pixels.len();
    RgbImage::from_raw(W as u32, H as u32, pixels)
        .ok_or_else(|| Error::shape("figure", format!("{len} values for a picture of {H} x {W} x 3")))
}
