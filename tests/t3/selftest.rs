//! `lb-agent selftest`: what it says of a machine that carries Services and of one that does not,
//! and what it leaves behind, which is nothing.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use testbed::{
    addr::{self, Both},
    agent::{self, Start},
    lan::{Lan, Offloads},
    manifest::Service,
    node::{Node, PodNetwork},
    one_node::{self, OneNode},
    poll,
    probe::Kind,
    process::{Output, Process},
};

/// The titles of the Services, which its lines begin with.
const KINDS: [&str; 8] = [
    "ClusterIP",
    "NodePort",
    "LoadBalancer",
    "external IP",
    "session affinity",
    "externalTrafficPolicy Local",
    "headless",
    "without endpoints",
];
/// For a debug build on a busy machine.
const TIMEOUT: &str = "120s";
/// What its end may take beyond its time, as the help of `--timeout` says.
const ENDING: Duration = Duration::from_secs(10);
/// For two at once.
const TOGETHER: Duration = Duration::from_secs(150);
/// For the room to come, and to go.
const ROOM: Duration = Duration::from_secs(30);

fn node() -> Result<(Lan, Node)> {
    let lan = Lan::new(Offloads::On)?;
    let node = Node::new(&lan, 1, PodNetwork::Routed)?;
    Ok((lan, node))
}

fn line(words: &[&str]) -> Result<Vec<String>> {
    let mut line = vec![
        agent::binary()?.display().to_string(),
        "selftest".to_owned(),
    ];
    line.extend(words.iter().map(|&word| word.to_owned()));
    Ok(line)
}

/// The lines in JSON, and how it ended.
fn selftest(node: &Node) -> Result<(Vec<Value>, Output)> {
    let output = node.output(&line(&["-o", "json", "--timeout", TIMEOUT])?)?;
    let list: Value = serde_json::from_str(&output.stdout)
        .with_context(|| format!("{}{}", output.stdout, output.stderr))?;
    ensure!(list["kind"] == "SelftestList", "{list}");
    let items = list["items"].as_array().context("items")?.clone();
    Ok((items, output))
}

fn of<'a>(items: &'a [Value], verdict: &str) -> Vec<&'a str> {
    let found = items.iter().filter(|item| item["verdict"] == verdict);
    found.filter_map(|item| item["name"].as_str()).collect()
}

/// The cgroups of rooms on the node, as paths.
fn rooms(node: &Node) -> Result<Vec<std::path::PathBuf>> {
    let entries = fs::read_dir(node.cgroup().path())?;
    let paths = entries.map(|entry| Ok(entry?.path()));
    let paths: Vec<_> = paths.collect::<Result<_>>()?;
    let is_room = |path: &Path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("lb-selftest-"))
    };
    Ok(paths.into_iter().filter(|path| is_room(path)).collect())
}

/// The processes in a cgroup, by their command lines.
fn processes(cgroup: &Path) -> Result<Vec<(i32, String)>> {
    let text = fs::read_to_string(cgroup.join("cgroup.procs"))?;
    let pids = text
        .lines()
        .map(|pid| pid.parse::<i32>().context("a process id"));
    let named = pids.map(|pid| {
        let pid = pid?;
        let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        Ok((pid, words.replace('\0', " ")))
    });
    named.collect()
}

/// Everything of the node that the test could have touched, without the machine's namespaces and
/// mounts that other tests make and remove meanwhile.
fn state(node: &Node) -> Result<String> {
    let mut all = String::new();
    for words in [
        &["ip", "-o", "link"][..],
        &["ip", "-o", "address"],
        &["ip", "route", "show", "table", "all"],
        &["ip", "-6", "route", "show", "table", "all"],
        &["cat", "/proc/self/mounts"],
        &["ls", "-A", "/run/netns", "/dev/shm"],
        &["ls", "-AR", &node.bpf_dir().display().to_string()],
        &[
            "bpftool",
            "cgroup",
            "show",
            &node.root_cgroup().path().display().to_string(),
        ],
    ] {
        all += &node.run(words)?;
    }
    let is_of_tests = |line: &&str| line.starts_with("lbt-") || line.contains("/run/netns/lbt-");
    let lines = all.lines().filter(|line| !is_of_tests(line));
    Ok(lines.fold(String::new(), |text, line| text + line + "\n"))
}

