//! `fields.txt`: a line for each field of each type, `TYPE FIELD SHAPE FIRST-LAST` with the minor
//! versions that know it. `UPDATE=1` writes it anew.

use std::{
    collections::BTreeMap,
    env, fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use super::record;

/// Minor versions of Kubernetes 1 that the chart is for.
pub(super) const MINORS: RangeInclusive<u8> = 29..=37;

/// What a value may be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shape {
    /// Anything.
    Any,
    Boolean,
    Numeric,
    String,
    /// An object of this type.
    Named(String),
    List(Box<Shape>),
    Map(Box<Shape>),
}

/// A field, and the minor versions that know it so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) shape: Shape,
    pub(super) first: u8,
    pub(super) last: u8,
}

/// Fields by type and name; a field whose shape changed stands there twice.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Shapes(pub(super) BTreeMap<(String, String), Vec<Field>>);

impl Shapes {
    /// As they were recorded.
    pub(super) fn recorded() -> Result<Self> {
        let file = file();
        if env::var_os("UPDATE").is_some() {
            fs::write(&file, record::all()?.text())
                .with_context(|| format!("write {}", file.display()))?;
        }
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self> {
        let mut shapes = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<&str> = line.split(' ').collect();
            let [kind, field, shape, versions] = words[..] else {
                bail!("{line}: not four words")
            };
            let (first, last) = versions.split_once('-').context("no versions")?;
            let field_of = (kind.to_owned(), field.to_owned());
            shapes.0.entry(field_of).or_default().push(Field {
                shape: Shape::parse(shape)?,
                first: first.parse()?,
                last: last.parse()?,
            });
        }
        Ok(shapes)
    }

    fn text(&self) -> String {
        let mut text = String::from(
            "# Fields of the API types that the chart uses: type, field, shape, minor versions of Kubernetes 1.\n",
        );
        for ((kind, name), fields) in &self.0 {
            for Field { shape, first, last } in fields {
                let line = format!("{kind} {name} {} {first}-{last}\n", shape.text());
                text.push_str(&line);
            }
        }
        text
    }

    /// The field as this version knows it.
    pub(super) fn field(&self, kind: &str, name: &str, minor: u8) -> Option<&Shape> {
        let fields = self.0.get(&(kind.to_owned(), name.to_owned()))?;
        let found = fields
            .iter()
            .find(|it| (it.first..=it.last).contains(&minor));
        found.map(|field| &field.shape)
    }
}

impl Shape {
    fn parse(text: &str) -> Result<Self> {
        let inner = |start: &str| text.strip_prefix(start)?.strip_suffix('>');
        Ok(match text {
            "any" => Self::Any,
            "boolean" => Self::Boolean,
            "numeric" => Self::Numeric,
            "string" => Self::String,
            _ => match (inner("list<"), inner("map<")) {
                (Some(of), _) => Self::List(Box::new(Self::parse(of)?)),
                (_, Some(of)) => Self::Map(Box::new(Self::parse(of)?)),
                _ => Self::Named(text.to_owned()),
            },
        })
    }

    fn text(&self) -> String {
        match self {
            Self::Any => "any".into(),
            Self::Boolean => "boolean".into(),
            Self::Numeric => "numeric".into(),
            Self::String => "string".into(),
            Self::Named(name) => name.clone(),
            Self::List(of) => format!("list<{}>", of.text()),
            Self::Map(of) => format!("map<{}>", of.text()),
        }
    }
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("t4/chart/shapes/fields.txt")
}
