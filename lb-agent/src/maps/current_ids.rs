//! Backend ids by address: a backend that left and came back has another id, and connections that
//! it had before know the former one.

use std::collections::HashMap;

use lb_common::{Addr, backend::Backend, maps};

use super::{
    dir::BpfDir,
    pinned::{Access, ArrayPin},
    table::{ArrayTable as _, MapError},
};

/// Address, port and protocol of a backend.
type Place = (Addr, u16, u8);

/// The backends, and their ids by address once somebody asks for one.
#[derive(Debug)]
pub(crate) struct CurrentIds {
    backends: ArrayPin<Backend>,
    by_place: Option<HashMap<Place, u32>>,
}

impl CurrentIds {
    /// Opens the pin.
    pub(crate) fn open(dir: &BpfDir) -> Result<Self, MapError> {
        Ok(Self {
            backends: ArrayPin::open(dir, maps::BACKENDS, Access::Read)?,
            by_place: None,
        })
    }

    /// A walk begins: what was found in the last one may have changed.
    pub(crate) fn renew(&mut self) {
        self.by_place = None;
    }

    /// The id of the backend at this place, which had `id` when it was chosen. `None` if there is
    /// none by now.
    pub(crate) fn of(&mut self, id: u32, place: Place) -> Result<Option<u32>, MapError> {
        if id < self.backends.len() && at(&self.backends.load(id)?) == place {
            return Ok(Some(id));
        }
        let by_place = match self.by_place.take() {
            Some(found) => found,
            None => self.read()?,
        };
        let found = by_place.get(&place).copied();
        self.by_place = Some(by_place);
        Ok(found)
    }

    fn read(&self) -> Result<HashMap<Place, u32>, MapError> {
        let mut found = HashMap::new();
        for id in 1..self.backends.len() {
            let backend = self.backends.load(id)?;
            if backend.port != 0 {
                found.insert(at(&backend), id);
            }
        }
        Ok(found)
    }
}

fn at(backend: &Backend) -> Place {
    (backend.addr, backend.port, backend.proto)
}
