//! The description of a run: the network, and the `[train]` table beside it.
//!
//! ```toml
//! [train]
//! recipe = "practical"     # "paper" or "practical": sets init, weight_decay and schedule
//! epochs = 40
//! batch = 128
//! seed = 1
//! lr = 0.01
//! momentum = 0.9
//! weight_decay = 5e-4      # on weights; biases never decay
//! init = "he"              # "paper": N(0, 0.01^2), "he": N(0, 2/fan_in)
//! rms_clip = 0.1           # filters are scaled back to this RMS after each step; false: never
//! crops = "random"         # "ten": drawn from the four corners and the centre
//! flip = true              # whether crops are mirrored at random
//! schedule = { kind = "steps", at = [0.75], factor = 10.0 }
//! # schedule = { kind = "plateau", factor = 10.0, patience = 5, min_delta = 0.001, max_drops = 3 }
//! # schedule = { kind = "constant" }
//! ```
//!
//! Settings come from four levels, each over the one before: the built-in
//! defaults, the preset that the description starts from, the description, the
//! command line. At each level the recipe is applied first and the other keys
//! after it, so that `--recipe paper` overrules a schedule in the file, but
//! not a `--weight-decay` beside it.

use std::path::Path;

use super::recipe::{Init, Recipe};
use super::schedule::ScheduleConfig;
use crate::data::augment::Crops;
use crate::error::{Error, Result};
use crate::net::{NetConfig, preset};
use crate::section::{Document, Place, Section};

/// Network and training of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The network.
    pub net: NetConfig,
    /// How it is trained.
    pub train: TrainConfig,
}

/// Names of the crops in descriptions.
const CROPS: [(&str, Crops); 2] = [("random", Crops::Random), ("ten", Crops::Ten)];

/// Every setting of training.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainConfig {
    /// The recipe that `init`, `weight_decay` and `schedule` come from where they are not given.
    pub recipe: Recipe,
    /// Passes over the training set.
    pub epochs: usize,
    /// Images in a mini-batch.
    pub batch: usize,
    /// Seed of every random number: weights, order, crops, dropout.
    pub seed: u64,
    /// Learning rate at the start.
    pub lr: f64,
    /// Momentum.
    pub momentum: f64,
    /// Weight decay on weights; biases never decay.
    pub weight_decay: f64,
    /// How weights are drawn.
    pub init: Init,
    /// RMS that no convolution filter may exceed; `None` for no limit.
    pub rms_clip: Option<f64>,
    /// Which crops training sees.
    pub crops: Crops,
    /// Whether crops are mirrored at random.
    pub flip: bool,
    /// When the rate is lowered.
    pub schedule: ScheduleConfig,
}

impl Default for TrainConfig {
    /// The paper's settings.
    fn default() -> Self {
        TrainConfig {
            recipe: Recipe::Paper,
            epochs: 70,
            batch: 128,
            seed: 1,
            lr: 0.01,
            momentum: 0.9,
            weight_decay: Recipe::Paper.weight_decay(),
            init: Recipe::Paper.init(),
            rms_clip: Some(0.1),
            crops: Crops::Random,
            flip: true,
            schedule: Recipe::Paper.schedule(),
        }
    }
}

/// The settings that one level gives; what is `None` stays as it was.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrainEdit {
    /// See [`TrainConfig::recipe`]; applied before all others.
    pub recipe: Option<Recipe>,
    /// See [`TrainConfig::epochs`].
    pub epochs: Option<usize>,
    /// See [`TrainConfig::batch`].
    pub batch: Option<usize>,
    /// See [`TrainConfig::seed`].
    pub seed: Option<u64>,
    /// See [`TrainConfig::lr`].
    pub lr: Option<f64>,
    /// See [`TrainConfig::momentum`].
    pub momentum: Option<f64>,
    /// See [`TrainConfig::weight_decay`].
    pub weight_decay: Option<f64>,
    /// See [`TrainConfig::init`].
    pub init: Option<Init>,
    /// See [`TrainConfig::rms_clip`].
    pub rms_clip: Option<Option<f64>>,
    /// See [`TrainConfig::crops`].
    pub crops: Option<Crops>,
    /// See [`TrainConfig::flip`].
    pub flip: Option<bool>,
    /// See [`TrainConfig::schedule`].
    pub schedule: Option<ScheduleConfig>,
}

/// Largest number of epochs or images in a batch that is taken for meant.
const MOST: u64 = 1_000_000;

