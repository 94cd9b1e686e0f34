//! Which kernel computes each of a network's matrix products fastest: what the table of tiles is made of.
//!
//! Candidates are all kernels that could compute a product, and where its sum is cut, each with half and with
//! twice the parts. The portable kernel is verified on one image against the CPU, and on the whole batch every
//! candidate against the portable one. Then the candidates take turns, launch by launch, on operands that
//! take turns too: what disturbs the GPU for a while disturbs all of them. Times lie between events; the
//! host does not wait.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::clock::quartiles;
use super::layer::{Bench, Multiplied, agree};
use crate::device::Device;
use crate::device::cuda::Cuda;
#[cfg(feature = "emulator")]
use crate::device::emulator::Emulator;
use crate::error::{Error, Result};
use crate::net::Plan;
use crate::ops::product::{Product, Tiling};
use crate::ops::tile_table::{Tile, TileKey, TileTable};
use crate::ops::{Direction, Gpu, Precision, Storage, Version};
use crate::train::device as train;
use crate::train::run::utc;

/// A kernel that could compute a product.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Its name.
    pub kernel: &'static str,
    /// Parts that the sum is cut into; `None` where it is never cut.
    pub splits: Option<usize>,
    /// What it takes: lower quartile, median, upper quartile.
    pub seconds: [f64; 3],
}

/// One product of a network, measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuned {
    /// The first layer that has it.
    pub layer: String,
    /// In which direction.
    pub direction: Direction,
    /// What its entry is found by.
    pub key: TileKey,
    /// All that could compute it; first what is taken where nobody measured.
    pub candidates: Vec<Candidate>,
    /// Which of them to take.
    pub taken: usize,
}

/// What [`measure_on`] found.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// What ran: see [`Storage::describe`].
    pub device: String,
    /// When, and with which driver.
    pub measured: String,
    /// Product by product, those with one candidate left out.
    pub products: Vec<Tuned>,
}

impl Tuning {
    /// Adds what was found to `table`.
    pub fn add_to(&self, table: &mut TileTable) {
        for Tuned { key, candidates, taken, .. } in &self.products {
            let Candidate { kernel, splits, seconds } = &candidates[*taken];
            let tile = Tile {
                kernel: (*kernel).into(),
                splits: *splits,
                us: 1e6 * seconds[1],
                formula_us: 1e6 * candidates[0].seconds[1],
                measured: self.measured.clone(),
            };
            table.set(key.clone(), tile);
        }
    }
}

/// [`measure`] on a device that has kernels.
///
/// # Errors
/// Those of [`measure`]; [`Error::Usage`] for the CPU.
pub fn measure_on(device: train::Device, plan: &Plan, batch: usize, runs: usize) -> Result<Tuning> {
    match device {
        train::Device::Cpu => {
            Err(Error::Usage("bench tune chooses among kernels, and the CPU has none: --device cuda:0".into()))
        }
        train::Device::Cuda(ordinal, precision) => tuning(Cuda::new(ordinal)?, precision, plan, batch, runs),
        #[cfg(feature = "emulator")]
        train::Device::Emulator(precision) => tuning(Emulator::new(0), precision, plan, batch, runs),
    }
}

fn tuning<D: Device>(device: D, precision: Precision, plan: &Plan, batch: usize, runs: usize) -> Result<Tuning> {
    let driver = device.properties().driver.clone();
    let mut gpu = Gpu::new(device, precision);
    let products = measure(&mut gpu, plan, batch, runs)?;
    let now = utc(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()));
    let date = now.split('T').next().unwrap_or(&now);
    Ok(Tuning { device: gpu.describe(), measured: format!("{date}, {driver}"), products })
}

/// Measures each product of `plan` on `batch` images that more than one kernel could compute, each
/// candidate `runs` times. `gpu` must run the fastest kernels ([`Version::Fast`]): others do not choose.
///
/// # Errors
/// Those of the device, and [`Error::Usage`] for a result that is wrong: it is not worth timing.
pub fn measure<D: Device>(gpu: &mut Gpu<D>, plan: &Plan, batch: usize, runs: usize) -> Result<Vec<Tuned>> {
    let before = gpu.tiles.take();
    let all = measure_all(gpu, plan, batch, runs);
    gpu.tiles = before;
    all
}

