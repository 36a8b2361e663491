//! The maps as text: each frontend with its backends, without ids and indices, so that two agents
//! that know the same objects print the same. Empty maps are an empty text; what nothing leads to
//! is shown as left over.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt::Write as _,
};

use lb_common::{
    Proto,
    backend::{self, Backend},
    frontend::{self, FrontendValue, scope},
    member::{self, MemberKey},
    pool::{Pool, flags},
    slot::Slot,
};

use crate::{
    maps::{
        Maps,
        table::{ArrayTable, MapError, SourceRangeKey},
    },
    model::Scheduler,
};

/// A frontend's text, its scope, its flags, and where it leads.
type Frontend = (String, u8, u32, u32);

/// What is not shown yet.
struct Reader<'a> {
    pools: BTreeMap<u32, Pool>,
    backends: BTreeMap<u32, Backend>,
    slots: &'a dyn ArrayTable<Slot>,
    /// Backends that were shown.
    shown: BTreeSet<u32>,
    /// By pool index.
    members: BTreeMap<u32, Vec<(MemberKey, u32)>>,
    /// By pool index.
    ranges: BTreeMap<u32, Vec<SourceRangeKey>>,
}

/// Reads every table.
pub fn dump(maps: &Maps) -> Result<String, MapError> {
    // In full: a new row in the list of tables does not compile until it is shown here.
    let Maps {
        frontends: vips,
        nodeports,
        nodeaddrs,
        members,
        srcranges,
        pools,
        slots,
        backends,
        programs: _,
    } = maps;
    let mut frontends: Vec<Frontend> = Vec::new();
    for (key, FrontendValue { pool: index, flags }) in vips.entries()? {
        let (text, index) = if flags & frontend::VIP_MARK == 0 {
            (socket(key.addr, key.port, key.proto), index)
        } else {
            // The pool that decides about ping is not one that it leads to.
            (key.addr.to_string(), 0)
        };
        frontends.push((text, key.scope, flags, index));
    }
    for (key, FrontendValue { pool: index, flags }) in nodeports.entries()? {
        let proto = proto(key.proto);
        let text = format!("*:{}/{proto} v{}", key.port, key.family);
        frontends.push((text, key.scope, flags, index));
    }
    frontends.sort();
    let mut out = String::new();
    for (addr, value) in sorted(nodeaddrs.entries()?) {
        let _ = writeln!(out, "node address {addr} on device {}", value.ifindex);
    }
    let (marks, frontends): (Vec<_>, Vec<_>) = frontends
        .into_iter()
        .partition(|(_, _, flags, _)| flags & frontend::VIP_MARK != 0);
    for line in lines(&marks.iter().collect::<Vec<_>>()) {
        let _ = writeln!(out, "vip {line}");
    }

    let mut reader = Reader {
        pools: pools.used()?.into_iter().collect(),
        backends: backends.used()?.into_iter().collect(),
        slots: &**slots,
        shown: BTreeSet::new(),
        members: grouped(sorted(members.entries()?), |(key, _)| key.pool),
        ranges: grouped(
            sorted(srcranges.entries()?).into_iter().map(|(key, _)| key),
            |key| key.data.pool,
        ),
    };
    let mut of_index: BTreeMap<u32, Vec<&Frontend>> = BTreeMap::new();
    for frontend in &frontends {
        of_index.entry(frontend.3).or_default().push(frontend);
    }
    for (_, _, _, index) in &frontends {
        let Some(ours) = of_index.remove(index) else {
            continue;
        };
        for line in lines(&ours) {
            let _ = writeln!(out, "{line}");
        }
        reader.pool(*index, &mut out)?;
    }
    reader.left_over(&mut out);
    Ok(out)
}

/// The flags of a member that has a slot.
const SLOT: u32 = member::ELIGIBLE | member::SERVING;
/// The flags of a member that gets what leaves those that topology hints prefer.
const SPILLS_TO: u32 = member::ELIGIBLE | member::SERVING | member::OUTSIDE;

