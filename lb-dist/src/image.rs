//! The image as an OCI layout (image-spec 1.1) and as one archive: a single layer, nothing below
//! it.

use std::{collections::HashMap, fs, path::Path, str::FromStr as _};

use anyhow::{Context as _, Result};
use oci_spec::image::{
    Arch, ConfigBuilder, Descriptor, DescriptorBuilder, HistoryBuilder, ImageConfigurationBuilder,
    ImageIndexBuilder, ImageManifestBuilder, MediaType, OciLayoutBuilder, Os, PlatformBuilder,
    RootFsBuilder, Sha256Digest,
};
use serde::Serialize;
use serde_json::json;

use crate::{
    sha256,
    tree::{Tree, gzip},
};

/// What an image is made of.
#[derive(Debug, Clone)]
pub struct Image {
    /// Every file of its file system.
    pub files: Tree,
    /// What is started.
    pub entrypoint: String,
    /// For which machine.
    pub arch: Arch,
    /// Its name, as `localhost/lb-agent:0.1.0`.
    pub reference: String,
    /// Labels by their OCI names, `org.opencontainers.image.…`.
    pub labels: Vec<(String, String)>,
    /// When its sources were committed, in seconds since 1970.
    pub time: u64,
}

/// A layout in memory.
#[derive(Debug)]
pub struct Layout {
    /// Digest of the manifest, `sha256:…`.
    pub digest: String,
    files: Tree,
    time: u64,
}

impl Image {
    /// The same image gives the same digest.
    pub fn layout(&self) -> Result<Layout> {
        let mut files = Tree::default();
        let mut blob = |media: MediaType, bytes: Vec<u8>| -> Result<Descriptor> {
            let (digest, size) = (sha256(&bytes), bytes.len() as u64);
            files.add(&format!("blobs/sha256/{digest}"), 0o644, bytes);
            let digest = Sha256Digest::from_str(&digest).context("a digest")?;
            Ok(Descriptor::new(media, size, digest))
        };
        let created = jiff::Timestamp::from_second(i64::try_from(self.time)?)?.to_string();
        let labels: HashMap<String, String> = self.labels.iter().cloned().collect();
        let tar = self.files.tar("", self.time)?;
        let config = ImageConfigurationBuilder::default()
            .created(created.clone())
            .architecture(self.arch.clone())
            .os(Os::Linux)
            .config(
                ConfigBuilder::default()
                    .entrypoint(vec![self.entrypoint.clone()])
                    .labels(labels.clone())
                    .build()?,
            )
            .rootfs(
                RootFsBuilder::default()
                    .typ("layers")
                    .diff_ids(vec![format!("sha256:{}", sha256(&tar))])
                    .build()?,
            )
            .history(vec![
                HistoryBuilder::default()
                    .created(created)
                    .created_by("cargo xtask image")
                    .build()?,
            ])
            .build()?;
        let config = blob(MediaType::ImageConfig, sorted(&config)?)?;
        let layer = blob(MediaType::ImageLayerGzip, gzip(&tar)?)?;
        let names = (config.digest().to_string(), layer.digest().to_string());
        let manifest = ImageManifestBuilder::default()
            .schema_version(2u32)
            .media_type(MediaType::ImageManifest)
            .config(config)
            .layers(vec![layer])
            .annotations(labels)
            .build()?;
        let manifest = blob(MediaType::ImageManifest, sorted(&manifest)?)?;
        let digest = manifest.digest().to_string();
        let (_, tag) = self
            .reference
            .rsplit_once(':')
            .context("a name without a tag")?;
        let named = HashMap::from([
            (
                "org.opencontainers.image.ref.name".to_owned(),
                tag.to_owned(),
            ),
            // What containerd calls it after an import.
            (
                "io.containerd.image.name".to_owned(),
                self.reference.clone(),
            ),
        ]);
        let platform = PlatformBuilder::default()
            .architecture(self.arch.clone())
            .os(Os::Linux)
            .build()?;
        let manifest = DescriptorBuilder::default()
            .media_type(MediaType::ImageManifest)
            .size(manifest.size())
            .digest(manifest.digest().clone())
            .platform(platform)
            .annotations(named)
            .build()?;
        let index = ImageIndexBuilder::default()
            .schema_version(2u32)
            .media_type(MediaType::ImageIndex)
            .manifests(vec![manifest])
            .build()?;
        files.add("index.json", 0o644, sorted(&index)?);
        let version = OciLayoutBuilder::default()
            .image_layout_version("1.0.0")
            .build()?;
        files.add("oci-layout", 0o644, sorted(&version)?);
        // What `docker load` reads.
        let path = |digest: &str| format!("blobs/{}", digest.replace(':', "/"));
        let docker = json!([{"Config": path(&names.0), "Layers": [path(&names.1)],
            "RepoTags": [self.reference]}]);
        files.add("manifest.json", 0o644, docker.to_string());
        Ok(Layout {
            digest,
            files,
            time: self.time,
        })
    }
}

