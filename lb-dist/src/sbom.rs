//! The list of components as CycloneDX 1.5 JSON (ECMA-424), which scanners read.

use serde_json::{Value, json};

use crate::{components::Component, sha256};

/// `time` as RFC 3339, `program` is what is described. The serial number follows from the content.
#[must_use]
pub fn cyclonedx(program: &Component, components: &[Component], time: &str) -> Value {
    let purl = |it: &Component| format!("pkg:cargo/{}@{}", it.name, it.version);
    let entry = |it: &Component, kind: &str| {
        let mut entry = json!({"type": kind, "bom-ref": purl(it), "name": it.name,
            "version": it.version, "purl": purl(it)});
        if !it.licence.is_empty() {
            entry["licenses"] = json!([{"expression": it.licence}]);
        }
        if !it.checksum.is_empty() {
            entry["hashes"] = json!([{"alg": "SHA-256", "content": it.checksum}]);
        }
        entry
    };
    let others: Vec<&Component> = components.iter().filter(|it| *it != program).collect();
    let list: Vec<Value> = others.iter().map(|it| entry(it, "library")).collect();
    let refs: Vec<String> = others.iter().map(|it| purl(it)).collect();
    let mut bom = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"timestamp": time, "component": entry(program, "application"),
            "tools": {"components": [{"type": "application", "name": "lb-dist", "version": env!("CARGO_PKG_VERSION")}]}},
        "components": list,
        "dependencies": [{"ref": purl(program), "dependsOn": refs}],
    });
    let hash = sha256(bom.to_string().as_bytes());
    // As a UUID of version 8 (RFC 9562): of a form of its own.
    let serial = format!(
        "urn:uuid:{}-{}-8{}-8{}-{}",
        &hash[..8],
        &hash[8..12],
        &hash[13..16],
        &hash[17..20],
        &hash[20..32]
    );
    bom["serialNumber"] = json!(serial);
    bom
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::components::{
        self,
        tests::{LOCK, metadata},
    };

    #[test]
    fn each_crate_stands_there_with_its_licence_and_checksum() {
        let all = components::of(&metadata(), LOCK, "app").unwrap();
        let bom = cyclonedx(&all[0], &all, "2026-01-01T00:00:00Z");
        assert_eq!(bom["metadata"]["component"]["name"], "app");
        assert_eq!(bom["components"].as_array().unwrap().len(), 1);
        assert_eq!(bom["components"][0]["purl"], "pkg:cargo/lib@1.0.0");
        assert_eq!(bom["components"][0]["hashes"][0]["content"], "abc");
        assert_eq!(
            bom["dependencies"][0]["dependsOn"][0],
            "pkg:cargo/lib@1.0.0"
        );
        let serial = bom["serialNumber"].as_str().unwrap();
        assert_eq!(serial.len(), "urn:uuid:".len() + 36);
        assert_eq!(bom, cyclonedx(&all[0], &all, "2026-01-01T00:00:00Z"));
    }
}
