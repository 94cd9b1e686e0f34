//! Names of the synsets, and the truth about the validation images.
//!
//! The devkit's `data/meta.mat` has a struct for each synset: its number, its
//! WordNet name, its words, its children and its number of training images;
//! those without children are the classes. `data/ILSVRC2012_validation_ground_truth.txt`
//! has the number of one validation image's synset in each line. Number and
//! place in the sorted order are not the same.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use super::super::matlab::{self, Value};
use super::super::tree::Tree;
use crate::error::{Error, Result};

const DEVKIT: &str = "ILSVRC2012_devkit_t12";
const META: &str = "data/meta.mat";
const TRUTH: &str = "data/ILSVRC2012_validation_ground_truth.txt";
/// Kaggle's truth: image, then synset and box.
const SOLUTION: &str = "LOC_val_solution.csv";
/// Text files with a synset and its words in each line: Kaggle's and Caffe's.
const WORDS: [&str; 2] = ["LOC_synset_mapping.txt", "synset_words.txt"];

/// What is known about a synset.
struct Synset {
    words: String,
    /// Its number in the devkit.
    number: Option<usize>,
    train_images: Option<usize>,
}

/// The synsets that are classes.
pub(super) struct Names {
    /// Where they were read.
    pub(super) path: PathBuf,
    synsets: BTreeMap<String, Synset>,
}

impl Names {
    pub(super) fn len(&self) -> usize {
        self.synsets.len()
    }

    pub(super) fn synsets(&self) -> impl Iterator<Item = &str> {
        self.synsets.keys().map(String::as_str)
    }

    pub(super) fn words(&self, synset: &str) -> Option<&str> {
        Some(&self.synsets.get(synset)?.words)
    }

    pub(super) fn train_images(&self, synset: &str) -> Option<usize> {
        self.synsets.get(synset)?.train_images
    }
}

/// The devkit, if it is there.
fn devkit(dir: &Path, scratch: &Path) -> Result<Option<Tree>> {
    let candidates = ["", ".tar.gz", ".tgz", ".tar"].map(|ending| dir.join(format!("{DEVKIT}{ending}")));
    let Some(path) = candidates.iter().find(|path| path.exists()) else { return Ok(None) };
    match Tree::open(path, scratch)?.around(META) {
        Some(tree) => Ok(Some(tree)),
        None => Err(Error::format(path, format!("has no {META}: get the devkit again"))),
    }
}

/// The names of the synsets: from the devkit, or else from a text file; none if neither is there.
pub(super) fn names(dir: &Path, scratch: &Path) -> Result<Option<Names>> {
    if let Some(tree) = devkit(dir, scratch)? {
        let path = tree.path(META);
        let bytes = tree.find(META).map_or(Ok(Vec::new()), |entry| entry.place.read())?;
        let synsets = classes(&bytes).map_err(|reason| Error::format(&path, reason))?;
        return Ok(Some(Names { path, synsets }));
    }
    let Some(path) = WORDS.iter().map(|file| dir.join(file)).find(|path| path.is_file()) else { return Ok(None) };
    let mut synsets = BTreeMap::new();
    for (i, line) in read(&path)?.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let bad = |reason: &str| Error::format(&path, format!("line {}: {reason}", i + 1));
        let (synset, words) = line.trim().split_once(' ').ok_or_else(|| bad("expected a synset and its words"))?;
        let known = Synset { words: words.trim().to_string(), number: None, train_images: None };
        if synsets.insert(synset.to_string(), known).is_some() {
            return Err(bad(&format!("{synset} stands above already")));
        }
    }
    Ok(Some(Names { path, synsets }))
}

fn read(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        Error::format(path, format!("byte {at} is not UTF-8: expected a text file"))
    })
}

