//! `zfnet dedup`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;
use zfnet::data::packed::Split;
use zfnet::error::{Error, Result};
use zfnet::ops::Backend;
use zfnet::report::duplicates::{csv, sheet};
use zfnet::train::device::Job;
use zfnet::train::replace::replace_file;
use zfnet::transfer::duplicates::thumbnails::{PIXELS, measure_reading};
use zfnet::transfer::duplicates::{
    Candidate, Comparison, MARGIN, Match, Part, Pictures, Thumbnails, View, block_bytes, confirm, measure, repeated,
};

use crate::bar::Bar;
use crate::machine::Machine;
use crate::print::{answer, talk};
use crate::table::{bytes, duration, grouped};

/// Find the pictures of B that are in A too
///
/// Every picture of one is compared with every picture of the other by normalised
/// correlation: grey thumbnails of 32 x 32 pixels through the matrix product, then
/// what is alike at full size. Scale, compression, brightness and contrast do not
/// matter. A and B are folders of images or packed data sets; of a
/// packed one only the middle squares are there, so then the squares of both are
/// compared, and names are split and number. B may be A: each pair is then found once.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  zfnet dedup caltech101 imagenet --out runs/shared\n  \
    zfnet pack imagenet imagenet -o data/imagenet --exclude runs/shared/exclude.txt")]
pub struct Args {
    /// The data set to be tested on
    a: PathBuf,

    /// The data set to be cleaned
    b: PathBuf,

    /// Correlation from which two pictures are the same
    #[arg(long, value_name = "R", default_value_t = 0.9)]
    threshold: f64,

    /// Also compare with the mirror images of B
    #[arg(long)]
    mirrored: bool,

    /// Split of a packed data set [default: both]
    #[arg(long, value_name = "train|val")]
    split: Option<Split>,

    /// Folder for duplicates.csv, exclude.txt (names of B) and duplicates.png
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Only say what it would cost
    #[arg(long)]
    dry_run: bool,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    machine: Machine,
}

/// What is to be compared.
struct Sets {
    a: Pictures,
    /// `None` if it is A.
    b: Option<Pictures>,
    view: View,
}

impl Sets {
    fn open(args: &Args) -> Result<Self> {
        let part = args.split.map_or(Part::Both, Part::One);
        let a = Pictures::open(&args.a, part)?;
        let real = |path: &Path| path.canonicalize().map_err(Error::io("read", path));
        let b = if real(&args.a)? == real(&args.b)? { None } else { Some(Pictures::open(&args.b, part)?) };
        let view = View::common(&a, b.as_ref().unwrap_or(&a));
        Ok(Sets { a, b, view })
    }

    fn b(&self) -> &Pictures {
        self.b.as_ref().unwrap_or(&self.a)
    }

    fn pictures(&self) -> usize {
        self.a.len() + self.b.as_ref().map_or(0, Pictures::len)
    }

    fn pairs(&self, mirrored: bool) -> u64 {
        Comparison::pairs(self.a.len(), self.b.as_ref().map(Pictures::len), mirrored)
    }
}

/// What it costs.
struct Cost {
    pictures: usize,
    pictures_per_s: f64,
    pairs: u64,
    pairs_per_s: f64,
    memory: u64,
}

impl Cost {
    fn flop(&self) -> f64 {
        2.0 * PIXELS as f64 * self.pairs as f64
    }

    fn seconds(&self) -> f64 {
        self.pictures as f64 / self.pictures_per_s + self.pairs as f64 / self.pairs_per_s
    }

    fn say(&self) {
        talk!(
            "{} pictures at {:.0}/s: {}; {} pairs, {:.2e} FLOP at {:.2e} pairs/s: {}; memory {}",
            grouped(self.pictures as u64),
            self.pictures_per_s,
            duration(self.pictures as f64 / self.pictures_per_s),
            grouped(self.pairs),
            self.flop(),
            self.pairs_per_s,
            duration(self.pairs as f64 / self.pairs_per_s),
            bytes(self.memory)
        );
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "pictures": self.pictures,
            "pictures_per_s": self.pictures_per_s,
            "pairs": self.pairs,
            "flop": self.flop(),
            "pairs_per_s": self.pairs_per_s,
            "memory_bytes": self.memory,
            "seconds": self.seconds(),
        })
    }
}

struct Measure;

impl Job for Measure {
    type Output = f64;

    fn run<B: Backend>(self, mut backend: B) -> Result<f64> {
        measure(&mut backend)
    }
}

struct Search<'a> {
    comparison: Comparison<'a>,
    first: f64,
    bar: &'a Bar,
}

impl Job for Search<'_> {
    type Output = Vec<Candidate>;

    fn run<B: Backend>(self, mut backend: B) -> Result<Vec<Candidate>> {
        self.comparison.candidates(&mut backend, self.first as f32, &mut |pairs| self.bar.at(pairs))
    }
}

