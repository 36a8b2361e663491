mod errors;
mod meaning;
mod no_meaning;
mod schedulers;
mod silent;
mod strangers;

use super::*;

fn file(body: &str) -> String {
    format!("apiVersion: {VERSION}\nkind: {KIND}\n{body}\n")
}

fn read(body: &str) -> ConfigFile {
    ConfigFile::read(&file(body)).unwrap_or_else(|error| panic!("{body}: {error:#}"))
}