/// Neither cgroups nor processes of it.
fn nothing_is_left(node: &Node) -> Result<()> {
    poll::until(ROOM, "nothing is left", || {
        let (rooms, mut left) = (rooms(node)?, processes(node.cgroup().path())?);
        left.retain(|(_, words)| words.contains("selftest"));
        ensure!(rooms.is_empty() && left.is_empty(), "{rooms:?}, {left:?}");
        Ok(Some(()))
    })
}

/// Starts it and waits until its node has an agent.
fn started(node: &Node) -> Result<Process> {
    started_by(node, &line(&["--timeout", TIMEOUT])?)
}

fn started_by(node: &Node, words: &[String]) -> Result<Process> {
    let process = node.spawn(words, &node.files().join("selftest.log"))?;
    poll::until_true(ROOM, "the room is there", || {
        Ok(rooms(node)?.iter().any(|room| {
            processes(&room.join("node"))
                .is_ok_and(|all| all.iter().any(|(_, words)| words.contains("--manifests")))
        }))
    })?;
    Ok(process)
}

/// kill -9 of the part of the test that runs there.
fn kill_part(cgroup: &Path, part: &str) -> Result<()> {
    let name = format!("selftest-part {part}");
    let (pid, _) = processes(cgroup)?
        .into_iter()
        .find(|(_, words)| words.contains(&name))
        .with_context(|| format!("no {part}"))?;
    kill(Pid::from_raw(pid), Signal::SIGKILL).with_context(|| format!("kill the {part}"))
}

#[test]
fn selftest_asks_every_kind_in_both_families_and_leaves_nothing() -> Result<()> {
    let (_lan, node) = node()?;
    let before = state(&node)?;
    let (items, output) = selftest(&node)?;
    ensure!(output.status.success(), "{items:#?}\n{}", output.stderr);
    assert_eq!(of(&items, "ok").len(), items.len(), "{items:#?}");
    for kind in KINDS {
        for family in ["IPv4", "IPv6"] {
            for protocol in ["TCP", "UDP"] {
                let asked = items
                    .iter()
                    .filter_map(|item| item["name"].as_str())
                    .any(|name| {
                        name.starts_with(kind) && name.contains(&format!("{family} {protocol}"))
                    });
                ensure!(asked, "{kind}, {family} {protocol}: {items:#?}");
            }
        }
    }
    nothing_is_left(&node)?;
    assert_eq!(state(&node)?, before);
    Ok(())
}

#[test]
fn selftest_that_is_killed_leaves_nothing() -> Result<()> {
    let (_lan, node) = node()?;
    let before = state(&node)?;
    let mut process = started(&node)?;
    process.signal(Signal::SIGKILL)?;
    process.wait(ROOM)?;
    nothing_is_left(&node)?;
    assert_eq!(state(&node)?, before);
    Ok(())
}

#[test]
fn selftest_sweeps_what_is_left_when_all_of_it_is_killed() -> Result<()> {
    let (_lan, node) = node()?;
    let mut process = started(&node)?;
    kill_part(node.cgroup().path(), "keeper")?;
    process.signal(Signal::SIGKILL)?;
    process.wait(ROOM)?;
    // Its processes go by themselves; cgroups cannot.
    let room = rooms(&node)?.pop().context("no room")?;
    poll::until_true(ROOM, "its processes are gone", || {
        let events = fs::read_to_string(room.join("cgroup.events"))?;
        Ok(events.contains("populated 0"))
    })?;
    let (items, output) = selftest(&node)?;
    ensure!(output.status.success(), "{items:#?}");
    nothing_is_left(&node)
}

