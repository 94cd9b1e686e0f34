//! The description of a network: a small TOML grammar.
//!
//! ```toml
//! [net]
//! name = "mine"
//! input = 64              # side of the square RGB crop that the network sees
//!
//! [[layer]]               # one table a layer, from the input up; the first key is kind = name
//! conv = "conv1"          # convolution + bias, then ReLU
//! filters = 32
//! kernel = 7
//! stride = 2              # default 1
//! pad = 1                 # default 0
//! groups = 1              # default 1
//! relu = true             # default true
//!
//! [[layer]]
//! pool = "pool1"          # max pooling
//! kernel = 3
//! stride = 2
//! rounding = "ceil"       # default; "floor" drops windows that reach past the border
//!
//! [[layer]]
//! lrn = "lrn1"            # defaults: n = 5, k = 2.0, alpha = 1e-4, beta = 0.75, divide_alpha = true
//!
//! [[layer]]
//! linear = "fc2"          # fully connected + bias, then ReLU, then dropout
//! outputs = 128
//! relu = true             # default true
//! dropout = 0.5           # default 0
//!
//! [[layer]]
//! linear = "fc3"          # the last layer scores the classes: no ReLU, no dropout;
//!                         # outputs default to the data set's number of classes
//! ```
//!
//! A description can also start from a preset and say only what differs:
//!
//! ```toml
//! base = "alexnet"
//! drop = ["conv3", "conv4"]
//! [net]
//! name = "shallow"
//! [change.fc6]
//! outputs = 2048
//! ```
//!
//! The `[train]` table of the same file is [`crate::train::config`]'s.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::preset;
use crate::error::Result;
use crate::ops::lrn::Lrn;
use crate::ops::pool::Rounding;
use crate::section::{Document, Place, Section};

/// Range of every size in a description. The upper end is far beyond any real
/// network, and low enough that no product of two sizes overflows.
const SIZES: std::ops::RangeInclusive<usize> = 1..=65_536;

/// A network as it was described; [`Plan`](super::Plan) works out its sizes.
#[derive(Clone, Debug, PartialEq)]
pub struct NetConfig {
    /// The network's name.
    pub name: String,
    /// Side of the square RGB crop that it sees, in pixels.
    pub input: usize,
    /// Layers from the input up.
    pub layers: Vec<LayerConfig>,
}

/// One described layer. Two are equal if they say the same, wherever it stands.
#[derive(Clone, Debug)]
pub struct LayerConfig {
    /// Unique name.
    pub name: String,
    /// Kind and settings.
    pub op: OpConfig,
    place: Place,
    places: BTreeMap<String, Place>,
}

/// Kind and settings of a layer.
#[derive(Clone, Debug, PartialEq)]
pub enum OpConfig {
    /// Convolution + bias, then ReLU.
    Conv(ConvConfig),
    /// Max pooling.
    Pool(PoolConfig),
    /// Local response normalisation.
    Lrn(Lrn),
    /// Fully connected + bias, then ReLU, then dropout.
    Linear(LinearConfig),
}

/// Settings of a convolution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvConfig {
    /// Number of filters, all groups together.
    pub filters: usize,
    /// Filter height and width.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
    /// Zeros on each side.
    pub pad: usize,
    /// Channel groups.
    pub groups: usize,
    /// Whether the output is rectified.
    pub relu: bool,
}

/// Settings of a pooling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PoolConfig {
    /// Window height and width.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
    /// How the number of windows is rounded.
    pub rounding: Rounding,
}

/// Settings of a fully connected layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearConfig {
    /// Number of outputs; `None`, on the last layer, for the number of classes.
    pub outputs: Option<usize>,
    /// Whether the output is rectified.
    pub relu: bool,
    /// Probability that an output is dropped in training, in [0, 1).
    pub dropout: f64,
}

impl PartialEq for LayerConfig {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.op == other.op
    }
}

impl LayerConfig {
    /// A layer that stands in no text.
    pub fn new(name: &str, op: OpConfig) -> Self {
        let place = Place::whole("a network built in code");
        LayerConfig { name: name.to_string(), op, place, places: BTreeMap::new() }
    }

    /// The error that `key` of this layer is wrong, at its line.
    pub fn refuse(&self, key: &str, reason: impl Into<String>) -> crate::error::Error {
        self.places.get(key).unwrap_or(&self.place).refuse(format!("{}.{key}", self.name), reason)
    }

