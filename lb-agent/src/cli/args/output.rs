//! How verbs show what they have: `--output`.

use clap::ValueEnum;

/// For people, or for programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Form {
    /// For people
    #[default]
    Table,
    /// For programs; stable
    Json,
}

/// The letter of kubectl.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Table,
    /// For people with a wide window
    Wide,
    /// For programs; stable
    Json,
}

/// The letter of kubectl, for lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum ListOutput {
    /// For people
    #[default]
    Table,
    /// For people with a wide window
    Wide,
    /// For programs; stable
    Json,
    /// The same as YAML
    Yaml,
    /// Names alone, for scripts
    Name,
}

/// How `check` shows what it finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum CheckOutput {
    /// Every line
    #[default]
    Table,
    /// Only what is not ok, and a count
    Short,
    /// For programs; stable
    Json,
}