/// Neither is a lack of time, nor of what the machine must have; what was told before is shown.
#[test]
fn selftest_says_which_of_its_processes_was_killed() -> Result<()> {
    for (part, name) in [
        ("keeper", "keeps the test"),
        ("stage", "the node of the test"),
    ] {
        let (_lan, node) = node()?;
        let mut process = started(&node)?;
        let cgroup = match part {
            "stage" => rooms(&node)?.pop().context("no room")?.join("node"),
            _ => node.cgroup().path().to_owned(),
        };
        kill_part(&cgroup, part)?;
        let status = process.wait(ROOM)?;
        let said = process.said()?;
        assert_eq!(status.code(), Some(1), "{part}: {said}");
        ensure!(said.starts_with("ok    a node, pods"), "{part}: {said}");
        let failed: Vec<_> = said.lines().filter(|l| l.starts_with("FAIL")).collect();
        ensure!(failed.len() == 1, "{part}: {said}");
        for words in ["every check is made", name, "signal: 9"] {
            ensure!(failed[0].contains(words), "{part}: {said}");
        }
        ensure!(!said.contains("--timeout"), "{part}: {said}");
    }
    Ok(())
}

#[test]
fn selftests_at_once_do_not_meet() -> Result<()> {
    let (_lan, node) = node()?;
    let before = state(&node)?;
    let words = line(&["--timeout", TIMEOUT])?;
    let logs = ["one.log", "two.log"].map(|log| node.files().join(log));
    let mut both = [node.spawn(&words, &logs[0])?, node.spawn(&words, &logs[1])?];
    for process in &mut both {
        let status = process.wait(TOGETHER)?;
        ensure!(status.success(), "{status}: {}", process.said()?);
    }
    nothing_is_left(&node)?;
    assert_eq!(state(&node)?, before);
    Ok(())
}

/// On a node where mounts are shared, as systemd makes them; here in a mount namespace of its own.
#[test]
fn selftest_does_not_keep_what_the_machine_unmounts() -> Result<()> {
    let (_lan, node) = node()?;
    let shared = node.files().join("shared");
    fs::create_dir(&shared)?;
    let volume = shared.join("volume");
    let script = "mount -t tmpfs lbt \"$1\"; mount --make-shared \"$1\"; mkdir \"$2\"; \
                  mount -t tmpfs lbt \"$2\"; shift 2; exec \"$@\"";
    let mut words = ["unshare", "--mount", "sh", "-euc", script, "sh"]
        .map(str::to_owned)
        .to_vec();
    words.extend([&shared, &volume].map(|path| path.display().to_string()));
    words.extend(line(&["--timeout", TIMEOUT])?);
    let process = started_by(&node, &words)?;
    let path = volume.display().to_string();
    let mounts =
        |pid: i64| -> Result<String> { Ok(fs::read_to_string(format!("/proc/{pid}/mountinfo"))?) };
    let room = rooms(&node)?.pop().context("no room")?;
    let mut inside = processes(node.cgroup().path())?;
    inside.retain(|(_, words)| words.contains("selftest-part keeper"));
    inside.extend(processes(&room.join("node"))?);
    ensure!(inside.len() > 2, "{inside:?}");
    for (pid, words) in &inside {
        ensure!(mounts((*pid).into())?.contains(&path), "{words}");
    }
    let own = mounts(process.pid().into())?;
    ensure!(!own.contains("lb-selftest"), "{own}");
    let namespace = format!("--mount=/proc/{}/ns/mnt", process.pid());
    node.run(&["nsenter", &namespace, "umount", &path])?;
    for (pid, words) in &inside {
        let all = mounts((*pid).into())?;
        ensure!(!all.contains(&path), "{words}: {all}");
    }
    Ok(())
}

