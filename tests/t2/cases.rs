//! Tier 2: every file of `tests/cases` holds Kubernetes objects and one behaviour; beside it stands what the maps of node
//! `n1` hold for them. `UPDATE=1` rewrites those. Each case runs in several orders of arrival and ends in empty maps.

use std::{fs, net::IpAddr, path::Path};

use anyhow::{Context as _, Result, bail, ensure};
use lb_agent::{
    maps::{
        Maps,
        mem::{self, Limits, SharedWorld},
    },
    model::{Cidr, Event, Scheduler},
    plan::PlanConfig,
    sync::{Engine, HealthCheck, dump::dump},
    watch::{convert_service, convert_slice, object::Object, yaml},
};

const NODE: &str = "n1";

/// A case file, read.
struct Case {
    config: PlanConfig,
    addresses: Vec<(IpAddr, u32)>,
    services: Vec<Event>,
    slices: Vec<Event>,
    node: Event,
    /// Objects that are none of ours, and why.
    skipped: Vec<String>,
}

/// The order in which objects arrive, and the one in which they go.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// One by one, services before slices; gone in the same order.
    ServicesFirst,
    /// One by one, slices before services, the Node last; gone in the same order.
    SlicesFirst,
    /// Each kind as one list; gone as one empty list.
    Lists,
    /// Slices first, and in the middle and at the end a new agent takes over the maps.
    Restarted,
}

