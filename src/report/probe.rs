//! What frozen features are worth: accuracy against images a class (Fig 7) and against the
//! layer (Tables 3, 4 and 6).

use std::fmt::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::report::json;
use crate::report::plot::colour::CATEGORIES;
use crate::report::plot::line::{Lines, Series};
use crate::report::plot::{Area, Axis, Figure, Frame};
use crate::train::replace::replace_file;
use crate::transfer::objective::Classifier;
use crate::transfer::study;

/// What was trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "lowercase")]
pub enum Method {
    /// A classifier on a frozen layer.
    Probe {
        /// Which classifier.
        classifier: Classifier,
        /// Number of the layer, counted from 1.
        layer: usize,
        /// The blob that it hands on.
        blob: String,
        /// Values of that blob.
        d: usize,
    },
    /// The whole network, from new weights.
    Scratch,
}

impl Method {
    /// `softmax, layer 3` or `from scratch`.
    pub fn name(&self) -> String {
        match self {
            Method::Probe { classifier, layer, .. } => format!("{classifier}, layer {layer}"),
            Method::Scratch => "from scratch".to_owned(),
        }
    }

    /// From-scratch first, then by classifier and layer.
    fn key(&self) -> (&str, usize) {
        match self {
            Method::Probe { classifier, layer, .. } => (classifier.name(), *layer),
            Method::Scratch => ("", 0),
        }
    }
}

/// How a classifier was trained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// C of its objective, chosen on images held out.
    pub cost: f64,
    /// Its objective on all training images.
    pub objective: f64,
    /// Bound on how far above the minimum the optimiser left it, relative to it.
    pub gap: f64,
    /// Iterations of the optimiser.
    pub iterations: usize,
}

/// One method on one fold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// What was trained.
    #[serde(flatten)]
    pub method: Method,
    /// Images a class that it learned from.
    pub per_class: usize,
    /// The fold, counted from 0.
    pub fold: usize,
    /// Mean per-class accuracy, 0 to 1.
    pub accuracy: f64,
    /// How, if it was a classifier.
    pub training: Option<Training>,
}

impl From<&study::Outcome<'_>> for Outcome {
    fn from(outcome: &study::Outcome<'_>) -> Self {
        let study::Outcome { layer, fold, fit, accuracy, .. } = outcome;
        Outcome {
            method: Method::Probe {
                classifier: fit.classifier,
                layer: layer.number,
                blob: layer.blob.clone(),
                d: layer.d,
            },
            per_class: fold.per_class,
            fold: fold.number,
            accuracy: *accuracy,
            training: Some(Training {
                cost: fit.cost,
                objective: fit.objective,
                gap: fit.gap,
                iterations: fit.iterations,
            }),
        }
    }
}

/// A method over its folds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mean {
    /// What was trained.
    #[serde(flatten)]
    pub method: Method,
    /// Images a class that it learned from.
    pub per_class: usize,
    /// Number of folds.
    pub folds: usize,
    /// Mean of their accuracies.
    pub mean: f64,
    /// Standard deviation over the folds (with folds - 1); null for a single one.
    pub sd: Option<f64>,
}

/// What `probe.json` says, beside the means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Fingerprint of network and images.
    pub subject: String,
    /// The run.
    pub run: String,
    /// The data set.
    pub data: String,
    /// Its classes.
    pub classes: usize,
    /// Its images.
    pub images: usize,
    /// Images of a class to judge by, at most.
    pub max_test: usize,
    /// Seed of the folds.
    pub seed: u64,
    /// Everything that was trained, sorted.
    pub outcomes: Vec<Outcome>,
}

#[derive(Serialize)]
struct Saved<'a> {
    #[serde(flatten)]
    probe: &'a Probe,
    means: Vec<Mean>,
}

/// The columns of `probe.csv`.
pub const HEADER: &str = "method,layer,blob,features,per_class,fold,accuracy,cost,objective,gap,iterations";

const FILE: &str = "probe.json";
const PANEL: (f64, f64) = (330.0, 260.0);
/// From one panel to the next.
const STEP: f64 = 560.0;
/// Half the side of a mark.
const MARK: f64 = 2.5;

