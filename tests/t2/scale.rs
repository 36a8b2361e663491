//! Tier 2: ten thousand Services and a quarter of a million endpoints in maps in memory. What is
//! written is compared with an expectation of its own, and each change is weighed by the elements
//! that it writes, never by a clock.

use anyhow::{Context as _, Result, bail};
use lb_agent::{
    maps::{
        Maps, Table,
        mem::{self, Limits, SharedWorld},
    },
    model::{self, Event, Node, ObjectKey, Slice, testing::key},
    plan::PlanConfig,
    sync::{Engine, Report},
};
use lb_common::Proto;
use lb_tests::scale::{
    read,
    world::{self, LARGE, ROLLED, SLICE, Service, expected, fresh, world},
};
use libtest_mimic::Trial;

const SERVICES: u32 = 10_000;
const LARGES: u32 = 45;

/// The tests of this file.
pub(crate) fn trials() -> [Trial; 3] {
    macro_rules! trials {
        ($($name:ident),+ $(,)?) => {
            [$(crate::trial(concat!("scale::", stringify!($name)).to_owned(), $name)),+]
        };
    }
    trials![
        ten_thousand_services_cost_what_they_hold_and_changes_what_they_change,
        a_rolling_update_of_five_thousand_endpoints_writes_what_it_changes,
        more_endpoints_than_a_service_can_have_are_refused_aloud_and_nobody_else_is,
    ]
}

struct Rig {
    maps: Maps,
    world: SharedWorld,
    engine: Engine,
}

impl Rig {
    fn new() -> Result<Self> {
        let (mut maps, world) = mem::new(Limits::default());
        let engine = Engine::restore(&mut maps, PlanConfig::default())?;
        Ok(Self {
            maps,
            world,
            engine,
        })
    }

    fn list(&mut self, services: &[Service]) -> Report {
        let all = services.iter().map(service).collect();
        self.engine.handle(Event::Services(all));
        let all = services.iter().flat_map(slices).collect();
        self.engine.handle(Event::Slices(all));
        self.engine.handle(Event::Node(Node::default()));
        self.engine.handle(Event::Addresses(Vec::new()));
        self.sync()
    }

    /// One slice of a Service has changed.
    fn put(&mut self, of: &Service, n: usize) -> Report {
        self.engine.handle(Event::Slice(slice(of, n)));
        self.sync()
    }

    fn sync(&mut self) -> Report {
        let before = self.world.lock().total_writes();
        let report = self.engine.sync(&mut self.maps);
        assert_eq!(report.failed, []);
        let world = self.world.lock();
        assert!(world.violations.is_empty(), "{:#?}", world.violations);
        // The report is about the maps' own count, but for entries of which the removal found
        // nothing.
        assert_eq!(world.total_writes() - before, report.writes.total());
        report
    }

    fn compare(&mut self, services: &[Service]) -> Result<()> {
        let report = self.engine.settle(&mut self.maps);
        assert_eq!(report.failed, []);
        let found = read::content(&mut self.maps)?;
        match expected(services).differs(&found) {
            Some(difference) => bail!("{difference}"),
            None => Ok(()),
        }
    }

    fn used(&self) -> u32 {
        let usage = self.engine.snapshot().usage;
        usage.iter().map(|u| u.entries).sum()
    }
}

#[expect(clippy::unwrap_used, reason = "protocols of our own making")]
fn proto(number: u8) -> Proto {
    Proto::from_number(number).unwrap()
}

fn service(of: &Service) -> model::Service {
    let mut service = model::Service::cluster_ip(&of.name(), of.vip());
    for port in of.ports {
        service = service.port(port.name, proto(port.proto), port.number);
        if let Some(number) = of.node_port.filter(|_| port.name == "http") {
            service = service.node_port(number);
        }
    }
    service
}

fn slices(of: &Service) -> Vec<Slice> {
    (0..of.slices.len()).map(|n| slice(of, n)).collect()
}

fn slice(of: &Service, n: usize) -> Slice {
    let endpoint = |e: &world::Endpoint| {
        let endpoint = model::Endpoint::ready(e.addr).on("elsewhere");
        if e.draining {
            endpoint.draining()
        } else {
            endpoint
        }
    };
    of.ports
        .iter()
        .fold(
            Slice::new(key(&of.slice_name(n)), &of.name()),
            |slice, p| slice.port(p.name, proto(p.proto), p.target),
        )
        .endpoints(of.slices[n].iter().map(endpoint))
}

