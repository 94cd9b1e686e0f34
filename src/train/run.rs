//! The folder of a run.
//!
//! | file | what it is |
//! |---|---|
//! | `config.toml` | the resolved configuration |
//! | `metrics.jsonl` | a line per epoch: [`EpochMetrics`] |
//! | `log.txt` | every message, with the time (UTC) |
//! | `last.safetensors` | where the run stands: [`Checkpoint`] |
//! | `best.safetensors` | the epoch with the best top-1 on validation |
//! | `epoch-NNN.safetensors` | epochs asked for by `--keep-epochs` |
//! | `lock` | held by the process that trains here |

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};
use crate::lock::lock;
use crate::train::checkpoint::Checkpoint;
use crate::train::config::Config;
use crate::train::metrics::{self, EpochMetrics};
use crate::train::replace::replace_file;

const CONFIG: &str = "config.toml";
const METRICS: &str = "metrics.jsonl";
const LOG: &str = "log.txt";
const LOCK: &str = "lock";

/// A run's folder, open for training. Locked until dropped.
pub struct Run {
    folder: PathBuf,
    log: File,
    _lock: File,
}

/// A run to go on with.
pub struct Resumed {
    /// Its folder.
    pub run: Run,
    /// Its configuration.
    pub config: Config,
    /// Where it stands; `None` if it was killed before its first checkpoint.
    pub checkpoint: Option<Checkpoint>,
}

impl Run {
    /// Makes the folder and writes the configuration.
    ///
    /// # Errors
    /// [`Error::Usage`] if it holds a run or anything else, or another process
    /// trains there; [`Error::Io`].
    pub fn create(folder: &Path, config: &str) -> Result<Self> {
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        if folder.join(CONFIG).exists() {
            return Err(Error::Usage(format!(
                "{} already holds a run: continue it with --resume, or choose another folder",
                folder.display()
            )));
        }
        for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
            let name = entry.map_err(Error::io("read", folder))?.file_name();
            // What a process that was killed before it wrote the configuration leaves behind.
            let ours = [LOCK, LOG, "config.toml.tmp"].iter().any(|f| name == *f);
            if !ours {
                return Err(Error::Usage(format!(
                    "{} is not empty and holds no run ({} is there): choose another folder",
                    folder.display(),
                    name.display()
                )));
            }
        }
        let run = Run::open(folder)?;
        replace_file(&folder.join(CONFIG), |out| out.write_all(config.as_bytes()))?;
        Ok(run)
    }

    /// Opens a run to continue it, and drops what `metrics.jsonl` says about epochs
    /// after its last checkpoint.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is none or another process trains there; what is
    /// wrong with its files.
    pub fn resume(folder: &Path) -> Result<Resumed> {
        let config_path = folder.join(CONFIG);
        if !config_path.exists() {
            let folder = folder.display();
            return Err(Error::Usage(format!(
                "{folder} holds no run to resume (no {CONFIG}): start it without --resume"
            )));
        }
        let run = Run::open(folder)?;
        let text = fs::read_to_string(&config_path).map_err(Error::io("read", &config_path))?;
        let config = Config::parse(&config_path.display().to_string(), &text)?;
        let last = run.last();
        let checkpoint = if last.exists() { Some(Checkpoint::read(&last)?) } else { None };
        if let Some(Checkpoint { header, .. }) = checkpoint.as_ref().filter(|c| c.header.config != text) {
            let line = 1 + header.config.lines().zip(text.lines()).take_while(|(was, is)| was == is).count();
            let reason = format!("differs at line {line} from the configuration in {}: put it back", last.display());
            return Err(Error::format(&config_path, reason));
        }
        metrics::truncate(&run.metrics(), checkpoint.as_ref().map_or(0, |c| c.header.progress.epoch))?;
        Ok(Resumed { run, config, checkpoint })
    }

    /// Takes a new run back that came to nothing before its first checkpoint, so that the folder
    /// can be used again. One that has a checkpoint stays.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub fn withdraw(self) -> Result<()> {
        if self.last().exists() {
            return Ok(());
        }
        let Run { folder, .. } = self;
        for file in [CONFIG, LOG, LOCK] {
            let path = folder.join(file);
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
        // Only if nothing else is in it; a folder that someone made beforehand is no harm.
        let _ = fs::remove_dir(&folder);
        Ok(())
    }

    fn open(folder: &Path) -> Result<Self> {
        let lock = lock(&folder.join(LOCK), || {
            let folder = folder.display();
            Error::Usage(format!("another process is training in {folder}: wait for it, or choose another folder"))
        })?;
        let log_path = folder.join(LOG);
        let log = OpenOptions::new().append(true).create(true).open(&log_path).map_err(Error::io("open", &log_path))?;
        Ok(Run { folder: folder.to_path_buf(), log, _lock: lock })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Adds a line to `log.txt`.
    pub fn log(&mut self, line: &str) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        writeln!(self.log, "{} {line}", utc(now)).map_err(Error::io("write", self.folder.join(LOG)))
    }

    /// Path of `metrics.jsonl`.
    pub fn metrics(&self) -> PathBuf {
        self.folder.join(METRICS)
    }

    /// Adds a line to `metrics.jsonl`.
    pub fn record(&mut self, metrics: &EpochMetrics) -> Result<()> {
        metrics::append(&self.metrics(), metrics)
    }

    /// Path of `last.safetensors`.
    pub fn last(&self) -> PathBuf {
        checkpoint_path(&self.folder, "last")
    }

    /// Path of `best.safetensors`.
    pub fn best(&self) -> PathBuf {
        checkpoint_path(&self.folder, "best")
    }

    /// Path of the checkpoint kept of epoch `epoch`.
    pub fn epoch(&self, epoch: u64) -> PathBuf {
        checkpoint_path(&self.folder, &format!("epoch-{epoch:03}"))
    }
}

/// Checkpoint `which` (`last`, `best`, `epoch-005`) of the run in `folder`.
pub fn checkpoint_path(folder: &Path, which: &str) -> PathBuf {
    folder.join(format!("{which}.safetensors"))
}

/// The epochs of which the run in `folder` keeps a checkpoint, in ascending order.
///
/// # Errors
/// [`Error::Usage`] if there is no such folder; [`Error::Io`].
pub fn kept_epochs(folder: &Path) -> Result<Vec<u64>> {
    if !folder.is_dir() {
        return Err(Error::Usage(format!("{} is not the folder of a run", folder.display())));
    }
    let mut epochs = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let name = entry.map_err(Error::io("read", folder))?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_prefix("epoch-")?.strip_suffix(".safetensors"));
        epochs.extend(digits.and_then(|digits| digits.parse::<u64>().ok()));
    }
    epochs.sort_unstable();
    Ok(epochs)
}

/// `2013-11-28T09:30:00Z` from seconds since 1970.
pub(crate) fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Civil date: count years from 1 March of year 0, so that the leap day comes
    // last; 719468 days lie between that and 1970, 146097 in every 400 years.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March have 153 days in every five.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn dates() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_709_251_199), "2024-02-29T23:59:59Z");
        assert_eq!(utc(1_709_251_200), "2024-03-01T00:00:00Z");
        assert_eq!(utc(4_107_542_399), "2100-02-28T23:59:59Z");
        assert_eq!(utc(4_107_542_400), "2100-03-01T00:00:00Z");
    }
}
