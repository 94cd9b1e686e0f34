//! Series of points over a range: a line chart with its legend.

use crate::report::plot::axis::{Axis, Frame};
use crate::report::plot::colour::CATEGORIES;
use crate::report::plot::figure::{Anchor, Area, Figure, TEXT, shortened};

/// Line styles, which go round together with the colours: in grey print the lines still differ. Each
/// time that the colours begin again they are one further, so 32 lines look different.
const DASHES: [&str; 4] = ["", "7 3", "2 2.5", "8 2.5 2 2.5"];

/// Characters of a name in the legend.
const NAME: usize = 40;

/// Points that are joined.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What they are.
    pub name: String,
    /// (x, y) in ascending order of x. A y that is no number leaves a gap.
    pub points: Vec<(f64, f64)>,
}

/// A line chart.
pub struct Lines<'a> {
    /// What is shown.
    pub title: &'a str,
    /// The lines, in the order of the legend.
    pub series: &'a [Series],
    /// Axis to the right.
    pub x: &'a Axis,
    /// Axis upwards.
    pub y: &'a Axis,
}

impl Lines<'_> {
    /// Draws the chart in `area`, ticks and labels around it, and the legend to its right.
    pub fn draw(&self, figure: &mut Figure, area: Area) {
        let frame = Frame::new(area, self.x, self.y);
        frame.grid(figure);
        for (i, series) in self.series.iter().enumerate() {
            let round = i / CATEGORIES.len();
            let (colour, dashes) = (CATEGORIES[i % CATEGORIES.len()], DASHES[(i + round) % DASHES.len()]);
            for run in series.points.split(|(x, y)| !(x.is_finite() && y.is_finite())) {
                let run: Vec<(f64, f64)> = run.iter().map(|&point| frame.place(point)).collect();
                figure.lines(&run, colour, 1.8, dashes);
            }
            let y = area.top + 0.8 * TEXT + 1.7 * TEXT * i as f64;
            figure.lines(&[(area.right() + 12.0, y), (area.right() + 40.0, y)], colour, 1.8, dashes);
            figure.text((area.right() + 46.0, y + 0.36 * TEXT), Anchor::Start, &shortened(&series.name, NAME));
        }
        frame.draw(figure, self.title);
    }
}
