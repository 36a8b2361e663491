//! What is shipped, made from a binary and the sources' metadata: the same input gives the same
//! bytes. Knows nothing of how the binary is compiled.
#![forbid(unsafe_code)]

pub mod components;
pub mod deb;
pub mod image;
pub mod licences;
pub mod package;
pub mod sbom;
pub mod tree;

use sha2::{Digest as _, Sha256};

/// SHA-256 as lower-case hexadecimal digits.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
