//! The names of the mesh: whether they are answered, and whether programs of this host ask.

use super::{Check, Finding, text};
use crate::api::{DnsStatus, ListenerStatus, Status, UpstreamStatus};
use crate::control::ClientError;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// The link over which systemd-resolved asks, which `packaging/split-zone` makes.
const LINK: &str = "/sys/class/net/kmesh-names";
const PORT: u16 = 53;

/// How questions of programs of this host come to the agent.
#[derive(Clone, Debug, Default)]
pub struct Ways {
    /// The servers of /etc/resolv.conf.
    servers: Vec<IpAddr>,
    /// Whether systemd-resolved has been told.
    is_split: bool,
}

pub fn look() -> Ways {
    let parsed = text("/etc/resolv.conf").and_then(|text| resolv_conf::Config::parse(text).ok());
    let servers = parsed.map_or_else(Vec::new, |config| {
        config.nameservers.iter().map(IpAddr::from).collect()
    });
    Ways {
        servers,
        is_split: Path::new(LINK).exists(),
    }
}

/// None where no names are served.
pub fn judge(status: &Result<Status, ClientError>, ways: &Ways) -> Option<Check> {
    let dns = status.as_ref().ok()?.dns.as_ref()?;
    let mut findings = vec![Finding::fine(format!(
        "{} names are answered at {}",
        dns.names,
        listed(&dns.listeners)
    ))];
    findings.extend(dns.listeners.iter().filter_map(listener));
    findings.extend(dns.upstreams.iter().filter_map(upstream));
    findings.extend(skipped(dns));
    findings.extend(way(dns, ways));
    Some(Check::of("dns", findings))
}

fn listed(listeners: &[ListenerStatus]) -> String {
    let listeners: Vec<_> = listeners.iter().map(|it| it.listen.as_str()).collect();
    listeners.join(", ")
}

fn listener(listener: &ListenerStatus) -> Option<Finding> {
    let at = &listener.listen;
    let error = listener.error.as_ref()?;
    Some(Finding::problem(
        format!("names are not answered at {at}: {error}"),
        format!(
            "`ss -lnp 'sport = :{}'` shows who listens there; stop it, or change `[dns] listen`",
            port(at)
        ),
    ))
}

fn port(address: &str) -> u16 {
    let address = address.parse::<SocketAddr>();
    address.map_or(PORT, |address| address.port())
}

fn upstream(upstream: &UpstreamStatus) -> Option<Finding> {
    let (address, error) = (&upstream.address, upstream.error.as_ref()?);
    Some(Finding::warning(
        format!("{address}, which is asked for other names, fails: {error}"),
        format!(
            "`dig @{} -p {} .`; then `[dns] upstreams`, or /etc/resolv.conf",
            host(address),
            port(address)
        ),
    ))
}

fn host(address: &str) -> String {
    let parsed = address.parse::<SocketAddr>();
    parsed.map_or_else(|_| address.to_owned(), |address| address.ip().to_string())
}

/// Why questions are not captured that should be.
fn skipped(dns: &DnsStatus) -> Option<Finding> {
    let why = dns.capture.as_ref()?.skipped.as_ref()?;
    Some(Finding::warning(
        format!("questions to other servers are not captured, and go where they are sent: {why}"),
        "`kmesh-lite status` has the agent, its listeners and its upstreams; capture begins again by itself",
    ))
}