#[test]
fn every_case_in_every_order() -> Result<()> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut paths: Vec<_> = fs::read_dir(&dir)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    paths.retain(|p| p.extension().is_some_and(|e| e == "yaml"));
    paths.sort();
    let mut failures = Vec::new();
    for path in &paths {
        if let Err(error) = case(path) {
            failures.push(format!("{}: {error:#}", path.display()));
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n\n"));
    ensure!(
        paths.len() >= 40,
        "only {} cases in {}",
        paths.len(),
        dir.display()
    );
    println!("{} cases", paths.len());
    Ok(())
}

fn case(path: &Path) -> Result<()> {
    let case = Case::read(&fs::read_to_string(path)?)?;
    let expected = path.with_extension("txt");
    let orders = [
        Order::ServicesFirst,
        Order::SlicesFirst,
        Order::Lists,
        Order::Restarted,
    ];
    for order in orders {
        let found = case.run(order).with_context(|| format!("{order:?}"))?;
        if std::env::var_os("UPDATE").is_some() && matches!(order, Order::ServicesFirst) {
            fs::write(&expected, &found)?;
        }
        let wanted = fs::read_to_string(&expected)
            .with_context(|| format!("{} (UPDATE=1 writes it)", expected.display()))?;
        ensure!(
            found == wanted,
            "{order:?}: not as in {}; found:\n{found}",
            expected.display()
        );
    }
    Ok(())
}

impl Case {
    /// Lines `# config: KEY VALUE` set what flags set.
    fn read(text: &str) -> Result<Self> {
        let mut case = Self {
            config: PlanConfig {
                node_name: NODE.into(),
                ..PlanConfig::default()
            },
            addresses: Vec::new(),
            services: Vec::new(),
            slices: Vec::new(),
            node: Event::NodeGone,
            skipped: Vec::new(),
        };
        for line in text.lines().filter_map(|l| l.strip_prefix("# config: ")) {
            case.configure(line).with_context(|| line.to_owned())?;
        }
        let documents = yaml::read(text);
        ensure!(documents.problems.is_empty(), "{:?}", documents.problems);
        for object in &documents.objects {
            let skipped = match object {
                Object::Service(o) => convert_service::service(o).err(),
                Object::Slice(o) => convert_slice::slice(o).err(),
                Object::Node(_) | Object::ServiceCidr(_) => None,
            };
            if let Some(not_ours) = skipped {
                let line = format!("skipped {}: {}", not_ours.key, not_ours.reason);
                case.skipped.push(line);
            }
            match (object, object.event()) {
                (Object::Service(_), event) => case.services.push(event),
                (Object::Slice(_), event) => case.slices.push(event),
                (_, Event::Node(node)) if &*node.name == NODE => case.node = Event::Node(node),
                _ => {}
            }
        }
        Ok(case)
    }

    fn configure(&mut self, line: &str) -> Result<()> {
        let (key, value) = line.split_once(' ').context("not KEY VALUE")?;
        match key {
            "external-ips" => {
                let network = Cidr::parse(value).context("no network")?;
                self.config.external_ips.push(network);
            }
            "scheduler" => {
                self.config.scheduler = Scheduler::parse(value).context("no scheduler")?;
            }
            "lb0" => self.config.lb0 = value.parse()?,
            "address" => self.addresses.push((value.parse()?, 2)),
            _ => bail!("unknown key"),
        }
        Ok(())
    }

    fn run(&self, order: Order) -> Result<String> {
        let mut agent = Agent::start(self)?;
        let one_by_one = !matches!(order, Order::Lists);
        if one_by_one {
            agent.tell([
                Event::Services(vec![]),
                Event::Slices(vec![]),
                Event::NodeGone,
            ])?;
        }
        let node = [self.node.clone()];
        let addresses = [Event::Addresses(self.addresses.clone())];
        match order {
            Order::ServicesFirst => {
                agent.tell(node)?;
                agent.tell(addresses)?;
                agent.tell(self.services.clone())?;
                agent.tell(self.slices.clone())?;
            }
            Order::SlicesFirst => {
                agent.tell(self.slices.clone())?;
                agent.tell(self.services.clone())?;
                agent.tell(addresses)?;
                agent.tell(node)?;
            }
            Order::Lists => agent.tell(self.lists())?,
            Order::Restarted => {
                let half = self.slices.len().div_ceil(2);
                agent.tell(self.slices[..half].to_vec())?;
                agent.tell(self.services.clone())?;
                agent = agent.restart(self)?;
                agent.tell(self.services.clone())?;
                agent.tell(self.lists())?;
                agent = agent.restart(self)?;
                let before = agent.world.lock().total_writes();
                agent.tell(self.lists())?;
                let writes = agent.world.lock().total_writes() - before;
                let contested = agent
                    .engine
                    .problems()
                    .values()
                    .flatten()
                    .any(|p| p.contains("belongs to"));
                ensure!(
                    contested || writes == 0,
                    "a restart wrote {writes} elements"
                );
            }
        }
        let text = agent.text(self)?;

        let gone = |events: &[Event]| -> Vec<Event> { events.iter().filter_map(gone).collect() };
        match order {
            Order::ServicesFirst | Order::Restarted => {
                agent.tell(gone(&self.services))?;
                agent.tell(gone(&self.slices))?;
            }
            Order::SlicesFirst => {
                agent.tell(gone(&self.slices))?;
                agent.tell(gone(&self.services))?;
            }
            Order::Lists => agent.tell([Event::Services(vec![]), Event::Slices(vec![])])?,
        }
        agent.tell([Event::Addresses(vec![])])?;
        let left = agent.dump()?;
        ensure!(left.is_empty(), "left in the maps:\n{left}");
        Ok(text)
    }

    fn lists(&self) -> Vec<Event> {
        let services = self.services.iter().filter_map(|e| match e {
            Event::Service(s) => Some(s.clone()),
            _ => None,
        });
        let slices = self.slices.iter().filter_map(|e| match e {
            Event::Slice(s) => Some(s.clone()),
            _ => None,
        });
        vec![
            Event::Addresses(self.addresses.clone()),
            Event::Slices(slices.collect()),
            Event::Services(services.collect()),
            self.node.clone(),
        ]
    }
}

/// What undoes an event.
fn gone(event: &Event) -> Option<Event> {
    match event {
        Event::Service(s) => Some(Event::ServiceGone(s.key.clone())),
        Event::Slice(s) => Some(Event::SliceGone(s.key.clone())),
        _ => None,
    }
}

struct Agent {
    maps: Maps,
    world: SharedWorld,
    engine: Engine,
}

impl Agent {
    fn start(case: &Case) -> Result<Self> {
        let maps = mem::new(Limits {
            hash: 4096,
            pools: 128,
            slots: 4096,
            backends: 512,
        });
        Self::over(maps, case)
    }

    fn over((mut maps, world): (Maps, SharedWorld), case: &Case) -> Result<Self> {
        let engine = Engine::restore(&mut maps, case.config.clone())?;
        Ok(Self {
            maps,
            world,
            engine,
        })
    }

    fn restart(self, case: &Case) -> Result<Self> {
        Self::over((self.maps, self.world), case)
    }

    /// Each event is written before the next one comes.
    fn tell(&mut self, events: impl IntoIterator<Item = Event>) -> Result<()> {
        for event in events {
            self.engine.handle(event);
            let report = self.engine.sync(&mut self.maps);
            ensure!(report.failed.is_empty(), "{:?}", report.failed);
        }
        let violations = &self.world.lock().violations;
        ensure!(violations.is_empty(), "{violations:#?}");
        Ok(())
    }

    fn dump(&mut self) -> Result<String> {
        let report = self.engine.settle(&mut self.maps);
        ensure!(report.failed.is_empty(), "{:?}", report.failed);
        Ok(dump(&mut self.maps)?)
    }

    /// The maps, and what the agent says beside them.
    fn text(&mut self, case: &Case) -> Result<String> {
        let mut lines = vec![self.dump()?];
        for (service, check) in self.engine.health_checks() {
            let HealthCheck { facts, carried } = check;
            for (family, n) in ["", " IPv6"].iter().zip(facts.local_endpoints) {
                let Some(n) = n else { continue };
                let but = if *carried { "" } else { ", not carried" };
                lines.push(format!(
                    "health check {} of {service}: {n} local{family}{but}\n",
                    facts.port
                ));
            }
        }
        for (service, problems) in self.engine.problems() {
            let told = problems.iter().map(|p| format!("problem {service}: {p}\n"));
            lines.extend(told);
        }
        lines.extend(case.skipped.iter().map(|line| format!("{line}\n")));
        Ok(lines.concat())
    }
}
