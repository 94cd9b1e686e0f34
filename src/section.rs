//! Typed reading of a TOML description, with refusals that name line, key and reason.
//!
//! serde's derive would do for well-formed files, but it loses the line of a
//! value once it is read, and sizes that do not fit are noticed only when the
//! network is planned. Here every value keeps its [`Place`].

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::{Error, Result};

/// Where a value stands: the file or preset, and the line.
#[derive(Clone, Debug)]
pub struct Place {
    /// The file, `preset NAME`, or `command line`.
    pub origin: Arc<str>,
    /// Line counted from 1, where there is one.
    pub line: Option<usize>,
}

impl Place {
    /// A place without lines.
    pub fn whole(origin: &str) -> Self {
        Place { origin: origin.into(), line: None }
    }

    /// The error that `key`, standing here, is wrong for `reason`.
    pub fn refuse(&self, key: impl Into<String>, reason: impl Into<String>) -> Error {
        Error::Config { origin: self.origin.to_string(), line: self.line, key: key.into(), reason: reason.into() }
    }
}

/// A parsed text: TOML by syntax, nothing known yet about its keys.
pub struct Document<'t> {
    origin: Arc<str>,
    text: &'t str,
    root: Spanned<DeTable<'t>>,
}

impl<'t> Document<'t> {
    /// Parses `text`; `origin` names it in messages.
    ///
    /// # Errors
    /// [`Error::Config`] with the line, if the text is not TOML.
    pub fn parse(origin: &str, text: &'t str) -> Result<Self> {
        let origin: Arc<str> = origin.into();
        let root = DeTable::parse(text).map_err(|e| {
            let line = e.span().map(|span| line_of(text, span.start));
            Place { origin: origin.clone(), line }.refuse("syntax", e.message())
        })?;
        Ok(Document { origin, text, root })
    }

    /// The top level, as a section.
    pub fn root(&self) -> Section<'_> {
        Section { document: self, label: String::new(), offset: 0, table: self.root.get_ref() }
    }
}

/// One table of a document. Keys are checked by [`Section::only`], then read by type.
pub struct Section<'d> {
    document: &'d Document<'d>,
    /// Prefix of its keys in messages: `train`, or a layer's name.
    label: String,
    offset: usize,
    table: &'d DeTable<'d>,
}

impl<'d> Section<'d> {
    /// Gives the section another name in messages.
    pub fn labelled(&self, label: &str) -> Self {
        Section { label: label.to_string(), ..*self }
    }

    /// Whether `key` is given.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Where the section begins.
    pub fn place(&self) -> Place {
        self.place_at(self.offset)
    }

    /// Where `key` stands, or where the section begins if it is not given.
    pub fn place_of(&self, key: &str) -> Place {
        self.place_at(self.table.get_key_value(key).map_or(self.offset, |(k, _)| k.span().start))
    }

    /// Where each given key stands.
    pub fn places(&self) -> BTreeMap<String, Place> {
        self.table.keys().map(|k| (k.get_ref().to_string(), self.place_at(k.span().start))).collect()
    }