impl Probe {
    /// What stands in `folder`, if anything does.
    ///
    /// # Errors
    /// [`crate::error::Error::Format`] if the file there is damaged.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        json::read(&folder.join(FILE), "probe")
    }

    /// Takes over what an earlier command found in `folder` about the same network and images
    /// by the same protocol.
    ///
    /// # Errors
    /// [`crate::error::Error::Format`] if the file there is damaged.
    pub fn with_earlier(mut self, folder: &Path) -> Result<Self> {
        if let Some(earlier) = Self::read(folder)? {
            let protocol = |p: &Probe| (p.subject.clone(), p.max_test, p.seed);
            if protocol(&earlier) == protocol(&self) {
                earlier.outcomes.into_iter().for_each(|outcome| self.add(outcome));
            }
        }
        Ok(self)
    }

    /// Takes in an outcome, in the place of an earlier one of the same method and fold.
    pub fn add(&mut self, outcome: Outcome) {
        let key = |o: &Outcome| (o.method.key().0.to_owned(), o.method.key().1, o.per_class, o.fold);
        match self.outcomes.binary_search_by_key(&key(&outcome), key) {
            Ok(i) => self.outcomes[i] = outcome,
            Err(i) => self.outcomes.insert(i, outcome),
        }
    }

    /// Every method and number of images, over its folds.
    pub fn means(&self) -> Vec<Mean> {
        let same = |a: &Outcome, b: &Outcome| (a.method.key(), a.per_class) == (b.method.key(), b.per_class);
        self.outcomes.chunk_by(same).map(mean).collect()
    }

    /// Writes `probe.png`, `.csv` and `.json` into `folder`.
    pub fn draw(&self, folder: &Path) -> Result<()> {
        let means = self.means();
        let mut figure = Figure::new(2.0 * STEP + 20.0, PANEL.1 + 110.0);
        let area = |column: f64| Area { left: 60.0 + column * STEP, top: 40.0, width: PANEL.0, height: PANEL.1 };
        let most = means.iter().map(|m| m.per_class).max().unwrap_or(0);
        let x = Axis::new("training images per class", 0.0, 1.05 * most as f64);
        let curves = curves(&means, |m| (m.method.name(), m.per_class as f64));
        panel("accuracy against training images", &curves, &x, &mut figure, area(0.0));
        let layered: Vec<Mean> = means.iter().filter(|m| m.method != Method::Scratch).cloned().collect();
        let (first, last) = (layered.iter().map(layer), layered.iter().map(layer));
        let x = Axis::new("layer", first.min().unwrap_or(1) as f64 - 0.5, last.max().unwrap_or(1) as f64 + 0.5);
        let mut layers = layered.clone();
        layers.sort_by_key(|m| (m.method.key().0.to_owned(), m.per_class, layer(m)));
        let name = |m: &Mean| (format!("{}, {} a class", m.method.key().0, m.per_class), layer(m) as f64);
        panel("accuracy against layer", &self::curves(&layers, name), &x, &mut figure, area(1.0));
        figure.save(&folder.join("probe.png"))?;
        replace_file(&folder.join("probe.csv"), |out| out.write_all(self.csv().as_bytes()))?;
        json::save(&folder.join(FILE), &Saved { probe: self, means })
    }

    /// The file's text, as JSON.
    ///
    /// # Errors
    /// Numbers that JSON cannot hold, of which there are none.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(&Saved { probe: self, means: self.means() })
    }

    /// A line for each outcome: see [`HEADER`].
    fn csv(&self) -> String {
        let mut csv = format!("{HEADER}\n");
        for Outcome { method, per_class, fold, accuracy, training } in &self.outcomes {
            let method = match method {
                Method::Probe { classifier, layer, blob, d } => format!("{classifier},{layer},{blob},{d}"),
                Method::Scratch => "scratch,,,".to_owned(),
            };
            let training =
                training.map_or(",,,".to_owned(), |t| format!("{},{},{},{}", t.cost, t.objective, t.gap, t.iterations));
            // Writing to a string cannot fail.
            let _ = writeln!(csv, "{method},{per_class},{fold},{accuracy},{training}");
        }
        csv
    }
}

fn layer(mean: &Mean) -> usize {
    mean.method.key().1
}

/// Mean and deviation of one method's folds, of which there is at least one.
fn mean(folds: &[Outcome]) -> Mean {
    let n = folds.len();
    let mean = folds.iter().map(|o| o.accuracy).sum::<f64>() / n as f64;
    let square = folds.iter().map(|o| (o.accuracy - mean).powi(2)).sum::<f64>();
    let sd = (n > 1).then(|| (square / (n as f64 - 1.0)).sqrt());
    Mean { method: folds[0].method.clone(), per_class: folds[0].per_class, folds: n, mean, sd }
}

/// Points (x, mean, deviation) that share a name, in per cent.
struct Curve {
    name: String,
    points: Vec<(f64, f64, f64)>,
}

/// Neighbours of the same name make a curve.
fn curves(means: &[Mean], place: impl Fn(&Mean) -> (String, f64)) -> Vec<Curve> {
    let mut curves: Vec<Curve> = Vec::new();
    for mean in means {
        let (name, x) = place(mean);
        let point = (x, 100.0 * mean.mean, 100.0 * mean.sd.unwrap_or(0.0));
        match curves.last_mut().filter(|curve| curve.name == name) {
            Some(curve) => curve.points.push(point),
            None => curves.push(Curve { name, points: vec![point] }),
        }
    }
    curves
}

/// The curves with a mark at each point and a bar of one deviation to both sides.
fn panel(title: &str, curves: &[Curve], x: &Axis, figure: &mut Figure, area: Area) {
    let y = Axis::new("accuracy (%)", 0.0, 100.0);
    let series: Vec<Series> = curves
        .iter()
        .map(|c| Series { name: c.name.clone(), points: c.points.iter().map(|&(x, y, _)| (x, y)).collect() })
        .collect();
    Lines { title, series: &series, x, y: &y }.draw(figure, area);
    let frame = Frame::new(area, x, &y);
    for (i, curve) in curves.iter().enumerate() {
        let colour = CATEGORIES[i % CATEGORIES.len()];
        for &(x, mean, sd) in &curve.points {
            let (left, top) = frame.place((x, mean));
            let ends = [mean - sd, mean + sd].map(|y| frame.place((x, y.clamp(0.0, 100.0))));
            figure.lines(&ends, colour, 1.0, "");
            let side = 2.0 * MARK;
            figure.fill(Area { left: left - MARK, top: top - MARK, width: side, height: side }, colour);
        }
    }
}
