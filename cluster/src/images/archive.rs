//! An image as a docker archive: one layer, not compressed, since it goes no farther than to a
//! runtime beside it.

use anyhow::Result;
use lb_dist::{sha256, tree::Tree};
use serde_json::json;

/// What an image is made of.
pub(super) struct Archive {
    /// Its names, whole.
    pub(super) tags: Vec<String>,
    /// Every file of its file system.
    pub(super) files: Tree,
    /// What is started.
    pub(super) entrypoint: Vec<String>,
    /// Its arguments, where a pod gives none.
    pub(super) arguments: Vec<String>,
}

impl Archive {
    /// The archive.
    pub(super) fn bytes(&self) -> Result<Vec<u8>> {
        let layer = self.files.tar("", 0)?;
        let config = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "config": {"Entrypoint": self.entrypoint, "Cmd": self.arguments, "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(&layer))]},
        })
        .to_string();
        let config_name = format!("{}.json", sha256(config.as_bytes()));
        let manifest = json!([{
            "Config": config_name,
            "RepoTags": self.tags,
            "Layers": ["layer.tar"],
        }]);
        let mut archive = Tree::default();
        archive.add(&config_name, 0o644, config);
        archive.add("layer.tar", 0o644, layer);
        archive.add("manifest.json", 0o644, manifest.to_string());
        archive.tar("", 0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_manifest_leads_to_a_layer_of_the_digest_that_the_config_names() {
        let mut files = Tree::default();
        files.add("bin/program", 0o755, "a program");
        let layer = files.tar("", 0).unwrap();
        let image = Archive {
            tags: vec!["localhost/thing:cluster".into()],
            files,
            entrypoint: vec!["/bin/program".into()],
            arguments: vec![],
        };
        let text = String::from_utf8(image.bytes().unwrap()).unwrap();
        let manifest: Value = serde_json::from_str(between(&text, "[{\"Config\"", "]\0")).unwrap();
        assert_eq!(manifest[0]["RepoTags"], json!(["localhost/thing:cluster"]));
        let config: Value = serde_json::from_str(between(&text, "{\"arch", "}\0")).unwrap();
        let digest = format!("sha256:{}", sha256(&layer));
        assert_eq!(config["rootfs"]["diff_ids"], json!([digest]));
    }

    /// From the first occurrence of `from` to the end of the first `to` after it, without the zero
    /// byte.
    fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
        let start = text.find(from).unwrap();
        let rest = &text[start..];
        &rest[..rest.find(to).unwrap() + to.len() - 1]
    }
}