    fn read(section: &Section<'_>, last: bool) -> Result<Self> {
        const KINDS: [&str; 4] = ["conv", "pool", "lrn", "linear"];
        let given: Vec<&str> = KINDS.into_iter().filter(|kind| section.has(kind)).collect();
        let [kind] = given[..] else {
            let found = if given.is_empty() { "none is given".to_string() } else { given.join(" and ") + " are given" };
            return Err(section
                .place()
                .refuse("layer", format!("a layer has exactly one of conv, pool, lrn, linear = \"NAME\"; {found}")));
        };
        let name = section.need(kind, section.text(kind)?)?;
        check_name(name).map_err(|reason| section.refuse(kind, reason))?;
        let section = section.labelled(name);
        let op = match kind {
            "conv" => OpConfig::Conv(ConvConfig::read(&section, None)?),
            "pool" => OpConfig::Pool(PoolConfig::read(&section, None)?),
            "lrn" => OpConfig::Lrn(read_lrn(&section, None)?),
            _ => OpConfig::Linear(LinearConfig::read(&section, None, last)?),
        };
        Ok(LayerConfig { name: name.to_string(), op, place: section.place(), places: section.places() })
    }

    /// Replaces what `section`, a `[change.NAME]` table, gives.
    fn change(&mut self, section: &Section<'_>, last: bool) -> Result<()> {
        let section = section.labelled(&self.name);
        self.op = match &self.op {
            OpConfig::Conv(old) => OpConfig::Conv(ConvConfig::read(&section, Some(*old))?),
            OpConfig::Pool(old) => OpConfig::Pool(PoolConfig::read(&section, Some(*old))?),
            OpConfig::Lrn(old) => OpConfig::Lrn(read_lrn(&section, Some(*old))?),
            OpConfig::Linear(old) => OpConfig::Linear(LinearConfig::read(&section, Some(*old), last)?),
        };
        self.places.extend(section.places());
        Ok(())
    }
}

impl ConvConfig {
    fn read(s: &Section<'_>, old: Option<Self>) -> Result<Self> {
        only(s, old.is_some(), &["conv", "filters", "kernel", "stride", "pad", "groups", "relu"])?;
        Ok(ConvConfig {
            filters: s.need("filters", s.size("filters", SIZES)?.or(old.map(|o| o.filters)))?,
            kernel: s.need("kernel", s.size("kernel", SIZES)?.or(old.map(|o| o.kernel)))?,
            stride: s.size("stride", SIZES)?.or(old.map(|o| o.stride)).unwrap_or(1),
            pad: s.size("pad", 0..=*SIZES.end())?.or(old.map(|o| o.pad)).unwrap_or(0),
            groups: s.size("groups", SIZES)?.or(old.map(|o| o.groups)).unwrap_or(1),
            relu: s.flag("relu")?.or(old.map(|o| o.relu)).unwrap_or(true),
        })
    }
}

impl PoolConfig {
    fn read(s: &Section<'_>, old: Option<Self>) -> Result<Self> {
        only(s, old.is_some(), &["pool", "kernel", "stride", "rounding"])?;
        let rounding = s.choice("rounding", &[("ceil", Rounding::Ceil), ("floor", Rounding::Floor)])?;
        Ok(PoolConfig {
            kernel: s.need("kernel", s.size("kernel", SIZES)?.or(old.map(|o| o.kernel)))?,
            stride: s.need("stride", s.size("stride", SIZES)?.or(old.map(|o| o.stride)))?,
            rounding: rounding.or(old.map(|o| o.rounding)).unwrap_or_default(),
        })
    }
}

impl LinearConfig {
    fn read(s: &Section<'_>, old: Option<Self>, last: bool) -> Result<Self> {
        only(s, old.is_some(), &["linear", "outputs", "relu", "dropout"])?;
        let dropout = s.number("dropout", "a probability in [0, 1)", |p| (0.0..1.0).contains(&p))?;
        Ok(LinearConfig {
            outputs: s.size("outputs", SIZES)?.or(old.and_then(|o| o.outputs)),
            relu: s.flag("relu")?.or(old.map(|o| o.relu)).unwrap_or(!last),
            dropout: dropout.or(old.map(|o| o.dropout)).unwrap_or(0.0),
        })
    }
}