impl TrainEdit {
    /// Reads a `[train]` table.
    ///
    /// # Errors
    /// [`Error::Config`] with line, key and reason.
    pub fn read(s: &Section<'_>) -> Result<Self> {
        s.only(&[
            "recipe",
            "epochs",
            "batch",
            "seed",
            "lr",
            "momentum",
            "weight_decay",
            "init",
            "rms_clip",
            "crops",
            "flip",
            "schedule",
        ])?;
        let edit = TrainEdit {
            recipe: s.choice("recipe", &Recipe::NAMES)?,
            epochs: s.size("epochs", 0..=usize::MAX)?,
            batch: s.size("batch", 0..=usize::MAX)?,
            seed: s.integer("seed", 0..=u64::MAX)?,
            lr: s.number("lr", "a number", |_| true)?,
            momentum: s.number("momentum", "a number", |_| true)?,
            weight_decay: s.number("weight_decay", "a number", |_| true)?,
            init: s.choice("init", &Init::NAMES)?,
            rms_clip: read_rms_clip(s)?,
            crops: s.choice("crops", &CROPS)?,
            flip: s.flag("flip")?,
            schedule: s.section("schedule")?.map(|s| ScheduleConfig::read(&s)).transpose()?,
        };
        edit.check(|key| s.place_of(key))?;
        Ok(edit)
    }

    /// Checks every given value. `place` says where a key stands.
    ///
    /// # Errors
    /// [`Error::Config`] at the first value out of range.
    pub fn check(&self, place: impl Fn(&str) -> Place) -> Result<()> {
        let refuse = |key: &str, found: String, rule: &str| {
            Err(place(key).refuse(format!("train.{key}"), format!("{found} is not {rule}")))
        };
        for (key, count) in [("epochs", self.epochs), ("batch", self.batch)] {
            if let Some(count) = count.filter(|c| !(1..=MOST).contains(&(*c as u64))) {
                return refuse(key, count.to_string(), &format!("a number from 1 to {MOST}"));
            }
        }
        let positive = |v: f64| v > 0.0 && v.is_finite();
        if let Some(lr) = self.lr.filter(|v| !positive(*v)) {
            return refuse("lr", lr.to_string(), "a positive number");
        }
        if let Some(momentum) = self.momentum.filter(|v| !(0.0..1.0).contains(v)) {
            return refuse("momentum", momentum.to_string(), "a number in [0, 1)");
        }
        if let Some(decay) = self.weight_decay.filter(|v| !(*v == 0.0 || positive(*v))) {
            return refuse("weight_decay", decay.to_string(), "a number from 0 up");
        }
        if let Some(radius) = self.rms_clip.flatten().filter(|v| !positive(*v)) {
            return refuse("rms_clip", radius.to_string(), "a positive number, or false for no limit");
        }
        Ok(())
    }
}

fn read_rms_clip(s: &Section<'_>) -> Result<Option<Option<f64>>> {
    // `false` switches it off; `true` would leave the radius open.
    if let Ok(Some(on)) = s.flag("rms_clip") {
        return if on { Err(s.refuse("rms_clip", "give the radius, or false for no limit")) } else { Ok(Some(None)) };
    }
    Ok(s.number("rms_clip", "a number", |_| true)?.map(Some))
}

impl ScheduleConfig {
    /// Reads a `schedule` table; each kind has its own keys.
    fn read(s: &Section<'_>) -> Result<Self> {
        let factor = || {
            let factor = s.number("factor", "a number above 1", |f| f > 1.0 && f <= 1e6);
            factor.map(|f| f.unwrap_or(10.0))
        };
        match s.need("kind", s.text("kind")?)? {
            "constant" => {
                s.only(&["kind"])?;
                Ok(ScheduleConfig::Constant)
            }
            "steps" => {
                s.only(&["kind", "at", "factor"])?;
                let at = s.need("at", s.numbers("at")?)?;
                let rising = at.is_sorted_by(|a, b| a < b) && at.iter().all(|f| *f > 0.0 && *f < 1.0);
                if at.is_empty() || !rising {
                    return Err(
                        s.refuse("at", format!("{at:?} is not a rising list of fractions of the run in (0, 1)"))
                    );
                }
                Ok(ScheduleConfig::Steps { at, factor: factor()? })
            }
            "plateau" => {
                s.only(&["kind", "factor", "patience", "min_delta", "max_drops"])?;
                let min_delta = s.number("min_delta", "a fraction in [0, 1)", |d| (0.0..1.0).contains(&d))?;
                Ok(ScheduleConfig::Plateau {
                    factor: factor()?,
                    patience: s.size("patience", 1..=MOST as usize)?.unwrap_or(5),
                    min_delta: min_delta.unwrap_or(0.001),
                    max_drops: s.integer("max_drops", 1..=40)?.unwrap_or(3) as u32,
                })
            }
            other => Err(s.refuse("kind", format!("`{other}` is none of constant, steps, plateau"))),
        }
    }

