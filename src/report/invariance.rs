//! How features follow translation, scale and rotation: a row of charts for each transform,
//! with a line for each image.

use std::fmt::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::report::csv::quoted;
use crate::report::json;
use crate::report::plot::line::{Lines, Series};
use crate::report::plot::{Area, Axis, Figure};
use crate::train::replace::replace_file;
use crate::understand::invariance::{Kind, Response};

/// What `invariance.json` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Invariance {
    /// The first layer, and the one below the classifier.
    pub layers: [String; 2],
    /// The images: name and class.
    pub images: Vec<String>,
    /// The transforms.
    pub kinds: Vec<KindResponses>,
}

/// All images under one kind of transform.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KindResponses {
    /// Its name.
    pub name: String,
    /// Unit of the amounts.
    pub unit: String,
    /// The amounts, ascending.
    pub amounts: Vec<f64>,
    /// For each image and amount: distance in the first layer, in the one below the
    /// classifier, and the probability of the class.
    pub responses: Vec<Vec<[f64; 3]>>,
}

impl KindResponses {
    /// Nothing known yet of `kind`.
    pub fn new(kind: Kind, amounts: Vec<f64>) -> Self {
        let (name, unit) = kind.name();
        KindResponses { name: name.to_owned(), unit: unit.to_owned(), amounts, responses: Vec::new() }
    }

    /// Takes in one image.
    pub fn add(&mut self, responses: &[Response]) {
        self.responses.push(responses.iter().map(|r| [r.low, r.top, r.p]).collect());
    }

    /// One of the three values, a line for each image.
    pub fn panel(&self, value: usize) -> Vec<Vec<f64>> {
        self.responses.iter().map(|image| image.iter().map(|three| three[value]).collect()).collect()
    }
}

/// The columns of `invariance.csv`.
pub const HEADER: &str = "transform,unit,amount,image,distance_low,distance_top,probability";

const PANEL: (f64, f64) = (260.0, 180.0);
/// From one panel to the next, to the right and down.
const STEP: (f64, f64) = (350.0, 260.0);
const LEGEND: f64 = 230.0;

impl Invariance {
    /// What the three charts of a transform show.
    pub fn titles(&self) -> [String; 3] {
        let [low, top] = &self.layers;
        [format!("distance in {low}"), format!("distance in {top}"), "probability of the class".to_owned()]
    }

    /// Writes `invariance.png`, `.csv` and `.json` into `folder`.
    pub fn draw(&self, folder: &Path) -> Result<()> {
        let mut figure = Figure::new(3.0 * STEP.0 + LEGEND, self.kinds.len() as f64 * STEP.1 + 20.0);
        for (row, kind) in self.kinds.iter().enumerate() {
            for (column, title) in self.titles().iter().enumerate() {
                let (left, top) = (70.0 + column as f64 * STEP.0, 40.0 + row as f64 * STEP.1);
                let area = Area { left, top, width: PANEL.0, height: PANEL.1 };
                self.panel(kind, column, title).draw_in(&mut figure, area);
            }
        }
        figure.save(&folder.join("invariance.png"))?;
        replace_file(&folder.join("invariance.csv"), |out| out.write_all(self.csv().as_bytes()))?;
        json::save(&folder.join("invariance.json"), self)
    }

    fn panel(&self, kind: &KindResponses, value: usize, title: &str) -> Panel {
        let lines = kind.panel(value);
        let most = if value == 2 { 1.0 } else { lines.iter().flatten().copied().fold(0.0, f64::max) };
        let series = self.images.iter().zip(&lines).map(|(image, ys)| Series {
            // The legend stands once, right of the last chart.
            name: if value == 2 { image.clone() } else { String::new() },
            points: kind.amounts.iter().copied().zip(ys.iter().copied()).collect(),
        });
        let (first, last) = (kind.amounts.first().copied(), kind.amounts.last().copied());
        let label = if value == 2 { "probability" } else { "Euclidean distance" };
        Panel {
            title: title.to_owned(),
            series: series.collect(),
            x: Axis::new(&format!("{} ({})", kind.name, kind.unit), first.unwrap_or(0.0), last.unwrap_or(1.0)),
            y: Axis::new(label, 0.0, most),
        }
    }

    /// A line for each transform, amount and image: see [`HEADER`].
    fn csv(&self) -> String {
        let mut csv = format!("{HEADER}\n");
        for kind in &self.kinds {
            for (image, responses) in self.images.iter().zip(&kind.responses) {
                for (amount, [low, top, p]) in kind.amounts.iter().zip(responses) {
                    // Writing to a string cannot fail.
                    let _ = writeln!(csv, "{},{},{amount},{},{low},{top},{p}", kind.name, kind.unit, quoted(image));
                }
            }
        }
        csv
    }
}

/// One chart.
struct Panel {
    title: String,
    series: Vec<Series>,
    x: Axis,
    y: Axis,
}

impl Panel {
    fn draw_in(&self, figure: &mut Figure, area: Area) {
        Lines { title: &self.title, series: &self.series, x: &self.x, y: &self.y }.draw(figure, area);
    }
}