fn read_lrn(s: &Section<'_>, old: Option<Lrn>) -> Result<Lrn> {
    only(s, old.is_some(), &["lrn", "n", "k", "alpha", "beta", "divide_alpha"])?;
    let old = old.unwrap_or_default();
    Lrn::new(
        s.size("n", SIZES)?.unwrap_or(old.n),
        s.number("k", "a positive number", |k| k > 0.0)?.unwrap_or(old.k),
        s.number("alpha", "a number from 0 up", |alpha| alpha >= 0.0)?.unwrap_or(old.alpha),
        s.number("beta", "a number from 0 up", |beta| beta >= 0.0)?.unwrap_or(old.beta),
        s.flag("divide_alpha")?.unwrap_or(old.divide_alpha),
    )
}

/// Refuses unknown keys; in a change also the first known one, which names the layer.
fn only(s: &Section<'_>, change: bool, known: &[&str]) -> Result<()> {
    s.only(&known[usize::from(change)..])
}

/// A name becomes part of tensor and file names: letters, digits, `_` and `-`.
fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > 64 || name.bytes().any(|b| !b.is_ascii_alphanumeric() && b != b'_' && b != b'-')
    {
        return Err(format!("`{name}` is no name: 1 to 64 letters, digits, `_` or `-`"));
    }
    Ok(())
}

impl NetConfig {
    /// Keys of the `[net]` table.
    const HEAD: [&'static str; 2] = ["name", "input"];

    /// Reads the network from a description; `origin` names it in messages.
    ///
    /// # Errors
    /// [`Error::Config`](crate::error::Error::Config) with line, key and reason.
    pub fn parse(origin: &str, text: &str) -> Result<Self> {
        Self::read(&Document::parse(origin, text)?.root())
    }

    /// Reads the network from a parsed description.
    ///
    /// # Errors
    /// As [`NetConfig::parse`].
    pub fn read(root: &Section<'_>) -> Result<Self> {
        root.only(&["base", "drop", "change", "net", "layer", "train"])?;
        let mut net = match root.text("base")? {
            Some(base) => Self::derive(root, base)?,
            None => Self::from_layers(root)?,
        };
        if let Some(head) = root.section("net")? {
            head.only(&Self::HEAD)?;
            if let Some(name) = head.text("name")? {
                check_name(name).map_err(|reason| head.refuse("name", reason))?;
                net.name = name.to_string();
            }
            net.input = head.size("input", SIZES)?.unwrap_or(net.input);
        }
        net.check()?;
        Ok(net)
    }

    /// The layers of `root`; name and input are only checked to be there.
    fn from_layers(root: &Section<'_>) -> Result<Self> {
        for key in ["drop", "change"] {
            if root.has(key) {
                return Err(root.refuse(key, "only a description with base = \"PRESET\" has it"));
            }
        }
        let head = root.need("net", root.section("net")?)?;
        head.only(&Self::HEAD)?;
        let name = head.need("name", head.text("name")?)?.to_string();
        let input = head.need("input", head.size("input", SIZES)?)?;
        let sections = root.sections("layer")?;
        if sections.is_empty() {
            return Err(root.refuse("layer", "there is none; a network needs at least one [[layer]]"));
        }
        let last = sections.len() - 1;
        let layers =
            sections.iter().enumerate().map(|(i, s)| LayerConfig::read(s, i == last)).collect::<Result<_>>()?;
        Ok(NetConfig { name, input, layers })
    }

    /// The preset `base` with the drops and changes of `root`.
    fn derive(root: &Section<'_>, base: &str) -> Result<Self> {
        if root.has("layer") {
            return Err(root.refuse("layer", "a description has either a base or layers of its own, not both"));
        }
        let text = preset::text(base).map_err(|e| root.refuse("base", e.to_string()))?;
        let mut net = Self::parse(&preset::origin(base), text)?;
        for name in root.texts("drop")? {
            let i = net.position(name).map_err(|reason| root.refuse("drop", reason))?;
            net.layers.remove(i);
        }
        let Some(changes) = root.section("change")? else { return Ok(net) };
        for name in changes.keys() {
            let i = net.position(name).map_err(|reason| changes.refuse(name, reason))?;
            let last = i + 1 == net.layers.len();
            if let Some(section) = changes.section(name)? {
                net.layers[i].change(&section, last)?;
            }
        }
        Ok(net)
    }

    fn position(&self, name: &str) -> Result<usize, String> {
        let names: Vec<&str> = self.layers.iter().map(|l| l.name.as_str()).collect();
        let found = names.iter().position(|n| *n == name);
        found.ok_or_else(|| format!("no layer `{name}` in {} (there are {})", self.name, names.join(", ")))
    }

    /// Checks what can be said without sizes: names, and the order of kinds.
    ///
    /// # Errors
    /// [`Error::Config`](crate::error::Error::Config) at the layer's line.
    pub fn check(&self) -> Result<()> {
        let Some((last, hidden)) = self.layers.split_last() else {
            return Err(Place::whole(&self.name).refuse("layer", "there is none; a network needs at least one layer"));
        };
        for (i, layer) in self.layers.iter().enumerate() {
            check_name(&layer.name).map_err(|reason| layer.refuse(layer.op.kind(), reason))?;
            if self.layers[..i].iter().any(|below| below.name == layer.name) {
                return Err(layer.refuse(layer.op.kind(), "another layer has this name already"));
            }
            let below = i.checked_sub(1).map(|i| &self.layers[i]);
            if let (Some(LayerConfig { op: OpConfig::Linear(_), name, .. }), false) = (below, layer.op.is_linear()) {
                let kind = layer.op.kind();
                return Err(layer.refuse(kind, format!("a {kind} layer cannot follow the linear layer {name}")));
            }
        }
        for layer in hidden {
            if let OpConfig::Linear(LinearConfig { outputs: None, .. }) = layer.op {
                return Err(layer.refuse("outputs", "missing; only the last layer may leave it to the data set"));
            }
        }
        match last.op {
            OpConfig::Linear(linear) if linear.relu => {
                Err(last.refuse("relu", "the last layer gives class scores, which are not rectified"))
            }
            OpConfig::Linear(linear) if linear.dropout != 0.0 => {
                Err(last.refuse("dropout", "the last layer gives class scores, which are not dropped"))
            }
            OpConfig::Linear(_) => Ok(()),
            _ => Err(last.refuse(last.op.kind(), "the last layer must be linear: it gives the class scores")),
        }
    }

    /// The number of classes, if the description fixes it.
    pub fn classes(&self) -> Option<usize> {
        match self.layers.last()?.op {
            OpConfig::Linear(LinearConfig { outputs, .. }) => outputs,
            _ => None,
        }
    }

    /// The same network with its number of classes fixed.
    pub fn with_classes(mut self, classes: usize) -> Self {
        if let Some(LayerConfig { op: OpConfig::Linear(last), .. }) = self.layers.last_mut() {
            last.outputs = Some(classes);
        }
        self
    }

    /// Writes the description with every default spelled out.
    pub fn to_toml(&self) -> String {
        let mut text = format!("[net]\nname = \"{}\"\ninput = {}\n", self.name, self.input);
        for layer in &self.layers {
            // Writing to a String cannot fail.
            let _ = write!(text, "\n[[layer]]\n{} = \"{}\"\n{}", layer.op.kind(), layer.name, layer.op.settings());
        }
        text
    }
}

impl OpConfig {
    /// `conv`, `pool`, `lrn` or `linear`.
    pub fn kind(&self) -> &'static str {
        match self {
            OpConfig::Conv(_) => "conv",
            OpConfig::Pool(_) => "pool",
            OpConfig::Lrn(_) => "lrn",
            OpConfig::Linear(_) => "linear",
        }
    }