    /// One line: an inline table.
    fn to_toml(&self) -> String {
        match self {
            ScheduleConfig::Constant => "{ kind = \"constant\" }".to_string(),
            ScheduleConfig::Steps { at, factor } => format!("{{ kind = \"steps\", at = {at:?}, factor = {factor:?} }}"),
            ScheduleConfig::Plateau { factor, patience, min_delta, max_drops } => format!(
                "{{ kind = \"plateau\", factor = {factor:?}, patience = {patience}, min_delta = {min_delta:?}, \
                 max_drops = {max_drops} }}"
            ),
        }
    }
}

impl TrainConfig {
    /// Reads the training settings of a description: those of its base, then its own.
    ///
    /// # Errors
    /// [`Error::Config`] with line, key and reason.
    pub fn read(root: &Section<'_>) -> Result<Self> {
        let mut train = match root.text("base")? {
            Some(base) => {
                let text = preset::text(base).map_err(|e| root.refuse("base", e.to_string()))?;
                Self::read(&Document::parse(&preset::origin(base), text)?.root())?
            }
            None => Self::default(),
        };
        if let Some(section) = root.section("train")? {
            train.apply(&TrainEdit::read(&section)?);
        }
        Ok(train)
    }

    /// Puts the settings of one level over those before: its recipe, then its other keys.
    pub fn apply(&mut self, edit: &TrainEdit) {
        fn set<T: Clone>(setting: &mut T, given: &Option<T>) {
            if let Some(value) = given {
                *setting = value.clone();
            }
        }
        if let Some(recipe) = edit.recipe {
            self.recipe = recipe;
            self.init = recipe.init();
            self.weight_decay = recipe.weight_decay();
            self.schedule = recipe.schedule();
        }
        set(&mut self.epochs, &edit.epochs);
        set(&mut self.batch, &edit.batch);
        set(&mut self.seed, &edit.seed);
        set(&mut self.lr, &edit.lr);
        set(&mut self.momentum, &edit.momentum);
        set(&mut self.weight_decay, &edit.weight_decay);
        set(&mut self.init, &edit.init);
        set(&mut self.rms_clip, &edit.rms_clip);
        set(&mut self.crops, &edit.crops);
        set(&mut self.flip, &edit.flip);
        set(&mut self.schedule, &edit.schedule);
    }

    /// Writes the `[train]` table with every setting spelled out.
    pub fn to_toml(&self) -> String {
        let TrainConfig {
            recipe,
            epochs,
            batch,
            seed,
            lr,
            momentum,
            weight_decay,
            init,
            rms_clip,
            crops,
            flip,
            schedule,
        } = self;
        // {:?} writes the shortest digits that read back as the same f64.
        let rms_clip = rms_clip.map_or("false".to_string(), |radius| format!("{radius:?}"));
        let crops = if *crops == Crops::Random { "random" } else { "ten" };
        let (recipe, init, schedule) = (recipe.name(), init.name(), schedule.to_toml());
        format!(
            "[train]\nrecipe = \"{recipe}\"\nepochs = {epochs}\nbatch = {batch}\nseed = {seed}\nlr = {lr:?}\n\
             momentum = {momentum:?}\nweight_decay = {weight_decay:?}\ninit = \"{init}\"\nrms_clip = {rms_clip}\n\
             crops = \"{crops}\"\nflip = {flip}\nschedule = {schedule}\n"
        )
    }
}

impl Config {
    /// Reads a description; `origin` names it in messages.
    ///
    /// # Errors
    /// [`Error::Config`] with line, key and reason.
    pub fn parse(origin: &str, text: &str) -> Result<Self> {
        let document = Document::parse(origin, text)?;
        let root = document.root();
        Ok(Config { net: NetConfig::read(&root)?, train: TrainConfig::read(&root)? })
    }

    /// The preset called `name`.
    ///
    /// # Errors
    /// [`Error::Usage`] that lists the presets, if there is none of that name.
    pub fn preset(name: &str) -> Result<Self> {
        Self::parse(&preset::origin(name), preset::text(name)?)
    }

    /// Reads the file at `path`, or `config.toml` in the folder of a run.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Config`] if it is wrong.
    pub fn file(path: &Path) -> Result<Self> {
        let path = if path.is_dir() { path.join("config.toml") } else { path.to_path_buf() };
        let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// The preset of that name; otherwise the file or run folder at that path.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is neither, else as [`Config::file`].
    pub fn open(preset_or_path: &str) -> Result<Self> {
        if preset::names().contains(&preset_or_path) {
            return Self::preset(preset_or_path);
        }
        let path = Path::new(preset_or_path);
        let is_path = path.exists() || path.extension().is_some() || path.components().count() > 1;
        if is_path { Self::file(path) } else { Self::preset(preset_or_path) }
    }

    /// Writes the whole description with every default spelled out; it reads back as an equal one.
    pub fn to_toml(&self) -> String {
        format!("{}\n{}", self.net.to_toml(), self.train.to_toml())
    }
}
