//! Whether a kube-proxy is running here, by `/proc`. One in another pid namespace (a pod without
//! `hostPID` sees only its own processes), or with more rights than the agent, is not seen.

use std::fs;

/// Process ids of running kube-proxies of this network namespace.
#[must_use]
pub fn running() -> Vec<u32> {
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let here = namespace("thread-self");
    let Ok(all) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    all.flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let pid = name.to_str()?;
            let number = pid.parse().ok()?;
            let comm = fs::read_to_string(entry.path().join("comm")).ok()?;
            (comm.trim_end() == "kube-proxy" && here.is_some() && namespace(pid) == here)
                .then_some(number)
        })
        .collect()
}
