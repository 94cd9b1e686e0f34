//! Tables 3, 4 and 6, and Figure 7: what the features are worth on Caltech-101 and Caltech-256.
//!
//! Each number is the mean of per-class accuracy, in per cent, over folds, by the protocol of
//! [`crate::transfer::split`]: so many training images a class, at most 50 test images of each.

use std::path::Path;

use crate::error::{Error, Result};
use crate::paper::comparison::{Cell, Line};
use crate::report::plot::line::{Lines, Series};
use crate::report::plot::{Area, Axis, Figure};
use crate::report::probe::{Method, Probe};
use crate::transfer::objective::Classifier::{self, Softmax, Svm};

/// Test images of a class, at most.
pub const MAX_TEST: usize = 50;

/// What learns from the images of the other data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learner {
    /// The whole network, from new weights.
    Scratch,
    /// A classifier on a layer of the trained network, counted from 1.
    Frozen(Classifier, usize),
}

/// A column: which of the data sets, and how many images of each class.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its heading.
    pub name: &'static str,
    /// Index of the data set on the command line.
    pub set: usize,
    /// Training images of a class.
    pub per_class: usize,
}

/// A row.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// As the paper calls it.
    pub label: &'static str,
    /// What learns.
    pub learner: Learner,
    /// What the paper reports, in the order of the columns.
    pub published: &'static [Option<f64>],
}

/// A table.
#[derive(Clone, Copy, Debug)]
pub struct TransferTable {
    /// Its number.
    pub number: u32,
    /// What it shows.
    pub title: &'static str,
    /// The data sets that it wants, in the order of the command line.
    pub sets: &'static [&'static str],
    /// Its columns.
    pub columns: &'static [Column],
    /// Its rows.
    pub rows: &'static [Entry],
}

const fn column(name: &'static str, set: usize, per_class: usize) -> Column {
    Column { name, set, per_class }
}

const fn entry(label: &'static str, learner: Learner, published: &'static [Option<f64>]) -> Entry {
    Entry { label, learner, published }
}

/// Columns of Table 4 and points of Figure 7.
const CALTECH_256: [Column; 4] = [
    column("15 a class", 0, 15),
    column("30 a class", 0, 30),
    column("45 a class", 0, 45),
    column("60 a class", 0, 60),
];

/// The tables that there are.
pub const TABLES: [TransferTable; 3] = [
    TransferTable {
        number: 3,
        title: "Caltech-101: mean of per-class accuracy in %",
        sets: &["Caltech-101"],
        columns: &[column("15 a class", 0, 15), column("30 a class", 0, 30)],
        rows: &[
            entry("Non-pretrained convnet", Learner::Scratch, &[Some(22.8), Some(46.5)]),
            entry("ImageNet-pretrained convnet", Learner::Frozen(Softmax, 7), &[Some(83.8), Some(86.5)]),
        ],
    },
    TransferTable {
        number: 4,
        title: "Caltech-256: mean of per-class accuracy in %",
        sets: &["Caltech-256"],
        columns: &CALTECH_256,
        rows: &[
            entry("Non-pretrained convnet", Learner::Scratch, &[Some(9.0), Some(22.5), Some(31.2), Some(38.8)]),
            entry(
                "ImageNet-pretrained convnet",
                Learner::Frozen(Softmax, 7),
                &[Some(65.7), Some(70.6), Some(72.7), Some(74.2)],
            ),
        ],
    },
    TransferTable {
        number: 6,
        title: "What the features of each layer are worth: mean of per-class accuracy in %",
        sets: &["Caltech-101", "Caltech-256"],
        columns: &[column("Caltech-101, 30 a class", 0, 30), column("Caltech-256, 60 a class", 1, 60)],
        rows: &[
            entry("SVM (1)", Learner::Frozen(Svm, 1), &[Some(44.8), Some(24.6)]),
            entry("SVM (2)", Learner::Frozen(Svm, 2), &[Some(66.2), Some(39.6)]),
            entry("SVM (3)", Learner::Frozen(Svm, 3), &[Some(72.3), Some(46.0)]),
            entry("SVM (4)", Learner::Frozen(Svm, 4), &[Some(76.6), Some(51.3)]),
            entry("SVM (5)", Learner::Frozen(Svm, 5), &[Some(86.2), Some(65.6)]),
            entry("SVM (7)", Learner::Frozen(Svm, 7), &[Some(85.5), Some(71.7)]),
            entry("Softmax (5)", Learner::Frozen(Softmax, 5), &[Some(82.9), Some(65.7)]),
            entry("Softmax (7)", Learner::Frozen(Softmax, 7), &[Some(85.4), Some(72.6)]),
        ],
    },
];

impl Learner {
    fn is(self, method: &Method) -> bool {
        match (self, method) {
            (Learner::Scratch, Method::Scratch) => true,
            (Learner::Frozen(wanted, number), Method::Probe { classifier, layer, .. }) => {
                (wanted, number) == (*classifier, *layer)
            }
            _ => false,
        }
    }
}

/// What has to be found out on one data set: a learner, from so many images of each class.
pub type Wanted = (Learner, usize);

