//! The data sets that `zfnet pack` reads: small ones in each one's exact layout, as folders and as archives.

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use zfnet::data::packed::{Dataset, Split};
use zfnet::data::report::{Event, Summary};
use zfnet::data::sources::{self, HoldOut, Options, Source};
use zfnet::error::Result;

mod archive;
mod caltech;
mod cifar;
mod csv;
mod exclude;
mod imagenet;
mod resume;
mod voc;

/// Side of the records.
const S: usize = 9;

const HOLD_OUT: HoldOut = HoldOut { share: 0.34, seed: 5 };

/// Named contents, to be laid out as a folder or as an archive.
#[derive(Clone, Default)]
struct Files(Vec<(String, Vec<u8>)>);

impl Files {
    fn add(&mut self, name: impl Into<String>, contents: impl Into<Vec<u8>>) -> &mut Self {
        self.0.push((name.into(), contents.into()));
        self
    }

    /// All names with `prefix` in front.
    fn within(&self, prefix: &str) -> Files {
        Files(self.0.iter().map(|(name, bytes)| (format!("{prefix}/{name}"), bytes.clone())).collect())
    }

    /// The same without the file `name`, which must be there.
    fn without(&self, name: &str) -> Files {
        let rest: Vec<_> = self.0.iter().filter(|(other, _)| other != name).cloned().collect();
        assert_eq!(rest.len() + 1, self.0.len(), "there is no {name} to leave out");
        Files(rest)
    }

    /// The same with other contents of the file `name`, which must be there.
    fn with(&self, name: &str, contents: impl Into<Vec<u8>>) -> Files {
        let mut files = self.without(name);
        files.add(name, contents);
        files
    }

    fn folder(&self, dir: &Path) {
        for (name, bytes) in &self.0 {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    /// A tar file, members in reverse order: what comes of it must not depend on that.
    fn tar(&self) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, bytes) in self.0.iter().rev() {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, format!("./{name}"), &bytes[..]).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn tar_gz(&self) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&self.tar()).unwrap();
        encoder.finish().unwrap()
    }
}

/// A picture of one colour: `i` tells it from every other one.
fn picture(i: usize, format: image::ImageFormat) -> Vec<u8> {
    let colour = image::Rgb([(i * 37 % 251) as u8, (i * 101 % 241) as u8, (i * 59 % 239) as u8]);
    let mut bytes = Cursor::new(Vec::new());
    image::RgbImage::from_pixel(11 + i as u32 % 5, 10 + i as u32 % 3, colour).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn jpeg(i: usize) -> Vec<u8> {
    picture(i, image::ImageFormat::Jpeg)
}

fn png(i: usize) -> Vec<u8> {
    picture(i, image::ImageFormat::Png)
}

/// Packs, and gives what was left out and noted.
fn pack(source: &dyn Source, options: &Options, out: &Path) -> Result<(Summary, String)> {
    let said = Mutex::new(String::new());
    let say = |line: String| *said.lock().unwrap() += &(line + "\n");
    let listener = |event: Event| match event {
        Event::Bad(path, reason) => say(format!("{}: {reason}", path.display())),
        Event::Note(note) => say(note.to_string()),
        Event::Begin(_) | Event::Continued(_) | Event::Image => {}
    };
    let summary = sources::pack(source, options, out, &listener, &AtomicBool::new(false))?;
    Ok((summary, said.into_inner().unwrap()))
}

fn options() -> Options {
    Options { size: S, ..Options::default() }
}

/// Why `source` cannot be packed; nothing may be left behind.
#[track_caller]
fn refusal(source: &dyn Source, parts: &[&str]) {
    let temp = tempfile::tempdir().unwrap();
    let message = pack(source, &options(), &temp.path().join("out")).map(|_| ()).expect_err("packed").to_string();
    says(&message, parts);
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0, "something was left behind");
}

#[track_caller]
fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "\"{message}\" does not say \"{part}\"");
    }
}

/// Every file below `dir`, by name.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            let bytes = fs::read(&path).unwrap();
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}

/// That two packed data sets are the same, byte for byte.
#[track_caller]
fn same(a: &Path, b: &Path) {
    let of = |dir: &Path| -> Vec<(PathBuf, Vec<u8>)> {
        contents(dir).into_iter().map(|(path, bytes)| (path.strip_prefix(dir).unwrap().into(), bytes)).collect()
    };
    let (a, b) = (of(a), of(b));
    let names = |files: &[(PathBuf, Vec<u8>)]| files.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
    assert_eq!(names(&a), names(&b));
    assert!(a.len() >= 3, "{:?}", names(&a));
    for ((name, a), (_, b)) in a.iter().zip(&b) {
        assert!(a == b, "{} differs", name.display());
    }
}

/// (label, colour of the first pixel) of each record.
fn records(dataset: &Dataset, split: Split) -> Vec<(usize, [u8; 3])> {
    let records = dataset.split(split);
    (0..records.len()).map(|i| (records.label(i), records.record(i)[..3].try_into().unwrap())).collect()
}

/// What [`picture`] `i` comes to as a record, give or take what JPEG does to a colour.
#[track_caller]
fn shows(record: [u8; 3], i: usize) {
    let colour = [(i * 37 % 251) as u8, (i * 101 % 241) as u8, (i * 59 % 239) as u8];
    // Conversion to YCbCr and back rounds three times, and quantisation of a flat block once more.
    let close = record.iter().zip(colour).all(|(a, b)| a.abs_diff(b) <= 4);
    assert!(close, "{record:?} is not picture {i}, {colour:?}");
}