fn ten_thousand_services_cost_what_they_hold_and_changes_what_they_change() -> Result<()> {
    let mut all = world(SERVICES, LARGES);
    let wanted = expected(&all);
    assert!(
        wanted.backends.len() >= 250_000,
        "{}",
        wanted.backends.len()
    );
    let mut rig = Rig::new()?;

    let report = rig.list(&all);
    let writes = report.writes;
    let node_ports = wanted.fronts.keys().filter(|k| k.0.is_none()).count();
    let of_vips = wanted.fronts.len() - node_ports + wanted.marks.len();
    for (map, found, wanted) in [
        ("services", writes[Table::Frontends], of_vips),
        ("nodeports", writes[Table::NodePorts], node_ports),
        ("svc", writes[Table::Pools], wanted.pools()),
        ("slots", writes[Table::Slots], wanted.slots()),
        ("members", writes[Table::Members], wanted.members()),
        ("backends", writes[Table::Backends], wanted.backends.len()),
    ] {
        assert_eq!(found, wanted as u64, "each element of {map} once");
    }
    assert_eq!((report.planned, report.barriers), (SERVICES as usize, 0));
    rig.compare(&all)?;

    let report = rig.list(&all);
    assert_eq!((report.planned, report.writes.total()), (0, 0), "a relist");

    one_endpoint_of_a_small_service(&mut rig, &mut all)?;
    one_endpoint_of_a_large_service(&mut rig, &mut all)?;
    one_service_comes_and_goes(&mut rig, &mut all)?;
    rig.compare(&all)?;

    // Another agent finds all of it as it should be.
    rig.engine = Engine::restore(&mut rig.maps, PlanConfig::default())?;
    let report = rig.list(&all);
    assert_eq!(report.writes.total(), 0, "a restart");
    rig.compare(&all)?;

    let report = rig.list(&[]);
    assert_eq!((report.writes[Table::Slots], report.barriers), (0, 0));
    rig.compare(&[])?;
    assert_eq!(rig.used(), 0);
    Ok(())
}

/// It goes, comes back, and drains: each a handful of elements, whatever else there is.
fn one_endpoint_of_a_small_service(rig: &mut Rig, all: &mut [Service]) -> Result<()> {
    let service = all
        .iter_mut()
        .find(|s| s.number == 7_003)
        .context("there")?;
    assert_eq!((service.ports.len(), service.endpoints().count()), (1, 3));
    let gone = service.slices[0].remove(0);
    let report = rig.put(service, 0);
    // A member, two slots, an entry.
    assert_eq!(
        (report.planned, report.writes.total()),
        (1, 4),
        "{report:?}"
    );
    service.slices[0].push(gone);
    let report = rig.put(service, 0);
    // A member, three slots, an entry; its backend was not yet cleared.
    assert_eq!(
        (report.planned, report.writes.total()),
        (1, 5),
        "{report:?}"
    );
    service.slices[0][2].draining = true;
    let report = rig.put(service, 0);
    // A member, two slots, an entry, a backend that shows it.
    assert_eq!(
        (report.planned, report.writes.total()),
        (1, 5),
        "{report:?}"
    );
    assert_eq!(report.barriers, 0);
    rig.compare(all)
}

/// A version of its slots is plain stores of eight bytes each; all else is as little as with a
/// small one.
fn one_endpoint_of_a_large_service(rig: &mut Rig, all: &mut [Service]) -> Result<()> {
    let service = &mut all[1];
    service.slices[3].pop();
    let writes = rig.put(service, 3).writes;
    assert_eq!(
        (
            writes.hashed(),
            writes[Table::Pools],
            writes[Table::Backends]
        ),
        (1, 1, 0)
    );
    assert_eq!(writes[Table::Slots], LARGE as u64 - 1);
    rig.compare(all)
}

fn one_service_comes_and_goes(rig: &mut Rig, all: &mut Vec<Service>) -> Result<()> {
    let gone = all.pop().context("there")?;
    let key = ObjectKey::new("default", &gone.name());
    rig.engine.handle(Event::ServiceGone(key));
    let report = rig.sync();
    let endpoints = gone.endpoints().count() as u64;
    // Two marks and two frontends; its members. What it held is cleared behind a barrier, later.
    assert_eq!((report.planned, report.barriers), (1, 0));
    assert_eq!(report.writes[Table::Frontends], 4);
    assert_eq!(report.writes.total(), 4 + endpoints);
    rig.compare(all)?;
    rig.engine.handle(Event::Service(service(&gone)));
    let report = rig.sync();
    assert_eq!(report.writes.total(), 4 + endpoints * 3 + 1, "{report:?}");
    all.push(gone);
    Ok(())
}