impl TransferTable {
    /// Table `number`.
    pub fn numbered(number: u32) -> Option<&'static TransferTable> {
        TABLES.iter().find(|table| table.number == number)
    }

    /// What some of its rows want to know of data set `set`.
    pub fn wants(&self, rows: &[&Entry], set: usize) -> Vec<Wanted> {
        let columns = self.columns.iter().filter(|column| column.set == set);
        columns.flat_map(|column| rows.iter().map(|row| (row.learner, column.per_class))).collect()
    }

    /// Some of its rows, filled in from what was found out on each data set.
    pub fn fill(&self, rows: &[&Entry], probes: &[Probe]) -> Vec<Line> {
        let cell = |row: &Entry, (column, published): (&Column, &Option<f64>)| {
            let found = probes.get(column.set).map(|probe| accuracies(probe, (row.learner, column.per_class)));
            let ours = found.unwrap_or_default().iter().map(|accuracy| 100.0 * accuracy).collect();
            Cell { measure: column.name, published: *published, ours }
        };
        let line = |row: &&Entry| Line {
            label: row.label,
            networks: Vec::new(),
            cells: self.columns.iter().zip(row.published).map(|pair| cell(row, pair)).collect(),
        };
        rows.iter().map(line).collect()
    }
}

/// Accuracies, from 0 to 1, of the folds that are there.
pub fn accuracies(probe: &Probe, (learner, per_class): Wanted) -> Vec<f64> {
    let of = probe.outcomes.iter().filter(|o| learner.is(&o.method) && o.per_class == per_class);
    of.map(|outcome| outcome.accuracy).collect()
}

/// What of `wanted` has fewer than `folds` folds in `probe`.
pub fn missing(probe: Option<&Probe>, wanted: &[Wanted], folds: usize) -> Vec<Wanted> {
    let there = |wanted: Wanted| probe.map_or(0, |probe| accuracies(probe, wanted).len());
    wanted.iter().copied().filter(|wanted| there(*wanted) < folds).collect()
}

/// The commands of `zfnet probe` that find out what is missing, as (arguments): one from scratch,
/// and one for each classifier.
pub fn commands(missing: &[Wanted]) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    let listed = |mut numbers: Vec<usize>| {
        numbers.sort_unstable();
        numbers.dedup();
        numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
    };
    let mut add = |of: &dyn Fn(Learner) -> bool, more: &dyn Fn(String) -> Vec<String>| {
        let these: Vec<&Wanted> = missing.iter().filter(|(learner, _)| of(*learner)).collect();
        if these.is_empty() {
            return;
        }
        let layers = these.iter().filter_map(|(learner, _)| match learner {
            Learner::Frozen(_, layer) => Some(*layer),
            Learner::Scratch => None,
        });
        let mut words = more(listed(layers.collect()));
        words.extend(["--per-class".into(), listed(these.iter().map(|(_, per_class)| *per_class).collect())]);
        commands.push(words);
    };
    add(&|learner| learner == Learner::Scratch, &|_| vec!["--from-scratch".into()]);
    for wanted in Classifier::ALL {
        let of = |learner| matches!(learner, Learner::Frozen(classifier, _) if classifier == wanted);
        add(&of, &|layers| vec!["--classifier".into(), wanted.name().into(), "--layers".into(), layers]);
    }
    commands
}

/// Checks that there are as many data sets as are wanted.
///
/// # Errors
/// [`Error::Usage`] that names them.
pub fn check_sets(wanted: &[&str], given: usize) -> Result<()> {
    if wanted.len() == given {
        return Ok(());
    }
    let each = wanted.iter().map(|set| format!("--data {}", set.to_lowercase())).collect::<Vec<_>>().join(" ");
    Err(Error::Usage(format!("this wants {each}, in this order; {given} data sets were given")))
}

/// Draws the first row's accuracies against the images of a class, ours and the paper's.
///
/// # Errors
/// [`Error::Io`]
pub fn draw(table: &TransferTable, line: &Line, path: &Path) -> Result<()> {
    let points = |of: &dyn Fn(&Cell) -> Option<f64>| {
        let at = table.columns.iter().zip(&line.cells);
        at.filter_map(|(column, cell)| Some((column.per_class as f64, of(cell)?))).collect()
    };
    let series = [
        Series { name: "ours".into(), points: points(&Cell::mean) },
        Series { name: "the paper's".into(), points: points(&|cell| cell.published) },
    ];
    let most = table.columns.iter().map(|column| column.per_class).max().unwrap_or(1);
    let (x, y) = (Axis::new("training images per class", 0.0, most as f64), Axis::new("accuracy, %", 0.0, 100.0));
    let mut figure = Figure::new(640.0, 400.0);
    let area = Area { left: 70.0, top: 40.0, width: 400.0, height: 290.0 };
    Lines { title: table.title, series: &series, x: &x, y: &y }.draw(&mut figure, area);
    figure.save(path)
}

/// Figure 7: images of each class against accuracy on Caltech-256, as a table of its points.
pub const FIGURE_7: TransferTable = TransferTable {
    number: 7,
    title: "Caltech-256: mean of per-class accuracy in % against training images of a class",
    sets: &["Caltech-256"],
    columns: &[column("6 a class", 0, 6), CALTECH_256[0], CALTECH_256[1], CALTECH_256[2], CALTECH_256[3]],
    rows: &[entry(
        "ImageNet-pretrained convnet",
        Learner::Frozen(Softmax, 7),
        &[None, Some(65.7), Some(70.6), Some(72.7), Some(74.2)],
    )],
};
