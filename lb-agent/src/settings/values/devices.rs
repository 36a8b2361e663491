//! Which devices the packet path is attached to.

use anyhow::{Result, ensure};

/// Devices of the packet path.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Devices {
    /// Those with a node address, a default route or a route to backends, followed live.
    #[default]
    Auto,
    /// Exactly these.
    Named(Vec<String>),
}

impl Devices {
    /// The devices of `--devices` and `--attach-tc` together; `None` if neither flag is given.
    pub fn of(
        devices: Option<Vec<String>>,
        attach_tc: Option<Vec<String>>,
    ) -> Result<Option<Self>> {
        let auto = devices.iter().flatten().any(|device| device == "auto");
        ensure!(
            !auto || devices.as_ref().is_some_and(|all| all.len() == 1),
            "--devices auto stands alone: devices beside it are found anyway"
        );
        let given = devices.is_some() || attach_tc.is_some();
        let named = if auto { None } else { devices };
        let mut named: Vec<String> = named.into_iter().chain(attach_tc).flatten().collect();
        named.retain(|device| !device.is_empty());
        Ok(given.then_some(if named.is_empty() {
            Self::Auto
        } else {
            Self::Named(named)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_flag_names_devices() {
        let list = |names: &[&str]| -> Vec<String> { names.iter().map(|s| (*s).into()).collect() };
        let named = |names: &[&str]| Some(Devices::Named(list(names)));
        let of = |devices: &[&str], tc: &[&str]| {
            let given = |names: &[&str]| (!names.is_empty()).then(|| list(names));
            Devices::of(given(devices), given(tc))
        };
        assert_eq!(of(&[], &[]).unwrap(), None);
        assert_eq!(of(&["auto"], &[]).unwrap(), Some(Devices::Auto));
        assert_eq!(of(&[""], &[]).unwrap(), Some(Devices::Auto));
        assert_eq!(of(&["auto"], &["eth0"]).unwrap(), named(&["eth0"]));
        assert_eq!(of(&[], &["eth0"]).unwrap(), named(&["eth0"]));
        assert_eq!(of(&["eth0"], &["eth1"]).unwrap(), named(&["eth0", "eth1"]));
        assert!(of(&["auto", "eth0"], &[]).is_err());
    }
}
