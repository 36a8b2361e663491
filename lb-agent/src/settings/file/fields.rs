//! Fields of a mapping, taken one by one. Each error names the field by its whole path; a field
//! that no caller has taken is unknown.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value};

use crate::settings::values::duration;

/// The fields of one mapping that have not been taken yet.
#[derive(Debug)]
pub(super) struct Fields {
    path: String,
    left: Map<String, Value>,
}

impl Fields {
    /// `null` is a mapping without fields; `path` is empty for the whole file.
    pub(super) fn of(path: &str, value: Value) -> Result<Self> {
        let left = match value {
            Value::Null => Map::new(),
            Value::Object(fields) => fields,
            other => bail!(
                "{}: {other} is no mapping",
                if path.is_empty() { "the file" } else { path }
            ),
        };
        Ok(Self {
            path: path.to_owned(),
            left,
        })
    }

    /// The whole path of a field.
    pub(super) fn path(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// The fields below a field.
    pub(super) fn section(&mut self, name: &str) -> Result<Self> {
        Self::of(&self.path(name), self.left.remove(name).unwrap_or_default())
    }

    /// A text; empty counts as absent.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>> {
        let text = self.take(name, "a text", |value| value.as_str().map(str::to_owned))?;
        Ok(text.filter(|text| !text.is_empty()))
    }

    /// `true` or `false`, and the words that YAML 1.1 has for them.
    pub(super) fn flag(&mut self, name: &str) -> Result<Option<bool>> {
        self.take(name, "true or false", |value| match value {
            Value::Bool(flag) => Some(*flag),
            Value::String(word) => match word.to_lowercase().as_str() {
                "yes" | "on" => Some(true),
                "no" | "off" => Some(false),
                _ => None,
            },
            _ => None,
        })
    }

    /// A whole number from `from` to `to`.
    pub(super) fn number(&mut self, name: &str, from: i64, to: i64) -> Result<Option<i64>> {
        let want = format!("a whole number from {from} to {to}");
        self.take(name, &want, |value| {
            whole(value).filter(|number| (from..=to).contains(number))
        })
    }

    /// Any number.
    pub(super) fn float(&mut self, name: &str) -> Result<Option<f64>> {
        self.take(name, "a number", Value::as_f64)
    }

    /// A duration in nanoseconds, such as `1m30s`.
    pub(super) fn duration(&mut self, name: &str) -> Result<Option<i64>> {
        let want = "a duration such as 30s or 1m30s";
        self.take(name, want, |value| duration::parse(value.as_str()?))
    }

    /// [`Fields::duration`] that is not negative.
    pub(super) fn period(&mut self, name: &str) -> Result<Option<i64>> {
        let period = self.duration(name)?;
        ensure!(
            period.is_none_or(|period| period >= 0),
            "{}: {} is negative",
            self.path(name),
            duration::show(period.unwrap_or_default())
        );
        Ok(period)
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, name: &str) -> Result<Vec<String>> {
        let texts = self.take(name, "a list of texts", |value| {
            let items = value.as_array()?.iter();
            items.map(|i| i.as_str().map(str::to_owned)).collect()
        })?;
        Ok(texts.unwrap_or_default())
    }

    /// Anything that `read` understands; `null` counts as absent.
    pub(super) fn take<T>(
        &mut self,
        name: &str,
        want: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>> {
        match self.left.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => read(&value)
                .with_context(|| format!("{}: {value} is not {want}", self.path(name)))
                .map(Some),
        }
    }

    /// A field that Kubernetes dropped before 1.37 and that old files still have.
    pub(super) fn dropped(&mut self, name: &str, warnings: &mut Vec<String>) {
        if self.left.remove(name).is_some() {
            let path = self.path(name);
            warnings.push(format!("{path}: Kubernetes has dropped this field"));
        }
    }

    /// Every field with its name, for a mapping with free names.
    pub(super) fn rest(self) -> Map<String, Value> {
        self.left
    }

    /// Nothing may be left.
    pub(super) fn end(self) -> Result<()> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(name) => bail!("{}: no such field", self.path(name)),
        }
    }
}

/// `14.0` is whole too.
pub(super) fn whole(value: &Value) -> Option<i64> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "only whole numbers that fit get there"
    )]
    let of_float = |f: f64| (f.fract() == 0.0 && f.abs() < 2f64.powi(53)).then_some(f as i64);
    value.as_i64().or_else(|| value.as_f64().and_then(of_float))
}
