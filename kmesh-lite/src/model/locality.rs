//! Where hosts and backends are, and how near that makes them.

use std::fmt;

/// Region, zone and subzone; a part that is not given is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Locality {
    pub region: Option<String>,
    pub zone: Option<String>,
    pub subzone: Option<String>,
}

/// Everything that locality routing compares.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub network: Option<String>,
    pub locality: Locality,
    pub node: Option<String>,
    pub cluster: Option<String>,
}

/// One level of a routing preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    Network,
    Region,
    Zone,
    Subzone,
    Node,
    Cluster,
}

impl Scope {
    pub const ALL: [Self; 6] = [
        Self::Network,
        Self::Region,
        Self::Zone,
        Self::Subzone,
        Self::Node,
        Self::Cluster,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Region => "region",
            Self::Zone => "zone",
            Self::Subzone => "subzone",
            Self::Node => "node",
            Self::Cluster => "cluster",
        }
    }

    /// Where something is, as far as it is known.
    pub fn of(self, place: &Place) -> Option<&str> {
        match self {
            Self::Network => &place.network,
            Self::Region => &place.locality.region,
            Self::Zone => &place.locality.zone,
            Self::Subzone => &place.locality.subzone,
            Self::Node => &place.node,
            Self::Cluster => &place.cluster,
        }
        .as_deref()
    }
}

/// How far `there` is from `here`: the number of scopes in `prefer` minus the number of leading
/// ones that match. 0 is nearest. Two unknown values match, as in Istio: a mesh that names no
/// networks is one network.
pub fn priority(prefer: &[Scope], here: &Place, there: &Place) -> usize {
    let matching = prefer
        .iter()
        .take_while(|scope| scope.of(here) == scope.of(there))
        .count();
    prefer.len() - matching
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Locality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [&self.region, &self.zone, &self.subzone];
        let known = parts
            .iter()
            .rposition(|part| part.is_some())
            .map_or(0, |last| last + 1);
        let text: Vec<_> = parts[..known]
            .iter()
            .map(|part| part.as_deref().unwrap_or("*"))
            .collect();
        f.pad(&text.join("/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(region: &str, zone: &str) -> Place {
        Place {
            locality: Locality {
                region: Some(region.to_owned()),
                zone: Some(zone.to_owned()),
                subzone: None,
            },
            ..Place::default()
        }
    }

    #[test]
    fn only_leading_scopes_count() {
        let prefer = [Scope::Region, Scope::Zone];
        let here = at("eu", "a");
        assert_eq!(priority(&prefer, &here, &at("eu", "a")), 0);
        assert_eq!(priority(&prefer, &here, &at("eu", "b")), 1);
        assert_eq!(priority(&prefer, &here, &at("us", "a")), 2);
        assert_eq!(priority(&[], &here, &at("us", "b")), 0);
    }

    #[test]
    fn unknown_matches_only_unknown() {
        let prefer = [Scope::Network];
        let mut there = Place::default();
        assert_eq!(priority(&prefer, &Place::default(), &there), 0);
        there.network = Some("dc1".to_owned());
        assert_eq!(priority(&prefer, &Place::default(), &there), 1);
    }
}
