//! Line charts as inline SVG, drawn from their data. The script shows values where a
//! pointer or the arrow keys are.

use maud::{Markup, html};

/// Size of the drawing, in its own units; the page scales it.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 270.0;
/// Edges of the area of the lines.
const LEFT: f64 = 68.0;
const RIGHT: f64 = 466.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 224.0;

/// Lines over a common axis.
pub struct Chart<'a> {
    /// What is shown.
    pub title: &'a str,
    /// Label of the axis to the right, with its unit.
    pub x: &'a str,
    /// Label of the axis upwards, with its unit.
    pub y: &'a str,
    /// Places on the axis to the right, ascending.
    pub xs: Vec<f64>,
    /// The lines.
    pub series: Vec<Series>,
}

/// One line.
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// A value for each place; `None` where there is none.
    pub ys: Vec<Option<f64>>,
}

impl Chart<'_> {
    /// The figure; nothing where no value is known.
    pub fn draw(&self) -> Markup {
        let values: Vec<f64> = self.series.iter().flat_map(|s| s.ys.iter().flatten().copied()).collect();
        let (Some(first), Some(last)) = (self.xs.first(), self.xs.last()) else { return html! {} };
        if values.is_empty() {
            return html! {};
        }
        let least = values.iter().copied().fold(0.0, f64::min);
        let most = values.iter().copied().fold(f64::MIN, f64::max).max(least + 1e-9);
        let (x, y) = (Axis::new(*first, *last, LEFT, RIGHT), Axis::new(least, most, BOTTOM, TOP));
        let whole = self.xs.iter().all(|x| x.fract() == 0.0);
        let x_ticks: Vec<f64> = ticks(*first, *last, 8).into_iter().filter(|t| !whole || t.fract() == 0.0).collect();
        let points: Vec<_> = self.xs.iter().map(|&v| x.at(v).round()).collect();
        let series: Vec<_> = self.series.iter().map(|s| (&s.name, &s.ys)).collect();
        let data = serde_json::json!({ "x": self.x, "xs": self.xs, "at": points, "series": series }).to_string();
        html! {
            figure.chart data-chart=(data) {
                figcaption { (self.title) }
                div.legend {
                    @for (i, series) in self.series.iter().enumerate() {
                        span { i class={ "key s" (i % 6) } {} (series.name) }
                    }
                }
                svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" tabindex="0"
                    aria-label={ (self.title) ". Arrow keys step through the values." } {
                    @for t in ticks(least, most, 5) {
                        line.rule x1=(LEFT) x2=(RIGHT) y1=(y.at(t)) y2=(y.at(t)) {}
                        text.end x=(LEFT - 8.0) y=(y.at(t) + 4.5) { (number(t)) }
                    }
                    @for t in x_ticks {
                        line.tick x1=(x.at(t)) x2=(x.at(t)) y1=(BOTTOM) y2=(BOTTOM + 5.0) {}
                        text.mid x=(x.at(t)) y=(BOTTOM + 20.0) { (number(t)) }
                    }
                    line.tick x1=(LEFT) x2=(RIGHT) y1=(BOTTOM) y2=(BOTTOM) {}
                    text.mid x=((LEFT + RIGHT) / 2.0) y=(HEIGHT - 6.0) { (self.x) }
                    text.mid x="0" y="0" transform={ "translate(13 " ((TOP + BOTTOM) / 2.0) ") rotate(-90)" } { (self.y) }
                    @for (i, series) in self.series.iter().enumerate() {
                        path class={ "curve s" (i % 6) } d=(self.path(series, &x, &y)) {}
                        // A line of one point is invisible without it.
                        @if self.xs.len() <= 16 {
                            @for (v, value) in self.xs.iter().zip(&series.ys) {
                                @if let Some(value) = value {
                                    circle class={ "point s" (i % 6) } cx=(round(x.at(*v))) cy=(round(y.at(*value))) r="3" {}
                                }
                            }
                        }
                    }
                    line.probe x1="0" x2="0" y1=(TOP) y2=(BOTTOM) visibility="hidden" {}
                }
                output aria-live="polite" {}
            }
        }
    }

    /// The line of one series, broken where a value is missing.
    fn path(&self, series: &Series, x: &Axis, y: &Axis) -> String {
        let (mut path, mut pen) = (String::new(), 'M');
        for (v, value) in self.xs.iter().zip(&series.ys) {
            match value {
                Some(value) => {
                    path += &format!("{pen}{} {}", round(x.at(*v)), round(y.at(*value)));
                    pen = 'L';
                }
                None => pen = 'M',
            }
        }
        path
    }
}

/// From values to places in the drawing.
struct Axis {
    start: f64,
    scale: f64,
    origin: f64,
}

impl Axis {
    fn new(start: f64, end: f64, origin: f64, far: f64) -> Self {
        let length = if end > start { end - start } else { 1.0 };
        Axis { start, scale: (far - origin) / length, origin }
    }

    fn at(&self, value: f64) -> f64 {
        self.origin + (value - self.start) * self.scale
    }
}

/// Round numbers from `start` to `end`, about `count` of them: steps of 1, 2 or 5 times a power of ten.
fn ticks(start: f64, end: f64, count: usize) -> Vec<f64> {
    let raw = (end - start) / count as f64;
    if raw.is_nan() || raw <= 0.0 {
        return vec![start];
    }
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|s| s * power).into_iter().find(|s| *s >= raw).unwrap_or(10.0 * power);
    let (from, to) = ((start / step).ceil() as i64, (end / step + 1e-9).floor() as i64);
    (from..=to).map(|i| i as f64 * step).collect()
}

/// The shortest digits for a tick.
fn number(value: f64) -> String {
    // Steps are round, their multiples in binary are not.
    let rounded = (value * 1e9).round() / 1e9;
    if rounded != 0.0 && rounded.abs() < 1e-3 { format!("{rounded:e}") } else { rounded.to_string() }
}

/// A tenth of a unit is finer than any screen.
fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        assert_eq!(ticks(0.0, 2.1, 5), [0.0, 0.5, 1.0, 1.5, 2.0]);
        assert_eq!(ticks(1.0, 40.0, 8), [5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0]);
        assert_eq!(ticks(3.0, 3.0, 5), [3.0]);
        let labels: Vec<String> = ticks(0.0, 0.3, 3).into_iter().map(number).collect();
        assert_eq!(labels, ["0", "0.1", "0.2", "0.3"]);
        assert_eq!(number(3e-4), "3e-4");
    }

    #[test]
    fn a_missing_value_breaks_the_line() {
        let series = Series { name: "a".into(), ys: vec![Some(0.0), None, Some(1.0), Some(2.0)] };
        let chart = Chart { title: "t", x: "x", y: "y", xs: vec![1.0, 2.0, 3.0, 4.0], series: vec![] };
        let (x, y) = (Axis::new(1.0, 4.0, 0.0, 30.0), Axis::new(0.0, 2.0, 20.0, 0.0));
        assert_eq!(chart.path(&series, &x, &y), "M0 20M20 10L30 0");
    }
}
