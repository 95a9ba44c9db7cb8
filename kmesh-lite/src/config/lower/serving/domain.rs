//! Domains that others have already.

use super::super::{Diagnostics, Spot};

/// Top-level domains under which names are registered, beside those of two letters, which are all for countries. There are a
/// thousand more of them, which few take for names of their own.
const REGISTERED: [&str; 60] = [
    "aero",
    "app",
    "arpa",
    "asia",
    "bank",
    "biz",
    "blog",
    "cat",
    "city",
    "cloud",
    "club",
    "com",
    "company",
    "coop",
    "design",
    "dev",
    "digital",
    "edu",
    "email",
    "events",
    "fun",
    "global",
    "gov",
    "group",
    "host",
    "info",
    "int",
    "jobs",
    "life",
    "live",
    "llc",
    "mil",
    "mobi",
    "museum",
    "name",
    "net",
    "network",
    "news",
    "one",
    "online",
    "org",
    "page",
    "pro",
    "services",
    "shop",
    "site",
    "solutions",
    "space",
    "store",
    "studio",
    "systems",
    "tech",
    "tel",
    "today",
    "top",
    "travel",
    "website",
    "work",
    "world",
    "xyz",
];

/// Warns of a domain whose names programs would look for elsewhere, or that hides names of others.
pub fn check(spot: Spot<'_>, domain: &str, report: &mut Diagnostics) {
    let (top, is_alone) = match domain.rsplit_once('.') {
        Some((_, top)) => (top, false),
        None => (domain, true),
    };
    let special = match top {
        "local" => Some("programs ask multicast DNS for names below `local` (RFC 6762)"),
        "localhost" => Some("`localhost` is this host to every program (RFC 6761)"),
        "invalid" => Some("nothing below `invalid` exists (RFC 6761)"),
        "onion" => Some("names below `onion` are never asked of DNS (RFC 7686)"),
        "alt" => Some("names below `alt` are never asked of DNS (RFC 9476)"),
        _ => None,
    };
    let is_registered = top.len() == 2 || REGISTERED.binary_search(&top).is_ok();
    if let Some(why) = special {
        report.push(spot.warning(why).help(PRIVATE));
    } else if is_registered && domain != "home.arpa" {
        let message = match is_alone {
            true => format!(
                "`{domain}` is a domain of the Internet: none of its names could be reached any more"
            ),
            false => format!(
                "`{domain}` is below `{top}`, a domain of the Internet: names of it that the mesh does not have cannot be reached any more"
            ),
        };
        report.push(spot.warning(message).help(PRIVATE));
    }
}

const PRIVATE: &str = "`mesh`, `internal` and what is below them are nobody's; a domain of your own is fine if nothing else has names below it";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_order() {
        assert!(REGISTERED.is_sorted());
    }
}