/// The synsets without children in the devkit's table.
fn classes(bytes: &[u8]) -> Result<BTreeMap<String, Synset>, String> {
    let Value::Structs { names, elements } = matlab::variable(bytes, "synsets")? else {
        return Err("its variable synsets is no array of structs".into());
    };
    let field = |name: &str| {
        names.iter().position(|field| field == name).ok_or_else(|| format!("its synsets have no field {name}"))
    };
    let [number, synset, words, children, images] =
        [field("ILSVRC2012_ID")?, field("WNID")?, field("words")?, field("num_children")?, field("num_train_images")?];
    let mut classes = BTreeMap::new();
    for (i, element) in elements.iter().enumerate() {
        let count = |field: usize| match &element[field] {
            Value::Numbers(numbers) if numbers.len() == 1 && numbers[0] >= 0.0 => Ok(numbers[0] as usize),
            _ => Err(format!("synset {i}: its field {} is not a count", names[field])),
        };
        let text = |field: usize| match &element[field] {
            Value::Text(text) => Ok(text.clone()),
            _ => Err(format!("synset {i}: its field {} is not text", names[field])),
        };
        if count(children)? > 0 {
            continue;
        }
        let known = Synset { words: text(words)?, number: Some(count(number)?), train_images: Some(count(images)?) };
        let synset = text(synset)?;
        if classes.contains_key(&synset) {
            return Err(format!("synset {i}: {synset} is listed twice"));
        }
        classes.insert(synset, known);
    }
    Ok(classes)
}

/// Which synset each validation image shows.
pub(super) enum Truth {
    /// By the image's number, counted from 1.
    Numbered(Vec<String>),
    /// By its name without the extension.
    Named(HashMap<String, String>),
}

impl Truth {
    pub(super) fn synset(&self, image: &str) -> Result<&str, String> {
        let stem = image.split('.').next().unwrap_or_default();
        match self {
            Truth::Numbered(synsets) => {
                let number = stem.rsplit('_').next().and_then(|number| number.parse::<usize>().ok());
                let synset = number.and_then(|number| synsets.get(number.checked_sub(1)?)).map(String::as_str);
                synset.ok_or_else(|| {
                    format!("expected a name like ILSVRC2012_val_00000001.JPEG with a number up to {}", synsets.len())
                })
            }
            Truth::Named(synsets) => {
                synsets.get(stem).map(String::as_str).ok_or_else(|| format!("{SOLUTION} does not list it"))
            }
        }
    }
}

/// The truth about `images` validation images that lie in no folders of synsets.
pub(super) fn truth(dir: &Path, names: Option<&Names>, images: usize, scratch: &Path) -> Result<Truth> {
    let (path, truth, listed) = if let Some(tree) = devkit(dir, scratch)? {
        let truth = numbered(&tree, names)?;
        (tree.path(TRUTH), Truth::Numbered(truth.clone()), truth.len())
    } else if dir.join(SOLUTION).is_file() {
        let path = dir.join(SOLUTION);
        let truth = solution(&path)?;
        let listed = truth.len();
        (path, Truth::Named(truth), listed)
    } else {
        return Err(Error::format(
            dir,
            format!(
                "the validation images have no labels: put {DEVKIT}.tar.gz (or {SOLUTION}) there, \
                 or sort the images into a folder for each synset"
            ),
        ));
    };
    if listed != images {
        return Err(Error::format(path, format!("has labels for {listed} validation images, but there are {images}")));
    }
    Ok(truth)
}

/// The synset in each line of the devkit's truth.
fn numbered(tree: &Tree, names: Option<&Names>) -> Result<Vec<String>> {
    let numbers: HashMap<usize, &String> = names
        .iter()
        .flat_map(|names| &names.synsets)
        .filter_map(|(synset, known)| Some((known.number?, synset)))
        .collect();
    let synset = |(i, line): (usize, &str)| {
        let number = line.trim().parse().ok();
        number.and_then(|number: usize| numbers.get(&number)).map(|synset| (*synset).clone()).ok_or_else(|| {
            let count = numbers.len();
            Error::format(
                tree.path(TRUTH),
                format!("line {}: \"{line}\" is the number of none of {count} synsets", i + 1),
            )
        })
    };
    tree.text(TRUTH)?.lines().enumerate().map(synset).collect()
}

/// Kaggle's table: `ImageId,PredictionString`, the latter beginning with the synset.
fn solution(path: &Path) -> Result<HashMap<String, String>> {
    let mut synsets = HashMap::new();
    for (i, line) in read(path)?.lines().enumerate().skip(1).filter(|(_, line)| !line.is_empty()) {
        let parts = line.split_once(',').and_then(|(image, rest)| Some((image, rest.split_whitespace().next()?)));
        let (image, synset) = parts
            .ok_or_else(|| Error::format(path, format!("line {}: expected an image, a comma and a synset", i + 1)))?;
        if synsets.insert(image.to_string(), synset.to_string()).is_some() {
            return Err(Error::format(path, format!("line {}: {image} stands above already", i + 1)));
        }
    }
    Ok(synsets)
}