    fn is_linear(&self) -> bool {
        matches!(self, OpConfig::Linear(_))
    }

    /// `key = value` lines.
    fn settings(&self) -> String {
        match self {
            OpConfig::Conv(ConvConfig { filters, kernel, stride, pad, groups, relu }) => format!(
                "filters = {filters}\nkernel = {kernel}\nstride = {stride}\npad = {pad}\ngroups = {groups}\n\
                 relu = {relu}\n"
            ),
            OpConfig::Pool(PoolConfig { kernel, stride, rounding }) => {
                let rounding = if *rounding == Rounding::Ceil { "ceil" } else { "floor" };
                format!("kernel = {kernel}\nstride = {stride}\nrounding = \"{rounding}\"\n")
            }
            // {:?} writes the shortest digits that read back as the same f64.
            OpConfig::Lrn(Lrn { n, k, alpha, beta, divide_alpha }) => {
                format!("n = {n}\nk = {k:?}\nalpha = {alpha:?}\nbeta = {beta:?}\ndivide_alpha = {divide_alpha}\n")
            }
            OpConfig::Linear(LinearConfig { outputs, relu, dropout }) => {
                let outputs = outputs.map_or(String::new(), |o| format!("outputs = {o}\n"));
                format!("{outputs}relu = {relu}\ndropout = {dropout:?}\n")
            }
        }
    }
}
