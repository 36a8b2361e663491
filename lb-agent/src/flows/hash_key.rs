//! `lb_hash_key`: the key of the hashes that place packets, and the secrets it is made of.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use lb_common::{hash::HashKey, maps};

use crate::maps::{
    dir::BpfDir,
    pinned::{Access, HashPin, failed},
    table::MapError,
};

/// The one element.
const ELEMENT: u32 = 0;

/// Bytes of a secret at least: 128 bits in hexadecimal digits have 32, random bytes 16.
const SHORTEST: usize = 16;

/// The map.
#[derive(Debug)]
pub struct HashKeyTable(HashPin<u32, HashKey>);

impl HashKeyTable {
    /// Opens the pin.
    pub fn open(dir: &BpfDir, access: Access) -> Result<Self, MapError> {
        HashPin::open(dir, maps::HASH_KEY, access).map(Self)
    }

    /// What stands there; all zero until an agent has written it.
    pub fn read(&self) -> Result<HashKey, MapError> {
        let found = self.0.map().get(&ELEMENT);
        let found = found.map_err(|e| failed(&maps::HASH_KEY, "read", &e))?;
        Ok(found.unwrap_or_default())
    }

    /// Writes it if it differs; true if it did. Flows that are open stay where their entries say.
    pub fn write(&self, key: HashKey) -> Result<bool, MapError> {
        if self.read()? == key {
            return Ok(false);
        }
        let written = self.0.map().set(&ELEMENT, &key);
        written.map_err(|e| failed(&maps::HASH_KEY, "write", &e))?;
        Ok(true)
    }
}

/// The key that the secret in this file stands for. White space around it does not count, so that
/// an editor's last newline makes no other key.
pub fn of_file(path: &Path) -> Result<HashKey> {
    let read = fs::read(path);
    let bytes = read.with_context(|| format!("cannot read the secret {}", path.display()))?;
    let secret = bytes.trim_ascii();
    ensure!(
        secret.len() >= SHORTEST,
        "the secret {} has {} bytes: {SHORTEST} or more are needed, such as those of `openssl rand -hex 16`",
        path.display(),
        secret.len()
    );
    Ok(HashKey::of(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_without_the_white_space_around_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, "0123456789abcdef\n").unwrap();
        assert_eq!(of_file(&path).unwrap(), HashKey::of(b"0123456789abcdef"));
        fs::write(&path, "  0123456789abcde\n\n").unwrap();
        let error = of_file(&path).unwrap_err().to_string();
        assert!(error.contains("has 15 bytes: 16 or more"), "{error}");
        let error = format!("{:#}", of_file(&dir.path().join("none")).unwrap_err());
        assert!(error.contains("cannot read the secret"), "{error}");
    }
}