/// Runs the subcommand.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if !(args.threshold > 0.0 && args.threshold <= 1.0) {
        return Err(Error::Usage(format!("--threshold {}: a correlation above 0, up to 1", args.threshold)).into());
    }
    let device = args.machine.open()?;
    let sets = Sets::open(args)?;
    let cost = cost(args, &sets, device.run(Measure)?);
    cost.say();
    if args.dry_run {
        if args.json {
            answer!("{}", cost.json())?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let thumbnails = |pictures: &Pictures| {
        let bar = Bar::new(pictures.len() as u64, &pictures.root().display().to_string());
        let thumbnails = Thumbnails::of(pictures, sets.view, &mut |done| bar.at(done as u64));
        for (i, reason) in &thumbnails.bad {
            bar.say(&format!("zfnet: left out {}: {reason}", pictures.name(*i)));
        }
        thumbnails
    };
    let a = thumbnails(&sets.a);
    let b = sets.b.as_ref().map(thumbnails);
    let comparison = Comparison { a: &a, b: b.as_ref(), mirrored: args.mirrored };
    // Rounded operands move a correlation of vectors of length 1 by twice their relative error at
    // most; a product that is stored rounded, once more.
    let first = args.threshold - MARGIN - 3.0 * device.operand_roundoff();
    let candidates = {
        let bar = Bar::new(Comparison::pairs(a.len(), b.as_ref().map(Thumbnails::len), args.mirrored), "pairs");
        device.run(Search { comparison, first, bar: &bar })?
    };
    let matches = {
        let bar = Bar::new(candidates.len() as u64, "at full size");
        let done = &mut |done| bar.at(done as u64);
        confirm(&sets.a, sets.b(), sets.view, &candidates, args.threshold, done)?
    };
    let bad = a.bad.len() + b.as_ref().map_or(0, |b| b.bad.len());
    let flat = a.flat.len() + b.as_ref().map_or(0, |b| b.flat.len());
    let shown = args.out.as_ref().map(|out| save(out, &sets, &matches)).transpose()?;
    print(args, &sets, &matches, Counts { candidates: candidates.len(), flat, bad, shown }, &cost)?;
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the whole comparison costs, from what a small part takes.
fn cost(args: &Args, sets: &Sets, pairs_per_s: f64) -> Cost {
    let pictures_per_s = measure_reading(sets.b(), sets.view);
    let (pictures, pairs) = (sets.pictures(), sets.pairs(args.mirrored));
    Cost { pictures, pictures_per_s, pairs, pairs_per_s, memory: (pictures * PIXELS) as u64 + block_bytes() }
}

/// Writes the files; gives the number of pairs on the contact sheet.
fn save(out: &Path, sets: &Sets, matches: &[Match]) -> Result<usize> {
    fs::create_dir_all(out).map_err(Error::io("create", out))?;
    csv(&out.join("duplicates.csv"), &sets.a, sets.b(), matches)?;
    replace_file(&out.join("exclude.txt"), |file| {
        repeated(matches).into_iter().try_for_each(|i| writeln!(file, "{}", sets.b().name(i)))
    })?;
    sheet(&out.join("duplicates.png"), &sets.a, sets.b(), matches)
}

struct Counts {
    candidates: usize,
    flat: usize,
    bad: usize,
    shown: Option<usize>,
}

fn print(args: &Args, sets: &Sets, matches: &[Match], counts: Counts, cost: &Cost) -> std::io::Result<()> {
    let Counts { candidates, flat, bad, shown } = counts;
    let name = |m: &Match| (sets.a.name(m.a as usize), sets.b().name(m.b as usize));
    let repeated = repeated(matches).len();
    if args.json {
        let pairs: Vec<_> = matches
            .iter()
            .map(|m| {
                let (a, b) = name(m);
                json!({ "a": a, "b": b, "correlation": m.correlation, "mirrored": m.mirrored })
            })
            .collect();
        let object = json!({
            "a": { "path": args.a, "pictures": sets.a.len() },
            "b": { "path": args.b, "pictures": sets.b().len(), "repeated": repeated },
            "threshold": args.threshold,
            "candidates": candidates,
            "flat": flat,
            "bad": bad,
            "matches": pairs,
            "cost": cost.json(),
        });
        return answer!("{object}");
    }
    if shown.is_none() {
        for m in matches {
            let (a, b) = name(m);
            answer!("{:.4}  {a}  {b}{}", m.correlation, if m.mirrored { "  mirrored" } else { "" })?;
        }
    }
    answer!(
        "{} pairs, {candidates} alike as thumbnails, {} the same at full size: {repeated} of {} pictures are {}",
        grouped(cost.pairs),
        matches.len(),
        sets.b().len(),
        if sets.b.is_some() { format!("in {} too", args.a.display()) } else { "in it twice".into() }
    )?;
    if flat + bad > 0 {
        answer!("not compared: {flat} of one grey, {bad} that cannot be read")?;
    }
    if let (Some(out), Some(shown)) = (&args.out, shown) {
        let out = out.display();
        answer!(
            "{out}/duplicates.csv, {out}/exclude.txt, {out}/duplicates.png ({shown} pairs, the least alike first)"
        )?;
    }
    Ok(())
}