#[test]
fn selftest_does_not_disturb_a_running_agent() -> Result<()> {
    let bed = OneNode::new()?;
    let before = state(&bed.node)?;
    let names = agent::verb(&bed.node, &["get", "services", "-o", "name"])?;
    let hammer = bed.hammer_web()?;
    let (items, output) = selftest(&bed.node)?;
    let tally = hammer.stop()?;
    ensure!(output.status.success(), "{items:#?}");
    ensure!(
        tally.failures.is_empty() && tally.attempts > 50,
        "{tally:?}"
    );
    nothing_is_left(&bed.node)?;
    assert_eq!(state(&bed.node)?, before);
    assert_eq!(
        agent::verb(&bed.node, &["get", "services", "-o", "name"])?,
        names
    );
    Ok(())
}

/// Another load balancer of the machine, here an agent on a cgroup above, that claims an address.
#[test]
fn selftest_reports_what_does_not_work() -> Result<()> {
    // Its first backend on the node.
    let claimed = Both {
        v4: [192, 0, 2, 18].into(),
        v6: addr::vip(77).v6,
    };
    let bed = OneNode::with(Start::new(), |node| {
        vec![
            one_node::web(node),
            Service::new("claims", claimed).one_port(Kind::Tcp, 8080, 8080, None),
        ]
    })?;
    let (items, output) = selftest(&bed.node)?;
    assert_eq!(output.status.code(), Some(1), "{items:#?}");
    let failed = of(&items, "fail");
    for client in ["the node", "a pod"] {
        let name = format!("ClusterIP from {client}, IPv4 TCP 198.51.100.1:80");
        ensure!(failed.contains(&name.as_str()), "{failed:#?}");
    }
    for item in items.iter().filter(|item| item["verdict"] == "fail") {
        assert_eq!(item["remedy"], "refused", "{item}");
    }
    // The other family, and packets, are as they should be.
    ensure!(
        !failed
            .iter()
            .any(|name| name.contains("IPv6") || name.contains("outside")),
        "{failed:#?}"
    );
    Ok(())
}

#[test]
fn selftest_needs_four_capabilities() -> Result<()> {
    let (_lan, node) = node()?;
    let few = "--bounding-set=-all,+bpf,+net_admin,+perfmon,+sys_admin";
    let words = ["setpriv", few, "--no-new-privs", "--"].map(str::to_owned);
    let output = node.output(&[&words[..], &line(&["--timeout", TIMEOUT])?].concat())?;
    ensure!(output.status.success(), "{output:?}");
    nothing_is_left(&node)
}

#[test]
fn selftest_names_the_capability_that_is_missing() -> Result<()> {
    let (_lan, node) = node()?;
    for (capability, name) in [("sys_admin", "CAP_SYS_ADMIN"), ("bpf", "CAP_BPF")] {
        // Who has the first needs the second no more.
        let dropped = format!("--bounding-set=-{capability},-sys_admin");
        let words = ["setpriv", &dropped, "--no-new-privs", "--"].map(str::to_owned);
        let output = node.output(&[&words[..], &line(&[])?].concat())?;
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        ensure!(output.stderr.contains(name), "{output:?}");
        ensure!(output.stderr.contains("run as root"), "{output:?}");
    }
    ensure!(rooms(&node)?.is_empty());
    Ok(())
}

#[test]
fn selftest_ends_in_time_and_says_that_it_was_short() -> Result<()> {
    let (_lan, node) = node()?;
    let start = Instant::now();
    let output = node.output(&line(&["--timeout", "50ms"])?)?;
    let took = start.elapsed();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let limit = poll::patient(Duration::from_millis(50) + ENDING);
    ensure!(took < limit, "{took:?} instead of {limit:?}: {output:?}");
    ensure!(output.stdout.contains("--timeout"), "{output:?}");
    nothing_is_left(&node)
}
