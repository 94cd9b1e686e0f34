//! A search for the strongest activations that is watched, saved, and taken up again.

use std::path::Path;
use std::time::{Duration, Instant};

use zfnet::data::packed::{Dataset, Split};
use zfnet::error::Result;
use zfnet::net::Net;
use zfnet::ops::Backend;
use zfnet::understand::Search;

use crate::bar::Bar;
use crate::print::talk;

/// How often the search is saved.
const SAVE_EVERY: Duration = Duration::from_secs(10);

/// The finished search at `path`: a new one, which is `wanted`, one that goes on, or one
/// that is there already. `what` stands before its bar.
pub fn finished<B: Backend>(
    path: &Path,
    what: &str,
    wanted: Search,
    net: &mut Net<B>,
    data: &Dataset,
    split: Split,
) -> Result<Search> {
    let images = data.split(split).len();
    let mut search = match Search::load(path, &wanted, net.plan())? {
        Some(saved) => saved,
        None => wanted,
    };
    if search.finished() {
        talk!("the search in {} is taken as it is", path.display());
        return Ok(search);
    }
    if search.seen() > 0 {
        talk!("the search in {} goes on after image {} of {images}", path.display(), search.seen());
    }
    let bar = Bar::new(images as u64, what);
    let mut saved = Instant::now();
    search.run(net, data, split, &mut |search| {
        bar.at(search.seen() as u64);
        if saved.elapsed() >= SAVE_EVERY {
            search.save(path)?;
            saved = Instant::now();
        }
        Ok(true)
    })?;
    search.save(path)?;
    Ok(search)
}
