//! A pinned array, mapped into memory.

use aya::Pod;
use lb_common::maps::MapSpec;
use lb_sys::{Error, MappedArray};

use super::{
    super::{
        dir::BpfDir,
        table::{ArrayTable, MapError},
    },
    Access, failed, open_for,
};

/// A mapped array.
#[derive(Debug)]
pub struct ArrayPin<T> {
    spec: MapSpec,
    array: MappedArray<T>,
}

impl<T: Pod> ArrayPin<T> {
    /// Opens the pin, compares its layout with the type, and maps it.
    pub fn open(dir: &BpfDir, spec: MapSpec, access: Access) -> Result<Self, MapError> {
        // A shared mapping needs a descriptor for reading and writing. With `Access::Read` its
        // pages cannot be written.
        let fd = open_for(dir, &spec, access, lb_sys::open_pin)?;
        let array = MappedArray::new(fd, access == Access::Write)
            .map_err(|e| failed(&spec, "map into memory", &e))?;
        Ok(Self { spec, array })
    }

    /// Adds to the first word of an element, atomically with respect to programs that add to it
    /// too.
    pub fn add(&self, index: u32, n: i64) -> Result<(), MapError> {
        self.array
            .add(index, n.cast_unsigned())
            .map_err(|e| failed(&self.spec, "add", &e))
    }
}

impl<T: Pod> ArrayTable<T> for ArrayPin<T> {
    fn store(&mut self, index: u32, value: &T) -> Result<(), MapError> {
        self.array.store(index, value).map_err(|e| match e {
            Error::OutOfRange { len, .. } => MapError::Full {
                map: self.spec.name,
                capacity: len,
            },
            e => failed(&self.spec, "store", &e),
        })
    }

    fn load(&self, index: u32) -> Result<T, MapError> {
        self.array
            .load(index)
            .map_err(|e| failed(&self.spec, "read", &e))
    }

    fn used(&self) -> Result<Vec<(u32, T)>, MapError> {
        let used = self.array.used();
        used.map_err(|e| failed(&self.spec, "read", &e))
    }

    fn len(&self) -> u32 {
        self.array.len()
    }
}
