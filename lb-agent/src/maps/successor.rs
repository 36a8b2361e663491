//! A new table that takes over what its predecessor holds, because its layout or size changed.

use super::{
    list::{Array, Hash, Table},
    table::{ArrayTable, HashTable, MapError},
};

/// A table that is opened empty and filled from an older one.
pub(super) trait Successor {
    /// Fails if the content of `old` does not fit.
    fn fits(&self, old: &Self, table: Table) -> Result<(), MapError>;
    /// Copies everything that `old` holds.
    fn copy_from(&mut self, old: &Self) -> Result<(), MapError>;
}

impl<K, V> Successor for Hash<K, V> {
    fn fits(&self, old: &Self, table: Table) -> Result<(), MapError> {
        entries_fit(&**old, &**self, table.name())
    }

    fn copy_from(&mut self, old: &Self) -> Result<(), MapError> {
        copy_entries(&**old, &mut **self)
    }
}

impl<T> Successor for Array<T> {
    /// A smaller array will do if nothing is used behind its end.
    fn fits(&self, old: &Self, table: Table) -> Result<(), MapError> {
        let capacity = self.len();
        if capacity < old.len()
            && old
                .used()?
                .last()
                .is_some_and(|(last, _)| *last >= capacity)
        {
            let map = table.name();
            return Err(MapError::Full { map, capacity });
        }
        Ok(())
    }

    fn copy_from(&mut self, old: &Self) -> Result<(), MapError> {
        copy_elements(&**old, &mut **self)
    }
}

/// Fails if one hash map holds more entries than another has room for.
pub(crate) fn entries_fit<K, V>(
    from: &dyn HashTable<K, V>,
    to: &dyn HashTable<K, V>,
    map: &'static str,
) -> Result<(), MapError> {
    let capacity = to.capacity();
    if from.entries()?.len() <= capacity as usize {
        Ok(())
    } else {
        Err(MapError::Full { map, capacity })
    }
}

/// Inserts every entry of one hash map into another.
pub(crate) fn copy_entries<K, V>(
    from: &dyn HashTable<K, V>,
    to: &mut dyn HashTable<K, V>,
) -> Result<(), MapError> {
    to.insert(&from.entries()?).error.map_or(Ok(()), Err)
}

/// Stores every element of one array in another, which is new, as far as both have them.
pub(crate) fn copy_elements<T>(
    from: &dyn ArrayTable<T>,
    to: &mut dyn ArrayTable<T>,
) -> Result<(), MapError> {
    for (index, element) in from.used()? {
        if index < to.len() {
            to.store(index, &element)?;
        }
    }
    Ok(())
}