fn measure_all<D: Device>(gpu: &mut Gpu<D>, plan: &Plan, batch: usize, runs: usize) -> Result<Vec<Tuned>> {
    let (mut seen, mut all) = (BTreeSet::new(), vec![]);
    for (name, layer, directions) in Multiplied::all_of(plan) {
        let mut bench = Bench::new(gpu, layer, batch)?;
        for direction in directions {
            let product = bench.product(gpu, direction)?;
            let (key, tilings) = (gpu.tile_key(&product), candidates(gpu, &product));
            if tilings.len() < 2 || !seen.insert(key.clone()) {
                continue;
            }
            let tables: Vec<_> = tilings.iter().map(|tiling| forced(&key, &product, tiling)).collect();
            verify(gpu, &mut bench, name, direction, batch, &tables)?;
            let times = in_turns(gpu, &mut bench, direction, batch, &tables, runs)?;
            let candidates: Vec<_> = tilings
                .iter()
                .zip(times)
                .map(|(tiling, mut seconds)| Candidate {
                    kernel: tiling.kernel,
                    splits: splits(&product, tiling),
                    seconds: quartiles(&mut seconds),
                })
                .collect();
            let taken = choose(&candidates);
            all.push(Tuned { layer: name.into(), direction, key, candidates, taken });
        }
    }
    Ok(all)
}

/// All kernels that could compute a product, each with its sum cut as the formula has it, half as often, and twice.
fn candidates<D: Device>(gpu: &Gpu<D>, product: &Product) -> Vec<Tiling> {
    let mut all: Vec<Tiling> = vec![];
    for tiling in gpu.candidates(product) {
        let splits = tiling.split.splits;
        let others = [splits / 2, 2 * splits].map(|splits| tiling.cut_into(splits, product.size.depth));
        let others = others.into_iter().filter(|_| product.cut.is_some());
        for tiling in [tiling].into_iter().chain(others) {
            if !all.contains(&tiling) {
                all.push(tiling);
            }
        }
    }
    all
}

fn splits(product: &Product, tiling: &Tiling) -> Option<usize> {
    product.cut.map(|_| tiling.split.splits)
}

/// A table that has one product take one tile.
fn forced(key: &TileKey, product: &Product, tiling: &Tiling) -> Arc<TileTable> {
    let (kernel, splits) = (tiling.kernel.into(), splits(product, tiling));
    let mut table = TileTable::default();
    table.set(key.clone(), Tile { kernel, splits, us: f64::NAN, formula_us: f64::NAN, measured: String::new() });
    Arc::new(table)
}

fn verify<D: Device>(
    gpu: &mut Gpu<D>,
    bench: &mut Bench<Gpu<D>>,
    layer: &str,
    direction: Direction,
    N: usize,
    tables: &[Arc<TileTable>],
) -> Result<()> {
    gpu.version = Version::Portable;
    let portable = bench.verify(gpu, layer, &[direction]).and_then(|()| bench.result(gpu, direction, N));
    gpu.version = Version::Fast;
    let portable = portable?;
    for table in tables {
        gpu.tiles = Some(table.clone());
        let given = bench.result(gpu, direction, N)?;
        let kernels: Vec<_> = table.entries().map(|(_, tile)| tile.kernel.as_str()).collect();
        agree(gpu, &format!("{layer} {direction}, {} on the portable kernel", kernels.concat()), &given, &portable)?;
    }
    bench.refill(gpu)
}

/// Seconds of each of `runs` launches with each table; one more before them is not looked at.
fn in_turns<D: Device>(
    gpu: &mut Gpu<D>,
    bench: &mut Bench<Gpu<D>>,
    direction: Direction,
    N: usize,
    tables: &[Arc<TileTable>],
    runs: usize,
) -> Result<Vec<Vec<f64>>> {
    let mut marks = vec![gpu.mark()?];
    for turn in 0..(1 + runs.max(1)) * tables.len() {
        gpu.tiles = Some(tables[turn % tables.len()].clone());
        bench.run(gpu, direction, N, turn)?;
        marks.push(gpu.mark()?);
    }
    let mut times = vec![vec![]; tables.len()];
    for (turn, ends) in marks.windows(2).enumerate().skip(tables.len()) {
        times[turn % tables.len()].push(gpu.seconds_between(&ends[0], &ends[1])?);
    }
    Ok(times)
}

/// The one with the least median, if three quarters of its times are below three quarters of the
/// formula's; else the formula's, which stands first.
fn choose(candidates: &[Candidate]) -> usize {
    let median = |&i: &usize| candidates[i].seconds[1];
    let best = (0..candidates.len()).min_by(|a, b| median(a).total_cmp(&median(b))).unwrap_or(0);
    if candidates[best].seconds[2] < candidates[0].seconds[0] { best } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formula_stays_within_noise() {
        let of = |seconds| Candidate { kernel: "k", splits: None, seconds };
        let formula = of([9.0, 10.0, 11.0]);
        assert_eq!(choose(&[formula.clone(), of([7.0, 8.0, 8.9]), of([7.5, 8.5, 8.7])]), 1);
        // Faster by the median, but the quartiles overlap.
        assert_eq!(choose(&[formula.clone(), of([7.0, 8.0, 9.1])]), 0);
        assert_eq!(choose(&[formula.clone(), of([11.0, 12.0, 13.0])]), 0);
        // The least median is looked at, not the first that is better.
        assert_eq!(choose(&[formula, of([8.0, 8.5, 8.8]), of([7.0, 7.5, 8.0])]), 2);
    }
}