    /// The keys that are given, in the order of the text.
    pub fn keys(&self) -> Vec<&'d str> {
        let mut keys: Vec<_> = self.table.keys().collect();
        keys.sort_by_key(|k| k.span().start);
        keys.into_iter().map(|k| k.get_ref().as_ref()).collect()
    }

    /// The error that `key` is wrong for `reason`, at the key's line.
    pub fn refuse(&self, key: &str, reason: impl Into<String>) -> Error {
        self.place_of(key).refuse(self.path(key), reason)
    }

    /// Refuses every key that is not in `known`, with the nearest known one.
    ///
    /// # Errors
    /// [`Error::Config`] at the first unknown key.
    pub fn only(&self, known: &[&str]) -> Result<()> {
        match self.keys().into_iter().find(|key| !known.contains(key)) {
            None => Ok(()),
            Some(key) => {
                let hint = nearest(key, known).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                Err(self.refuse(key, format!("unknown key{hint} (known here: {})", known.join(", "))))
            }
        }
    }

    /// `value`, or the error that `key` is missing.
    ///
    /// # Errors
    /// [`Error::Config`] at the section's first line.
    pub fn need<T>(&self, key: &str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| self.refuse(key, "missing; it has no default"))
    }

    /// A whole number within `range`.
    ///
    /// # Errors
    /// [`Error::Config`] if it is something else or outside.
    pub fn integer(&self, key: &str, range: RangeInclusive<u64>) -> Result<Option<u64>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let DeValue::Integer(digits) = value else { return Err(self.wrong_type(key, value, "a whole number")) };
        let within = i128::from_str_radix(digits.as_str(), digits.radix())
            .ok()
            .and_then(|n| u64::try_from(n).ok())
            .filter(|n| range.contains(n));
        let reason = || format!("{digits} is outside {}..={}", range.start(), range.end());
        within.map(Some).ok_or_else(|| self.refuse(key, reason()))
    }

    /// A size within `range`.
    ///
    /// # Errors
    /// As [`Section::integer`].
    pub fn size(&self, key: &str, range: RangeInclusive<usize>) -> Result<Option<usize>> {
        let range = *range.start() as u64..=*range.end() as u64;
        Ok(self.integer(key, range)?.map(|n| n as usize))
    }

    /// A finite number for which `holds`; `rule` says so in words.
    ///
    /// # Errors
    /// [`Error::Config`] if it is something else or the rule is broken.
    pub fn number(&self, key: &str, rule: &str, holds: impl Fn(f64) -> bool) -> Result<Option<f64>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let number = self.as_number(key, value)?;
        if !(number.is_finite() && holds(number)) {
            return Err(self.refuse(key, format!("{number} is not {rule}")));
        }
        Ok(Some(number))
    }

    /// A list of numbers.
    ///
    /// # Errors
    /// [`Error::Config`] if it is something else.
    pub fn numbers(&self, key: &str) -> Result<Option<Vec<f64>>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let DeValue::Array(items) = value else { return Err(self.wrong_type(key, value, "a list of numbers")) };
        items.iter().map(|item| self.as_number(key, item.get_ref())).collect::<Result<Vec<_>>>().map(Some)
    }

    /// true or false.
    ///
    /// # Errors
    /// [`Error::Config`] if it is something else.
    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.value(key) {
            None => Ok(None),
            Some(DeValue::Boolean(flag)) => Ok(Some(*flag)),
            Some(other) => Err(self.wrong_type(key, other, "true or false")),
        }
    }

    /// A text.
    ///
    /// # Errors
    /// [`Error::Config`] if it is something else.
    pub fn text(&self, key: &str) -> Result<Option<&'d str>> {
        match self.value(key) {
            None => Ok(None),
            Some(DeValue::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong_type(key, other, "a text in quotes")),
        }
    }

    /// A list of texts; empty if it is not given.
    ///
    /// # Errors
    /// [`Error::Config`] if it is something else.
    pub fn texts(&self, key: &str) -> Result<Vec<&'d str>> {
        let wrong = |found| self.wrong_type(key, found, "a list of texts in quotes");
        match self.value(key) {
            None => Ok(Vec::new()),
            Some(DeValue::Array(items)) => {
                items.iter().map(|item| item.get_ref().as_str().ok_or_else(|| wrong(item.get_ref()))).collect()
            }
            Some(other) => Err(wrong(other)),
        }
    }

    /// One of the words in `choices`, as the value beside it.
    ///
    /// # Errors
    /// [`Error::Config`] that lists the choices.
    pub fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Result<Option<T>> {
        let Some(word) = self.text(key)? else { return Ok(None) };
        let words: Vec<&str> = choices.iter().map(|(w, _)| *w).collect();
        let reason = || format!("`{word}` is none of {}", words.join(", "));
        choices.iter().find(|(w, _)| *w == word).map(|(_, t)| Some(*t)).ok_or_else(|| self.refuse(key, reason()))
    }

    /// A table.
    ///
    /// # Errors
    /// [`Error::Config`] if it is something else.
    pub fn section(&self, key: &str) -> Result<Option<Section<'d>>> {
        let Some((name, value)) = self.table.get_key_value(key) else { return Ok(None) };
        match value.get_ref() {
            DeValue::Table(table) => Ok(Some(self.inner(self.path(key), name.span().start, table))),
            other => Err(self.wrong_type(key, other, "a table")),
        }
    }

    /// A list of tables, `[[key]]`; empty if it is not given.
    ///
    /// # Errors
    /// [`Error::Config`] if it is something else.
    pub fn sections(&self, key: &str) -> Result<Vec<Section<'d>>> {
        let wrong = |found| self.wrong_type(key, found, &format!("a list of tables, each opened by [[{key}]]"));
        let one = |item: &'d Spanned<DeValue<'d>>| match item.get_ref() {
            DeValue::Table(table) => Ok(self.inner(self.path(key), item.span().start, table)),
            other => Err(wrong(other)),
        };
        match self.value(key) {
            None => Ok(Vec::new()),
            Some(DeValue::Array(items)) => items.iter().map(one).collect(),
            Some(other) => Err(wrong(other)),
        }
    }

    fn inner(&self, label: String, offset: usize, table: &'d DeTable<'d>) -> Section<'d> {
        Section { document: self.document, label, offset, table }
    }

    fn value(&self, key: &str) -> Option<&'d DeValue<'d>> {
        self.table.get(key).map(Spanned::get_ref)
    }

    fn as_number(&self, key: &str, value: &DeValue<'_>) -> Result<f64> {
        let parsed = match value {
            DeValue::Float(float) => float.as_str().parse().ok(),
            DeValue::Integer(digits) if digits.radix() == 10 => digits.as_str().parse().ok(),
            _ => None,
        };
        parsed.ok_or_else(|| self.wrong_type(key, value, "a number"))
    }

    fn wrong_type(&self, key: &str, found: &DeValue<'_>, wanted: &str) -> Error {
        let found = found.type_str();
        let article = if found.starts_with(['a', 'i', 'o']) { "an" } else { "a" };
        self.refuse(key, format!("must be {wanted}, found {article} {found}"))
    }

    fn path(&self, key: &str) -> String {
        if self.label.is_empty() { key.to_string() } else { format!("{}.{key}", self.label) }
    }

    fn place_at(&self, offset: usize) -> Place {
        Place { origin: self.document.origin.clone(), line: Some(line_of(self.document.text, offset)) }
    }
}

/// The line, counted from 1, that byte `offset` of `text` is on.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&byte| byte == b'\n').count()
}

/// The word of `known` that `word` was probably meant to be: at most a third
/// of its letters inserted, removed or replaced.
pub fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let (distance, near) = known.iter().map(|k| (edit_distance(word, k), *k)).min()?;
    (distance <= word.chars().count().div_ceil(3)).then_some(near)
}

/// Levenshtein distance, one row at a time.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
