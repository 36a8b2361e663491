//! The orders in which the objects of a case arrive, change and go.

use anyhow::{Result, ensure};
use lb_agent::model::Event;

use super::{
    Case,
    agent::Agent,
    objects::{Changes, Objects, gone},
};

/// The order in which objects arrive, and the one in which they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// One by one, services before slices; gone in the same order.
    ServicesFirst,
    /// One by one, slices before services, the Node last; gone in the same order.
    SlicesFirst,
    /// Each kind as one list; gone as one empty list.
    Lists,
    /// Slices first, and in the middle and at the end of each stage a new agent takes over the
    /// maps.
    Restarted,
}

impl Order {
    pub(super) const ALL: [Self; 4] = [
        Self::ServicesFirst,
        Self::SlicesFirst,
        Self::Lists,
        Self::Restarted,
    ];
}

impl Case {
    /// The maps behind each stage.
    pub(super) fn run(&self, order: Order) -> Result<Vec<String>> {
        let mut agent = Agent::start(&self.config)?;
        if order != Order::Lists {
            agent.handle([
                Event::Services(vec![]),
                Event::Slices(vec![]),
                Event::NodeGone,
            ])?;
        }
        let mut texts = Vec::new();
        let mut before: Option<&Objects> = None;
        for objects in &self.stages {
            agent = match before {
                None => self.arrive(agent, order, objects)?,
                Some(before) => self.change(agent, order, objects, &objects.since(before))?,
            };
            texts.push(agent.text(&objects.skipped)?);
            before = Some(objects);
        }
        if let Some(last) = before {
            leave(&mut agent, order, last)?;
        }
        Ok(texts)
    }

    /// The first stage.
    fn arrive(&self, mut agent: Agent, order: Order, objects: &Objects) -> Result<Agent> {
        let node = [objects.node.clone()];
        let addresses = [Event::Addresses(self.addresses.clone())];
        match order {
            Order::ServicesFirst => {
                agent.handle(node)?;
                agent.handle(addresses)?;
                agent.handle(objects.services.clone())?;
                agent.handle(objects.slices.clone())?;
            }
            Order::SlicesFirst => {
                agent.handle(objects.slices.clone())?;
                agent.handle(objects.services.clone())?;
                agent.handle(addresses)?;
                agent.handle(node)?;
            }
            Order::Lists => agent.handle(self.lists(objects))?,
            Order::Restarted => {
                let half = objects.slices.len().div_ceil(2);
                agent.handle(objects.slices[..half].to_vec())?;
                agent.handle(objects.services.clone())?;
                agent = agent.restart(&self.config)?;
                agent.handle(objects.services.clone())?;
                agent.handle(self.lists(objects))?;
                agent = self.restart_writes_nothing(agent, objects)?;
            }
        }
        Ok(agent)
    }

    /// A later one.
    fn change(
        &self,
        mut agent: Agent,
        order: Order,
        objects: &Objects,
        changes: &Changes,
    ) -> Result<Agent> {
        let Changes {
            services,
            slices,
            node,
        } = changes;
        match order {
            Order::ServicesFirst => {
                agent.handle(node.clone())?;
                agent.handle(services.clone())?;
                agent.handle(slices.clone())?;
            }
            Order::SlicesFirst => {
                agent.handle(slices.clone())?;
                agent.handle(services.clone())?;
                agent.handle(node.clone())?;
            }
            Order::Lists => agent.handle(self.lists(objects))?,
            Order::Restarted => {
                // What happened while no agent ran.
                agent.handle(slices.clone())?;
                agent = agent.restart(&self.config)?;
                agent.handle(self.lists(objects))?;
                agent = self.restart_writes_nothing(agent, objects)?;
            }
        }
        Ok(agent)
    }

    fn restart_writes_nothing(&self, agent: Agent, objects: &Objects) -> Result<Agent> {
        let mut agent = agent.restart(&self.config)?;
        let before = agent.writes();
        agent.handle(self.lists(objects))?;
        let writes = agent.writes() - before;
        ensure!(
            agent.has_conflicts() || writes == 0,
            "a restart wrote {writes} elements"
        );
        Ok(agent)
    }

    fn lists(&self, objects: &Objects) -> Vec<Event> {
        let services = objects.services.iter().filter_map(|e| match e {
            Event::Service(s) => Some(s.clone()),
            _ => None,
        });
        let slices = objects.slices.iter().filter_map(|e| match e {
            Event::Slice(s) => Some(s.clone()),
            _ => None,
        });
        vec![
            Event::Addresses(self.addresses.clone()),
            Event::Slices(slices.collect()),
            Event::Services(services.collect()),
            objects.node.clone(),
        ]
    }
}

/// Everything goes, and the maps are empty.
fn leave(agent: &mut Agent, order: Order, objects: &Objects) -> Result<()> {
    let gone = |events: &[Event]| -> Vec<Event> { events.iter().filter_map(gone).collect() };
    match order {
        Order::ServicesFirst | Order::Restarted => {
            agent.handle(gone(&objects.services))?;
            agent.handle(gone(&objects.slices))?;
        }
        Order::SlicesFirst => {
            agent.handle(gone(&objects.slices))?;
            agent.handle(gone(&objects.services))?;
        }
        Order::Lists => agent.handle([Event::Services(vec![]), Event::Slices(vec![])])?,
    }
    agent.handle([Event::Addresses(vec![])])?;
    let left = agent.dump()?;
    ensure!(left.is_empty(), "left in the maps:\n{left}");
    Ok(())
}
