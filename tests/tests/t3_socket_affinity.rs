//! The socket path: session affinity keeps a client with its backend, for as long as the backend is there.

use std::collections::BTreeSet;
use std::io;

use anyhow::Result;
use lb_tests::addr;
use lb_tests::agent::{CHANGE, Start};
use lb_tests::manifest::Service;
use lb_tests::poll;
use lb_tests::probe::{Family, Kind};
use lb_tests::scene::{self, PORT, Scene, TARGET};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
const VIP: addr::Both = addr::vip(60);

fn sticky(scene_pods: &[lb_tests::manifest::Endpoint]) -> Service {
    scene::behind("sticky", VIP, scene_pods)
        .port(PORT, TARGET)
        .affinity(100)
}

#[test]
fn a_client_stays_with_its_backend() -> Result<()> {
    let scene = Scene::with(Start::new(), |node| vec![sticky(&scene::web_pods(node))])?;
    for family in FAMILIES {
        for kind in [Kind::Tcp, Kind::Udp] {
            let to = VIP.at(family, PORT);
            let asked = (0..25).map(|_| Ok(scene.client().ask(kind, to)?.name));
            let names = asked.collect::<io::Result<BTreeSet<_>>>()?;
            assert_eq!(names.len(), 1, "{names:?} answered {kind:?}");
        }
    }
    Ok(())
}

#[test]
fn clients_do_not_all_stay_with_the_same_backend() -> Result<()> {
    let mut seen = BTreeSet::new();
    // Four clients and three backends: all alike once in 27 times, and three times in a row once in 19,683.
    for _ in 0..3 {
        let scene = Scene::with(Start::new(), |node| vec![sticky(&scene::web_pods(node))])?;
        for pod in scene.node.pods() {
            seen.insert(pod.ask(Kind::Tcp, VIP.at(Family::V4, PORT))?.name);
        }
        if seen.len() > 1 {
            return Ok(());
        }
    }
    anyhow::bail!("all clients were given {seen:?}")
}

#[test]
fn a_backend_that_goes_gives_its_clients_away_and_does_not_get_them_back() -> Result<()> {
    let scene = Scene::with(Start::new(), |node| vec![sticky(&scene::web_pods(node))])?;
    let to = VIP.at(Family::V4, PORT);
    let ask = || -> io::Result<String> { Ok(scene.client().ask(Kind::Tcp, to)?.name) };
    let first = ask()?;
    let all = scene::web_pods(&scene.node);
    let rest: Vec<_> = all
        .iter()
        .filter(|endpoint| endpoint.pod != first)
        .cloned()
        .collect();
    scene.apply(&sticky(&rest))?;
    let second = poll::until(CHANGE, "the client moves", || {
        Ok(Some(ask()?).filter(|name| *name != first))
    })?;
    scene.apply(&sticky(&all))?;
    poll::until_true(CHANGE, "the first backend is back for others", || {
        let backends =
            lb_tests::shown::frontend(&scene.node, "TCP", &VIP.v4.to_string(), PORT)?.backends;
        Ok(backends.len() == all.len())
    })?;
    for _ in 0..10 {
        assert_eq!(ask()?, second);
    }
    Ok(())
}

#[test]
fn without_affinity_clients_are_spread() -> Result<()> {
    let scene = Scene::new()?;
    let to = scene::WEB_VIP.at(Family::V4, PORT);
    let asked = (0..40).map(|_| Ok(scene.client().ask(Kind::Tcp, to)?.name));
    assert_eq!(asked.collect::<io::Result<BTreeSet<_>>>()?.len(), 3);
    Ok(())
}
