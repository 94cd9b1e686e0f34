//! Tiles by measurement: which kernel a matrix product of exactly this size runs on this GPU.
//!
//! `zfnet bench tune` measures every candidate and writes the table that stands in
//! `src/ops/tile_table.toml`, which is compiled in. [`Gpu`](super::Gpu) asks it first, and where it has
//! no entry, or names a kernel that this build does not have, works the tile out.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::LazyLock;

use super::{Precision, ProductSize};
use crate::device::Properties;
use crate::error::{Error, Result};
use crate::section::{Document, Section};

/// Where the stored table stands, for messages.
const STORED_AT: &str = "src/ops/tile_table.toml";

const HEADER: &str = "\
# Which kernel a matrix product runs on which GPU: what `zfnet bench tune --write` measured.
# A product that is not here takes the tile that src/ops/product.rs works out.
#
# gpu: compute capability and multiprocessors. rows, columns, depth, parts: the product's size, which
# must be met exactly. kernel, splits: what to take, and into how many parts to cut the sum.
# us, formula_us: what that took, and what the worked-out tile took beside it, in microseconds.
";

const NO_ENTRIES: &str = "#\n# No entries: no GPU was at hand to measure on.\n";

/// A kind of GPU, as far as tiles are concerned; written `sm_90 x 132`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GpuKind {
    /// Compute capability: (9, 0) for Hopper.
    pub capability: (u32, u32),
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
}

impl GpuKind {
    /// That of a device.
    pub fn of(properties: &Properties) -> Self {
        GpuKind { capability: properties.capability, multiprocessors: properties.multiprocessors }
    }
}

impl fmt::Display for GpuKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GpuKind { capability: (major, minor), multiprocessors } = self;
        write!(f, "sm_{major}{minor} x {multiprocessors}")
    }
}

impl FromStr for GpuKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // The minor version is the last digit.
        let parse = |text: &str| {
            let (architecture, multiprocessors) = text.strip_prefix("sm_")?.split_once(" x ")?;
            let (major, minor) = architecture.split_at_checked(architecture.len().checked_sub(1)?)?;
            let capability = (major.parse().ok()?, minor.parse().ok()?);
            Some(GpuKind { capability, multiprocessors: multiprocessors.parse().ok()? })
        };
        parse(text).ok_or_else(|| Error::Usage(format!("`{text}` is no kind of GPU: write for instance sm_90 x 132")))
    }
}

/// What an entry is found by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TileKey {
    /// The kind of GPU.
    pub gpu: GpuKind,
    /// What it computes in.
    pub precision: Precision,
    /// The operation and its direction: `conv_fprop`, `linear_wgrad`, ...
    pub product: String,
    /// The product's size.
    pub size: ProductSize,
}

/// What to take.
#[derive(Clone, Debug, PartialEq)]
pub struct Tile {
    /// The kernel.
    pub kernel: String,
    /// Parts that the sum is cut into, where its kernel can cut it.
    pub splits: Option<usize>,
    /// What it took, in microseconds.
    pub us: f64,
    /// What the worked-out tile took in the same run, in microseconds.
    pub formula_us: f64,
    /// When, and with which driver.
    pub measured: String,
}

/// Measured tiles.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TileTable {
    entries: BTreeMap<TileKey, Tile>,
}

const KEYS: [&str; 12] = [
    "gpu",
    "precision",
    "product",
    "rows",
    "columns",
    "depth",
    "parts",
    "kernel",
    "splits",
    "us",
    "formula_us",
    "measured",
];

/// Sizes that kernels count with an `int`.
const SIZES: RangeInclusive<usize> = 1..=i32::MAX as usize;

impl TileTable {
    /// The table that this library was built with.
    ///
    /// # Errors
    /// [`Error::Usage`] with what [`TileTable::parse`] says against it.
    pub fn stored() -> Result<&'static TileTable> {
        static STORED: LazyLock<Result<TileTable>> =
            LazyLock::new(|| TileTable::parse(STORED_AT, include_str!("tile_table.toml")));
        STORED.as_ref().map_err(|e| Error::Usage(e.to_string()))
    }

    /// Reads `text`; `origin` names it in messages.
    ///
    /// # Errors
    /// [`Error::Config`] with line and key, if it is not TOML or not such a table.
    pub fn parse(origin: &str, text: &str) -> Result<Self> {
        let document = Document::parse(origin, text)?;
        document.root().only(&["tile"])?;
        let mut table = TileTable::default();
        for section in document.root().sections("tile")? {
            let (key, tile) = entry(&section)?;
            if table.find(&key).is_some() {
                return Err(section.refuse("product", "a second tile for the same product: leave one"));
            }
            table.set(key, tile);
        }
        Ok(table)
    }

    /// The entry for `key`.
    pub fn find(&self, key: &TileKey) -> Option<&Tile> {
        self.entries.get(key)
    }

    /// Adds an entry, in place of one with the same key.
    pub fn set(&mut self, key: TileKey, tile: Tile) {
        self.entries.insert(key, tile);
    }

    /// All entries, in the order of their keys.
    pub fn entries(&self) -> impl Iterator<Item = (&TileKey, &Tile)> {
        self.entries.iter()
    }
}

fn entry(section: &Section<'_>) -> Result<(TileKey, Tile)> {
    section.only(&KEYS)?;
    let text = |key| section.need(key, section.text(key)?);
    let size = |key| section.need(key, section.size(key, SIZES)?);
    let microseconds = |key| section.need(key, section.number(key, "above 0", |us| us > 0.0)?);
    let parsed = |key, error: Error| section.refuse(key, error.to_string());
    let key = TileKey {
        gpu: text("gpu")?.parse().map_err(|e| parsed("gpu", e))?,
        precision: text("precision")?.parse().map_err(|e| parsed("precision", e))?,
        product: text("product")?.to_owned(),
        size: ProductSize {
            rows: size("rows")?,
            columns: size("columns")?,
            depth: size("depth")?,
            parts: size("parts")?,
        },
    };
    let tile = Tile {
        kernel: text("kernel")?.to_owned(),
        splits: section.size("splits", SIZES)?,
        us: microseconds("us")?,
        formula_us: microseconds("formula_us")?,
        measured: text("measured")?.to_owned(),
    };
    Ok((key, tile))
}

/// As the file, a line an entry.
impl fmt::Display for TileTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEADER)?;
        if self.entries.is_empty() {
            f.write_str(NO_ENTRIES)?;
        }
        f.write_str("tile = [\n")?;
        for (TileKey { gpu, precision, product, size }, tile) in &self.entries {
            let ProductSize { rows, columns, depth, parts } = size;
            let Tile { kernel, splits, us, formula_us, measured } = tile;
            let mut line = format!("gpu = \"{gpu}\", precision = \"{precision}\", product = \"{product}\", ");
            write!(line, "rows = {rows}, columns = {columns}, depth = {depth}, parts = {parts}, ")?;
            write!(line, "kernel = \"{kernel}\", ")?;
            if let Some(splits) = splits {
                write!(line, "splits = {splits}, ")?;
            }
            write!(line, "us = {us:.2}, formula_us = {formula_us:.2}, measured = \"{measured}\"")?;
            writeln!(f, "  {{ {line} }},")?;
        }
        f.write_str("]\n")
    }
}