fn a_rolling_update_of_five_thousand_endpoints_writes_what_it_changes() -> Result<()> {
    const STEP: usize = LARGE / 10;
    let mut all = world(200, 1);
    let mut rig = Rig::new()?;
    rig.list(&all);
    let small = rig.used();
    let mut next = u32::from(ROLLED) + 0x1_0000;
    let mut hashed = 0;
    for first in (0..LARGE / SLICE).step_by(STEP / SLICE) {
        let slices = first..first + STEP / SLICE;
        // As pods are replaced: the new one is ready, the old one drains, the old one is gone.
        let mut told = Vec::new();
        for n in slices.clone() {
            let old = all[0].slices[n].len();
            all[0].slices[n].extend(fresh(&mut next, SLICE));
            told.push((n, old));
        }
        let mut tell = |rig: &mut Rig, service: &Service| {
            for (n, _) in &told {
                rig.engine.handle(Event::Slice(slice(service, *n)));
            }
            let writes = rig.sync().writes;
            hashed += writes.hashed();
            // One new version of the slots a sync, however many slices have changed.
            assert!(writes[Table::Slots] <= (LARGE + STEP) as u64, "{writes:?}");
            assert_eq!(writes[Table::Pools], 1);
            writes
        };
        let writes = tell(&mut rig, &all[0]);
        assert_eq!(
            (writes.hashed(), writes[Table::Backends]),
            (STEP as u64, STEP as u64)
        );
        for n in slices.clone() {
            for e in &mut all[0].slices[n][..SLICE] {
                e.draining = true;
            }
        }
        let writes = tell(&mut rig, &all[0]);
        assert_eq!(
            (writes.hashed(), writes[Table::Backends]),
            (STEP as u64, STEP as u64)
        );
        for n in slices {
            all[0].slices[n].drain(..SLICE);
        }
        rig.engine
            .handle(Event::Slices(all.iter().flat_map(self::slices).collect()));
        let writes = rig.sync().writes;
        hashed += writes.hashed();
        // Those that drained had no slot: only memberships go.
        assert_eq!(writes.total(), STEP as u64);
        rig.compare(&all)?;
    }
    assert_eq!(hashed, 3 * LARGE as u64);

    // Its end frees everything that was its own.
    let before = rig.used();
    let large = all.remove(0);
    let key = ObjectKey::new("default", &large.name());
    rig.engine.handle(Event::ServiceGone(key));
    for n in 0..large.slices.len() {
        let key = ObjectKey::new("default", &large.slice_name(n));
        rig.engine.handle(Event::SliceGone(key));
    }
    let report = rig.sync();
    assert_eq!(report.writes.hashed(), 4 + LARGE as u64);
    rig.compare(&all)?;
    assert_eq!(before, small, "a rolling update leaves nothing behind");
    // Slots are given out in steps of a quarter of a power of two.
    let of_it = 4 + 2 * u32::try_from(LARGE)? + 1 + 5120;
    assert_eq!(rig.used(), small - of_it);
    Ok(())
}

fn more_endpoints_than_a_service_can_have_are_refused_aloud_and_nobody_else_is() -> Result<()> {
    const MOST: usize = 65_535;
    let mut all = world(3, 0);
    let mut next = u32::from(ROLLED);
    let whole = fresh(&mut next, MOST);
    all[1].slices = whole.chunks(1000).map(<[_]>::to_vec).collect();
    let mut rig = Rig::new()?;
    rig.list(&all);
    rig.compare(&all)?;
    // One too many: what stands stays, and is named; another Service goes on.
    let last = all[1].slices.len() - 1;
    all[1].slices[last].extend(fresh(&mut next, 1));
    rig.engine.handle(Event::Slice(slice(&all[1], last)));
    all[2].slices[0].pop();
    rig.engine.handle(Event::Slice(slice(&all[2], 0)));
    let report = rig.engine.sync(&mut rig.maps);
    assert_eq!(report.failed.len(), 1, "{:?}", report.failed);
    let key = ObjectKey::new("default", &all[1].name());
    let problems = rig.engine.problems();
    assert_eq!(problems.len(), 1);
    assert!(
        problems[&key][0].contains("has 65536 endpoints, more than 65535"),
        "{problems:?}"
    );
    let mut stands = all.clone();
    stands[1].slices[last].pop();
    rig.compare(&stands)?;
    // Fewer again: carried as it is, and no longer named.
    all[1].slices[last].remove(0);
    rig.put(&all[1], last);
    assert!(rig.engine.problems().is_empty());
    rig.compare(&all)
}
