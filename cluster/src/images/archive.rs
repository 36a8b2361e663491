//! An image as a docker archive: one layer, not compressed, since it goes no farther than to a
//! runtime beside it.

use anyhow::Result;
use lb_dist::{sha256, tree::Tree};
use serde_json::json;

use super::TAG;

/// What an image is made of.
pub(super) struct Archive {
    /// Its name without registry and tag.
    pub(super) name: String,
    /// Every file of its file system.
    pub(super) files: Tree,
    /// What is started.
    pub(super) entrypoint: Vec<String>,
}

impl Archive {
    /// The archive, called `localhost/<name>:cluster`.
    pub(super) fn bytes(&self) -> Result<Vec<u8>> {
        let layer = self.files.tar("", 0)?;
        let config = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "config": {"Entrypoint": self.entrypoint, "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(&layer))]},
        })
        .to_string();
        let config_name = format!("{}.json", sha256(config.as_bytes()));
        let manifest = json!([{
            "Config": config_name,
            "RepoTags": [format!("localhost/{}:{TAG}", self.name)],
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
            name: "thing".into(),
            files,
            entrypoint: vec!["/bin/program".into()],
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
