//! Ranges with round tick marks, and the frame that two of them make.

use crate::report::plot::colour::{FAINT, INK};
use crate::report::plot::figure::{Anchor, Area, Figure, TEXT};

/// Length of a tick mark.
const TICK: f64 = 4.0;
/// Least distance of two ticks along an axis.
const SPACING: f64 = 44.0;

/// One axis: what it shows, with its unit, and from where to where.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// What it shows: `frequency (cycles/px)`.
    pub label: String,
    /// Value at the left or lower end.
    pub from: f64,
    /// Value at the right or upper end; may be the smaller one: rows of a picture count downwards.
    pub to: f64,
}

impl Axis {
    /// An axis from `from` to `to`. Where both are equal it reaches a little to both sides.
    pub fn new(label: &str, from: f64, to: f64) -> Self {
        let widen = if from == to { (0.5 * from.abs()).max(0.5) } else { 0.0 };
        Axis { label: label.to_owned(), from: from - widen, to: to + widen }
    }

    /// Where `value` lies: 0 at `from`, 1 at `to`.
    pub fn share(&self, value: f64) -> f64 {
        (value - self.from) / (self.to - self.from)
    }

    /// Round values inside the range, `most` at most or two, with their texts.
    pub fn ticks(&self, most: usize) -> Vec<(f64, String)> {
        let (low, high) = (self.from.min(self.to), self.from.max(self.to));
        let rough = (high - low) / most.max(2) as f64;
        if !(rough.is_finite() && rough > 0.0) {
            return Vec::new();
        }
        let power = rough.log10().floor();
        let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * 10f64.powf(power)).into_iter().find(|s| *s >= rough * 0.999);
        let step = step.unwrap_or(rough);
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        // A range of a round length loses its last tick to rounding without the slack.
        let (first, last) = ((low / step - 1e-6).ceil() as i64, (high / step + 1e-6).floor() as i64);
        (first..=last).map(|i| (i as f64 * step, format!("{:.decimals$}", i as f64 * step))).collect()
    }
}

/// A drawn frame: places in the figure for values of its axes.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Where the frame stands.
    pub area: Area,
    x: &'a Axis,
    y: &'a Axis,
}

impl<'a> Frame<'a> {
    /// The frame of `area` for two axes; nothing is drawn yet.
    pub fn new(area: Area, x: &'a Axis, y: &'a Axis) -> Self {
        Frame { area, x, y }
    }

    /// The place of (x, y).
    pub fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let Area { left, width, height, .. } = self.area;
        (left + width * self.x.share(x), self.area.bottom() - height * self.y.share(y))
    }

    /// The rectangle between two points.
    pub fn rectangle(&self, a: (f64, f64), b: (f64, f64)) -> Area {
        let ((ax, ay), (bx, by)) = (self.place(a), self.place(b));
        Area { left: ax.min(bx), top: ay.min(by), width: (ax - bx).abs(), height: (ay - by).abs() }
    }

    /// Draws the box, ticks with their values, both labels, and the title above.
    pub fn draw(&self, figure: &mut Figure, title: &str) {
        let Area { left, top, width, height } = self.area;
        let bottom = self.area.bottom();
        figure.outline(self.area, INK, 0.8);
        for (value, text) in self.x.ticks((width / SPACING) as usize) {
            let (x, _) = self.place((value, self.y.from));
            figure.lines(&[(x, bottom), (x, bottom + TICK)], INK, 0.8, "");
            figure.text((x, bottom + TICK + TEXT), Anchor::Middle, &text);
        }
        let mut widest = 0;
        for (value, text) in self.y.ticks((height / SPACING) as usize) {
            let (_, y) = self.place((self.x.from, value));
            figure.lines(&[(left - TICK, y), (left, y)], INK, 0.8, "");
            figure.text((left - TICK - 2.0, y + 0.36 * TEXT), Anchor::End, &text);
            widest = widest.max(text.len());
        }
        figure.text((left + width / 2.0, bottom + TICK + 2.3 * TEXT), Anchor::Middle, &self.x.label);
        let digits = 0.58 * TEXT * widest as f64;
        figure.upright((left - TICK - 8.0 - digits, top + height / 2.0), &self.y.label);
        figure.title((left, top - 7.0), Anchor::Start, title);
    }

    /// Faint lines across the frame at the ticks of both axes.
    pub fn grid(&self, figure: &mut Figure) {
        for (value, _) in self.x.ticks((self.area.width / SPACING) as usize) {
            figure.lines(&[self.place((value, self.y.from)), self.place((value, self.y.to))], FAINT, 0.8, "");
        }
        for (value, _) in self.y.ticks((self.area.height / SPACING) as usize) {
            figure.lines(&[self.place((self.x.from, value)), self.place((self.x.to, value))], FAINT, 0.8, "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(from: f64, to: f64, most: usize) -> Vec<String> {
        Axis::new("", from, to).ticks(most).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(texts(0.0, 224.0, 5), ["0", "50", "100", "150", "200"]);
        assert_eq!(texts(64.0, 0.0, 5), ["0", "20", "40", "60"]);
        assert_eq!(texts(0.0, 1.0, 5), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(texts(-0.013, 0.021, 4), ["-0.01", "0.00", "0.01", "0.02"]);
        assert_eq!(texts(3.0, 3.0, 4).first().map(String::as_str), Some("2"));
        assert!(texts(0.0, f64::NAN, 4).is_empty());
        for (from, to) in [(0.0, 7.3e-9), (-1e12, 3e12), (17.0, 17.001)] {
            let ticks = Axis::new("", from, to).ticks(5);
            assert!((2..=6).contains(&ticks.len()), "{ticks:?}");
            assert!(ticks.iter().all(|(v, _)| (from - 1e-9..=to * (1.0 + 1e-9)).contains(v)), "{ticks:?}");
        }
    }

    #[test]
    fn a_frame_places_values() {
        let (x, y) = (Axis::new("", 0.0, 10.0), Axis::new("", 64.0, 0.0));
        let frame = Frame::new(Area { left: 100.0, top: 50.0, width: 200.0, height: 128.0 }, &x, &y);
        assert_eq!(frame.place((5.0, 0.0)), (200.0, 50.0));
        assert_eq!(frame.place((0.0, 64.0)), (100.0, 178.0));
        let cell = frame.rectangle((1.0, 8.0), (2.0, 16.0));
        assert_eq!((cell.left, cell.top, cell.width, cell.height), (120.0, 66.0, 20.0, 16.0));
    }
}
