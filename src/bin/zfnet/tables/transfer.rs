//! Tables 3, 4 and 6, and Figure 7: `zfnet probe` for what is not there yet, then the numbers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;
use zfnet::data::packed::Dataset;
use zfnet::error::{Error, Result};
use zfnet::paper::comparison::Comparison;
use zfnet::paper::transfer::{Entry, MAX_TEST, TransferTable, check_sets, commands, missing};
use zfnet::report::probe::Probe;
use zfnet::train::model::Model;
use zfnet::transfer::features::subject;

use crate::machine::Machine;
use crate::print::{answer, talk};

/// A run's features, tried on other data.
pub struct Trial<'a> {
    /// What is asked for.
    pub table: &'a TransferTable,
    /// Rows of it.
    pub rows: Vec<&'a Entry>,
    /// The trained network.
    pub run: PathBuf,
    /// The data sets.
    pub data: &'a [PathBuf],
    /// Folder for results.
    pub out: &'a Path,
    /// How often images are drawn.
    pub folds: usize,
    /// Seed of the draws.
    pub seed: u64,
    /// Where to run.
    pub machine: &'a Machine,
}

impl Trial<'_> {
    /// Finds out what is missing, and fills the table in; `None` if `dry_run`, which only
    /// prints the commands.
    pub fn make(&self, dry_run: bool) -> anyhow::Result<Option<Comparison>> {
        check_sets(self.table.sets, self.data.len())?;
        let model = Model::open(&self.run, "best").with_context(|| {
            let run = self.run.display();
            format!("{run}: the network whose features are tried; name another one with --run")
        })?;
        let (mut probes, mut sources) = (Vec::new(), Vec::new());
        for (set, path) in self.data.iter().enumerate() {
            let data = Dataset::open(path)?;
            let (folder, subject) = (self.folder(path), subject(&model, &data));
            let wanted = self.table.wants(&self.rows, set);
            let stored = self.stored(&folder, &subject)?;
            for words in commands(&missing(stored.as_ref(), &wanted, self.folds)) {
                self.probe(path, &folder, words, dry_run)?;
            }
            probes.extend(self.stored(&folder, &subject)?);
            sources.push(data.manifest().source.clone());
        }
        if dry_run {
            return Ok(None);
        }
        Ok(Some(Comparison {
            table: self.table.number,
            title: self.table.title,
            networks: self.run.display().to_string(),
            data: sources,
            crops: 1,
            rows: self.table.fill(&self.rows, &probes),
        }))
    }

    /// Where the results of a data set stand.
    fn folder(&self, data: &Path) -> PathBuf {
        let name = |path: &Path| path.file_name().map_or("data".into(), |name| name.to_string_lossy().into_owned());
        self.out.join("probes").join(format!("{}-{}", name(&self.run), name(data)))
    }

    /// What has been found out about this network, these images, by this protocol.
    fn stored(&self, folder: &Path, subject: &str) -> Result<Option<Probe>> {
        let same = |p: &Probe| (p.subject.as_str(), p.max_test, p.seed) == (subject, MAX_TEST, self.seed);
        Ok(Probe::read(folder)?.filter(same))
    }

    /// Runs `zfnet probe` as a program of its own, or says what would run.
    fn probe(&self, data: &Path, folder: &Path, words: Vec<String>, dry_run: bool) -> anyhow::Result<()> {
        let program = std::env::current_exe().context("cannot find this program to run zfnet probe")?;
        let mut command = Command::new(program);
        command.arg("probe").arg(&self.run).arg("--data").arg(data).arg("--out").arg(folder);
        command.args(["--folds", &self.folds.to_string(), "--max-test", &MAX_TEST.to_string()]);
        command.args(["--seed", &self.seed.to_string()]).args(words).args(self.machine.words());
        let arguments: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        let line = format!("zfnet {}", arguments.join(" "));
        if dry_run {
            answer!("{line}")?;
            return Ok(());
        }
        talk!("$ {line}");
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        // Its table is part of ours.
        let status = command.stdout(Stdio::null()).status().context("cannot run zfnet probe")?;
        match status.code() {
            Some(0) => Ok(()),
            Some(130) => Err(Error::Interrupted("the same command goes on with what is missing".into()).into()),
            _ => anyhow::bail!("{line}: ended with {status}; see above"),
        }
    }
}
