//! Whom backends see: what the annotation `lb-agent.io/forwarding` and `--forwarding` choose.

/// How packets of clients are carried to backends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Forwarding {
    /// A backend on the node where a packet arrives sees the client, one on another node that node.
    #[default]
    Auto,
    /// Every backend sees the node where the packet arrived.
    Snat,
}

impl Forwarding {
    /// Every way.
    pub const ALL: [Self; 2] = [Self::Auto, Self::Snat];

    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Snat => "snat",
        }
    }

    /// The way of this word; else what is wrong with it, and what works.
    pub fn parse(word: &str) -> Result<Self, String> {
        if let Some(found) = Self::ALL.into_iter().find(|way| way.name() == word) {
            return Ok(found);
        }
        let known = Self::ALL.map(Self::name).join(", ");
        Err(match word {
            "dsr" => format!(
                "not supported (answers would leave straight from the backend's node): known are {known}; externalTrafficPolicy: Local shows backends the client on every node"
            ),
            _ => format!("known are {known}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_what_is_not_supported_names_what_is() {
        for way in Forwarding::ALL {
            assert_eq!(Forwarding::parse(way.name()), Ok(way));
        }
        let error = Forwarding::parse("dsr").unwrap_err();
        assert!(
            error.contains("not supported") && error.contains("known are auto, snat"),
            "{error}"
        );
        assert_eq!(
            Forwarding::parse("Snat"),
            Err("known are auto, snat".to_owned())
        );
    }
}