impl Layout {
    /// One archive of the layout, for `ctr images import`, `docker load`, `kind load image-archive`
    /// and `skopeo copy oci-archive:`.
    pub fn archive(&self) -> Result<Vec<u8>> {
        self.files.tar("", self.time)
    }

    /// Writes the layout as a directory, for `skopeo copy oci:`.
    pub fn write(&self, dir: &Path) -> Result<()> {
        for (path, content) in self.files.files() {
            let file = dir.join(path);
            if let Some(folder) = file.parent() {
                fs::create_dir_all(folder)
                    .with_context(|| format!("create {}", folder.display()))?;
            }
            fs::write(&file, content).with_context(|| format!("write {}", file.display()))?;
        }
        Ok(())
    }
}

/// JSON with sorted keys: the library keeps labels without an order.
fn sorted(value: &impl Serialize) -> Result<Vec<u8>> {
    let value = serde_json::to_value(value).context("encode JSON")?;
    serde_json::to_vec(&value).context("encode JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Image {
        let mut files = Tree::default();
        files.add("lb-agent", 0o755, "a program");
        files.add("licenses/MIT", 0o644, "a licence");
        let labels = ["title", "version", "revision", "source"];
        Image {
            files,
            entrypoint: "/lb-agent".into(),
            arch: Arch::Amd64,
            reference: "localhost/lb-agent:0.1.0".into(),
            labels: labels
                .map(|it| (format!("org.opencontainers.image.{it}"), it.into()))
                .into(),
            time: 1_700_000_000,
        }
    }

    #[test]
    fn two_builds_have_one_digest() -> Result<()> {
        let first = image().layout()?;
        for _ in 0..20 {
            let again = image().layout()?;
            assert_eq!(again.digest, first.digest);
            assert_eq!(again.archive()?, first.archive()?);
        }
        let mut other = image();
        other.files.add("lb-agent", 0o755, "another program");
        assert_ne!(other.layout()?.digest, first.digest);
        Ok(())
    }

    #[test]
    fn every_blob_is_what_its_digest_says_and_is_found_from_the_index() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let layout = image().layout()?;
        layout.write(dir.path())?;
        let read = |digest: &str| -> Result<Vec<u8>> {
            let hash = digest
                .strip_prefix("sha256:")
                .context("another algorithm")?;
            let bytes = fs::read(dir.path().join("blobs/sha256").join(hash))?;
            assert_eq!(sha256(&bytes), hash);
            Ok(bytes)
        };
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let index: serde_json::Value =
            serde_json::from_slice(&fs::read(dir.path().join("index.json"))?)?;
        let entry = &index["manifests"][0];
        assert_eq!(entry["digest"], layout.digest);
        assert_eq!(
            entry["annotations"]["io.containerd.image.name"],
            "localhost/lb-agent:0.1.0"
        );
        let manifest: serde_json::Value = serde_json::from_slice(&read(&layout.digest)?)?;
        let config: serde_json::Value =
            serde_json::from_slice(&read(&text(&manifest["config"]["digest"]))?)?;
        assert_eq!(config["architecture"], "amd64");
        assert_eq!(config["config"]["Entrypoint"], json!(["/lb-agent"]));
        assert_eq!(config["created"], "2023-11-14T22:13:20Z");
        let layer = read(&text(&manifest["layers"][0]["digest"]))?;
        let mut tar = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&layer[..]), &mut tar)?;
        assert_eq!(
            config["rootfs"]["diff_ids"][0],
            format!("sha256:{}", sha256(&tar))
        );
        let mut archive = tar::Archive::new(&tar[..]);
        let program = archive.entries()?.next().context("an empty layer")??;
        assert_eq!(program.path()?.to_string_lossy(), "lb-agent");
        assert_eq!(program.header().mode()?, 0o755);
        Ok(())
    }
}
