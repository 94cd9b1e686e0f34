//! Which maps of a layer are looked at.

use std::str::FromStr;

use crate::error::{Error, Result};
use crate::net::Layer;
use crate::philox::{Purpose, Stream};

/// A choice of maps, made for each layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Maps {
    /// So many, drawn at random; all where there are fewer.
    Random(usize),
    /// Every map.
    All,
    /// These.
    List(Vec<usize>),
}

impl Maps {
    /// The maps of `layer`, in ascending order. A random choice is a function of `seed`
    /// and the number of maps: the same for every checkpoint of a run.
    ///
    /// # Errors
    /// [`Error::Usage`] if a listed map is not there.
    pub fn of(&self, layer: &Layer, seed: u64) -> Result<Vec<usize>> {
        let K = layer.output.C;
        match self {
            Maps::All => Ok((0..K).collect()),
            Maps::Random(count) => Ok(draw(*count, K, seed)),
            Maps::List(list) => {
                if let Some(beyond) = list.iter().find(|k| **k >= K) {
                    let (name, last) = (&layer.name, K - 1);
                    return Err(Error::Usage(format!("no map {beyond} in {name}: its maps are 0 to {last}")));
                }
                let mut maps = list.clone();
                maps.sort_unstable();
                maps.dedup();
                Ok(maps)
            }
        }
    }
}

/// `count` different numbers below K, in ascending order: the first of a shuffle.
fn draw(count: usize, K: usize, seed: u64) -> Vec<usize> {
    let stream = Stream::new(seed, Purpose::Maps, 0);
    let mut maps: Vec<usize> = (0..K).collect();
    let count = count.min(K);
    for i in 0..count {
        let other = i + stream.below(0, i as u64, (K - i) as u32) as usize;
        maps.swap(i, other);
    }
    maps.truncate(count);
    maps.sort_unstable();
    maps
}

impl FromStr for Maps {
    type Err = Error;

    /// `all`, `random:16`, or a list: `0,5,17`.
    fn from_str(text: &str) -> Result<Self> {
        let refuse = || Error::Usage(format!("maps {text}: expected all, random:16, or numbers such as 0,5,17"));
        let number = |digits: &str| digits.parse::<usize>().map_err(|_| refuse());
        match text.strip_prefix("random:") {
            _ if text == "all" => Ok(Maps::All),
            Some(count) => match number(count)? {
                0 => Err(refuse()),
                count => Ok(Maps::Random(count)),
            },
            None => Ok(Maps::List(text.split(',').map(number).collect::<Result<_>>()?)),
        }
    }
}