impl Reader<'_> {
    /// Shows the pool under an index, and takes it out.
    fn pool(&mut self, index: u32, out: &mut String) -> Result<(), MapError> {
        let Some(pool) = self.pools.remove(&index) else {
            let _ = writeln!(out, "  leads nowhere");
            return Ok(());
        };
        let name = Scheduler::from_number(pool.scheduler).map_or("?", Scheduler::name);
        let _ = write!(out, "  {name}");
        if pool.affinity_secs > 0 {
            let _ = write!(out, " affinity {}s", pool.affinity_secs);
        }
        if pool.max_connections > 0 {
            let _ = write!(out, " max-connections {}", pool.max_connections);
        }
        if pool.max_age_secs > 0 {
            let _ = write!(out, " max-connection-age {}s", pool.max_age_secs);
        }
        for (bit, text) in [
            (flags::SOURCE_RANGES, "source-ranges"),
            (flags::MASQUERADE, "snat"),
            (flags::NO_LOCAL, "no-local-endpoint"),
            (flags::RESET, "reset"),
            (flags::WATCHED, "passive-health"),
            (flags::SPILLS, "spills"),
        ] {
            if pool.flags & bit != 0 {
                let _ = write!(out, " {text}");
            }
        }
        if pool.count == 0 && pool.flags & flags::HAS_ENDPOINTS == 0 {
            let _ = write!(out, " no-endpoint");
        }
        out.push('\n');
        for key in self.ranges.remove(&index).unwrap_or_default() {
            let v4 = key.data.addr.is_v4();
            let bits = key.prefix_len - 32 - if v4 { 96 } else { 0 };
            let _ = writeln!(out, "  from {}/{bits}", key.data.addr);
        }
        let members = self.members.remove(&index).unwrap_or_default();
        let mut kept: BTreeMap<u32, u32> = members
            .into_iter()
            .map(|(key, flags)| (key.backend, flags))
            .collect();
        let mut slots: Vec<(u32, u32)> = Vec::new();
        for at in pool.base..pool.base + u32::from(pool.count) {
            let slot = self.slots.load(at)?;
            if slot.pool != index {
                let _ = writeln!(out, "  slot {at} of another service");
            }
            match slots.iter_mut().find(|(id, _)| *id == slot.backend) {
                Some((_, times)) => *times += 1,
                None => slots.push((slot.backend, 1)),
            }
        }
        for (id, times) in slots {
            let value = kept.remove(&id);
            let text = self.backend(id);
            let _ = write!(out, "  -> {text}");
            let weight = value.map_or(member::WEIGHT, member::weight);
            if weight != member::WEIGHT {
                let _ = write!(out, " weight {weight}");
            }
            if times > 1 {
                let _ = write!(out, " in {times} slots");
            }
            let flags = value.map(|value| value & !member::weight_bits(u16::MAX));
            if flags != Some(SLOT) {
                let _ = write!(out, " (member {flags:?})");
            }
            out.push('\n');
        }
        let mut kept: Vec<String> = kept
            .into_iter()
            .map(|(id, flags)| {
                let (verb, odd) = match flags & !member::weight_bits(u16::MAX) {
                    member::SERVING => ("keeps", ""),
                    member::KEPT => ("lets go of", ""),
                    SPILLS_TO => ("spills to", ""),
                    _ => ("keeps", " (odd member)"),
                };
                format!("  {verb} {}{odd}", self.backend(id))
            })
            .collect();
        kept.sort();
        for line in kept {
            let _ = writeln!(out, "{line}");
        }
        Ok(())
    }

    fn backend(&mut self, id: u32) -> String {
        self.shown.insert(id);
        let Some(b) = self.backends.get(&id) else {
            return "free backend".to_owned();
        };
        let mut text = socket(b.addr, b.port, b.proto);
        match b.state {
            backend::state::TERMINATING => text += " terminating",
            backend::state::QUARANTINED => text += " quarantined",
            _ => {}
        }
        if b.flags & backend::flags::LOCAL != 0 {
            text += " local";
        }
        if b.flags & backend::flags::OWN != 0 {
            text += " own-address";
        }
        text
    }

    /// What nothing leads to.
    fn left_over(&mut self, out: &mut String) {
        for pool in self.pools.values() {
            let _ = writeln!(out, "left over: service of {} slots", pool.count);
        }
        for (key, _) in std::mem::take(&mut self.members).into_values().flatten() {
            let _ = writeln!(out, "left over: member {}", self.backend(key.backend));
        }
        for key in self.ranges.values().flatten() {
            let _ = writeln!(out, "left over: source range {}", key.data.addr);
        }
        let rest = self
            .backends
            .iter()
            .filter(|(id, _)| !self.shown.contains(id));
        for (_, b) in rest {
            let _ = writeln!(
                out,
                "left over: backend {}",
                socket(b.addr, b.port, b.proto)
            );
        }
    }
}

/// One line for each frontend; one that is the same from inside and outside is one line.
fn lines(frontends: &[&Frontend]) -> Vec<String> {
    let all: HashSet<&Frontend> = frontends.iter().copied().collect();
    let mut lines = Vec::new();
    for (text, from, flags, index) in frontends {
        let has = |other: u8| all.contains(&(text.clone(), other, *flags, *index));
        let kinds = [
            (frontend::CLUSTER_IP, "cluster-ip"),
            (frontend::NODE_PORT, "node-port"),
            (frontend::LOAD_BALANCER, "load-balancer"),
            (frontend::EXTERNAL_IP, "external-ip"),
        ];
        let kinds = kinds.iter().filter(|(bit, _)| flags & bit != 0);
        let kinds = kinds.map(|(_, name)| *name).collect::<Vec<_>>().join(" ");
        match (*from, has(scope::INTERNAL), has(scope::EXTERNAL)) {
            (scope::INTERNAL, _, true) => lines.push(format!("{text} {kinds}")),
            (scope::INTERNAL, _, false) => lines.push(format!("{text} {kinds} (from inside)")),
            (_, true, _) => {}
            (_, false, _) => lines.push(format!("{text} {kinds} (from outside)")),
        }
    }
    lines
}

fn socket(addr: lb_common::Addr, port: u16, number: u8) -> String {
    let ip = std::net::IpAddr::from(addr);
    format!("{}/{}", std::net::SocketAddr::new(ip, port), proto(number))
}

fn proto(number: u8) -> String {
    Proto::from_number(number).map_or_else(|| number.to_string(), |p| p.to_string())
}

fn sorted<K: Ord + Copy, V>(mut entries: Vec<(K, V)>) -> Vec<(K, V)> {
    entries.sort_by_key(|(key, _)| *key);
    entries
}

/// The elements by number, each group in its order.
fn grouped<T>(all: impl IntoIterator<Item = T>, by: impl Fn(&T) -> u32) -> BTreeMap<u32, Vec<T>> {
    let mut groups: BTreeMap<u32, Vec<T>> = BTreeMap::new();
    for one in all {
        groups.entry(by(&one)).or_default().push(one);
    }
    groups
}