/// Whether anybody asks who was not told to.
fn way(dns: &DnsStatus, ways: &Ways) -> Option<Finding> {
    let is_listed = |server: &IpAddr| {
        dns.listeners.iter().any(|it| {
            let listen = it.listen.parse::<SocketAddr>();
            listen.is_ok_and(|listen| {
                let ip = listen.ip();
                let is_reached = ip == *server
                    || (ip.is_unspecified()
                        && ip.is_ipv4() == server.is_ipv4()
                        && server.is_loopback());
                is_reached && listen.port() == PORT
            })
        })
    };
    let is_captured = dns.capture.is_some();
    if is_captured || ways.is_split || ways.servers.iter().any(is_listed) {
        return None;
    }
    Some(Finding::warning(
        "no program of this host asks the agent for names: /etc/resolv.conf leads elsewhere, and systemd-resolved was not told",
        "with systemd-resolved: `systemctl start kmesh-lite-resolved`; else `nameserver 127.0.0.1` as the first one in \
         /etc/resolv.conf, with a listener at port 53; OPERATING.md, \"Names of the mesh\", has all ways",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::CaptureStatus;
    use crate::doctor::Verdict;

    fn dns(listen: &str) -> DnsStatus {
        DnsStatus {
            domain: "mesh".to_owned(),
            listeners: vec![ListenerStatus {
                listen: listen.to_owned(),
                serving: true,
                error: None,
            }],
            names: 3,
            behind: false,
            upstreams: Vec::new(),
            queries: Vec::new(),
            cached: 0,
            capture: None,
        }
    }

    fn judged(dns: Option<DnsStatus>, ways: &Ways) -> Option<Check> {
        let status = Status {
            dns,
            ..crate::doctor::daemon::tests::running(crate::api::State::Routing).unwrap()
        };
        judge(&Ok(status), ways)
    }

    fn leads_to(server: &str) -> Ways {
        Ways {
            servers: vec![server.parse().unwrap()],
            is_split: false,
        }
    }

    #[test]
    fn somebody_has_to_ask() {
        let told = Ways {
            is_split: true,
            ..leads_to("127.0.0.53")
        };
        for (listen, ways, verdict) in [
            ("127.0.0.1:53", leads_to("127.0.0.1"), Verdict::Fine),
            ("0.0.0.0:53", leads_to("127.0.0.1"), Verdict::Fine),
            ("0.0.0.0:53", leads_to("10.0.0.53"), Verdict::Warning),
            ("127.0.0.1:5354", leads_to("127.0.0.1"), Verdict::Warning),
            ("127.0.0.1:5354", told, Verdict::Fine),
        ] {
            let check = judged(Some(dns(listen)), &ways).unwrap();
            assert_eq!(check.verdict, verdict, "{listen}: {}", check.found);
        }
    }

    #[test]
    fn a_listener_that_is_taken_and_an_upstream_that_fails_are_told() {
        let mut dns = dns("127.0.0.1:53");
        dns.listeners[0].error = Some("address already in use".to_owned());
        dns.upstreams.push(UpstreamStatus {
            address: "10.0.0.53:53".to_owned(),
            error: Some("no answer".to_owned()),
            since: None,
            sent: 3,
            failed: 3,
        });
        let check = judged(Some(dns), &leads_to("127.0.0.1")).unwrap();
        assert_eq!(check.verdict, Verdict::Problem);
        let lines: Vec<_> = check.found.lines().collect();
        assert_eq!(
            lines,
            [
                "names are not answered at 127.0.0.1:53: address already in use",
                "10.0.0.53:53, which is asked for other names, fails: no answer",
            ]
        );
        assert!(check.todo.unwrap().contains("sport = :53"));
    }

    #[test]
    fn captured_questions_need_no_other_way_and_skipped_ones_are_told() {
        let captured = |skipped: Option<&str>| DnsStatus {
            capture: Some(CaptureStatus {
                cgroups: Vec::new(),
                on: skipped.is_none(),
                skipped: skipped.map(str::to_owned),
            }),
            ..dns("127.0.0.1:15053")
        };
        let check = judged(Some(captured(None)), &leads_to("10.0.0.53")).unwrap();
        assert_eq!(check.verdict, Verdict::Fine, "{}", check.found);
        let skipped = captured(Some("no upstream answers"));
        let check = judged(Some(skipped), &leads_to("10.0.0.53")).unwrap();
        assert_eq!(check.verdict, Verdict::Warning);
        assert!(
            check.found.ends_with("no upstream answers"),
            "{}",
            check.found
        );
    }

    #[test]
    fn without_names_there_is_no_check() {
        assert_eq!(judged(None, &Ways::default()), None);
    }
}
