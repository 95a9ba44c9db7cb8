//! Policies that would cut off somebody.

use super::*;
use crate::api::{FileText, PlanText, Session};
use std::net::SocketAddr;

/// From one address of the operator's, to SSH.
fn ssh() -> (SocketAddr, SocketAddr) {
    ends("10.0.0.5:22", "10.0.0.7:50122")
}

fn ends(local: &str, peer: &str) -> (SocketAddr, SocketAddr) {
    (local.parse().unwrap(), peer.parse().unwrap())
}

/// A service, and a policy about a port of this host.
fn closed(port: u16, rest: &str) -> String {
    format!(
        "a\npolicies.closed = {{ action = 'allow', ports = [{port}], from = ['10.1.0.0/16']{rest} }}"
    )
}

const TEXT: &str = "policy `closed` would lock out the connection from 10.0.0.7:50122 to 10.0.0.5:22; \
                    `force = true` in `[policies.closed]` overrides this";

impl Fixture {
    /// A daemon with a service, and connections to its host.
    fn with_connections(connections: &[(SocketAddr, SocketAddr)]) -> Self {
        let kernel = Kernel::default();
        kernel.inside().established = connections.to_vec();
        Self::try_start(Some("a"), kernel).unwrap()
    }

    fn is_refused(&self) -> bool {
        !self.status().lockouts.is_empty()
    }

    fn holds_policies(&self) -> usize {
        let inside = self.kernel.inside();
        inside.held.as_ref().map_or(0, |mesh| mesh.policies.len())
    }

    fn plan(&self, text: &str, session: Option<Session>) -> PlanText {
        let texts = Some(vec![FileText {
            path: "other.toml".to_owned(),
            text: fake::toml(text),
        }]);
        let planned = self.ask(|reply| Request::Plan {
            texts,
            session,
            reply,
        });
        planned.unwrap()
    }
}

#[test]
fn a_policy_that_would_lock_out_the_operator_is_refused_by_the_watch() {
    let fixture = Fixture::with_connections(&[ssh()]);
    fixture.write(&closed(22, ""));
    fixture.until("it is refused", Fixture::is_refused);
    let status = fixture.status();
    assert_eq!(status.state, Kind::Keeping);
    assert!(status.verdict.ends_with(TEXT), "{}", status.verdict);
    let lockout = &status.lockouts[0];
    assert_eq!(lockout.text, TEXT);
    assert_eq!(
        (lockout.policy.as_str(), lockout.way.as_str()),
        ("closed", "session")
    );
    assert_eq!(
        (lockout.local.as_str(), lockout.peer.as_str()),
        ("10.0.0.5:22", "10.0.0.7:50122")
    );
    assert_eq!(fixture.holds_policies(), 0);
    // The state before goes on to be held.
    fixture.events.send(Event::Timer(Timer::Resync)).unwrap();
    fixture.events.send(Event::CgroupsChanged).unwrap();
    assert_eq!(fixture.status().state, Kind::Keeping);
    assert_eq!(fixture.holds_policies(), 0);
    fixture.write(&closed(22, ", force = true"));
    fixture.until("it is applied", |it| it.holds_policies() == 1);
    assert_eq!(fixture.status().state, Kind::Routing);
    assert!(!fixture.is_refused());
}

#[test]
fn a_reload_is_refused_with_the_reason_and_goes_through_once_nobody_is_there() {
    let fixture = Fixture::with_connections(&[ssh()]);
    fixture.write(&closed(22, ""));
    let failure = fixture.reload().unwrap_err();
    assert_eq!(failure.kind, FailureKind::InvalidConfiguration);
    assert!(failure.error.ends_with(TEXT), "{failure}");
    // That the connection ends is no reason to lock out its owner.
    fixture.kernel.inside().established.clear();
    fixture.write(&closed(22, ""));
    fixture.events.send(Event::Signal(Signal::Reload)).unwrap();
    assert!(fixture.is_refused());
    assert_eq!(fixture.holds_policies(), 0);
    fixture.reload().unwrap();
    assert_eq!(fixture.holds_policies(), 1);
}

#[test]
fn a_policy_that_lets_the_operator_in_or_only_counts_is_applied() {
    let fixture = Fixture::with_connections(&[ssh()]);
    let rest = ["", ", mode = 'audit'"].map(|rest| closed(22, rest));
    let let_in = "policies.operator = { action = 'allow', ports = [22], from = ['10.0.0.7'] }";
    for text in [&rest[1], &format!("{}\n{let_in}", rest[0]), &closed(80, "")] {
        fixture.write(text);
        fixture.reload().unwrap();
        assert!(fixture.holds_policies() > 0, "{text}");
        fixture.write("a");
        fixture.reload().unwrap();
    }
}

#[test]
fn whoever_comes_in_elsewhere_is_looked_after_as_well() {
    let (local, peer) = ends("10.0.0.5:2222", "10.0.0.7:50122");
    let fixture = Fixture::with_connections(&[(local, peer)]);
    let own = Session { local, peer };
    let plan = fixture.plan(&closed(2222, ""), Some(own));
    let refused =
        "policy `closed` would lock out the connection from 10.0.0.7:50122 to 10.0.0.5:2222";
    assert!(plan.lockouts[0].text.starts_with(refused), "{plan:?}");
    assert!(fixture.plan(&closed(2222, ""), None).lockouts.is_empty());
    // One that has ended, as a terminal multiplexer remembers it, is nobody's.
    let ended = Session {
        peer: "10.0.0.7:50000".parse().unwrap(),
        ..own
    };
    let plan = fixture.plan(&closed(2222, ""), Some(ended));
    assert!(plan.lockouts.is_empty());
    // Whoever has asked for a reload once is looked after by the watch, too.
    let reload = || {
        fixture.reload_with(ReloadRequest {
            confirm_s: None,
            session: Some(own),
        })
    };
    reload().unwrap();
    fixture.write(&closed(2222, ""));
    fixture.until("it is refused", Fixture::is_refused);
    assert!(reload().unwrap_err().error.contains(refused));
    assert!(fixture.reload().unwrap_err().error.contains(refused));
    fixture.kernel.inside().established.clear();
    fixture.reload().unwrap();
    assert_eq!(fixture.holds_policies(), 1);
}

#[test]
fn a_policy_that_would_keep_the_agent_from_a_checked_endpoint_is_refused() {
    let fixture = Fixture::with_connections(&[]);
    let own = "127.0.0.1";
    let text = format!(
        "services.b = {{ vips = ['auto'], ports = [80], endpoints = ['{own}'], health = 'tcp' }}\n\
         policies.closed = {{ action = 'allow', services = ['b'], from = ['10.1.0.0/16'] }}"
    );
    fixture.write(&text);
    let failure = fixture.reload().unwrap_err();
    let expected = "policy `closed` would refuse the probes of endpoint 127.0.0.1:80 of service `b`, which come \
                    from 127.0.0.1; `force = true` in `[policies.closed]` overrides this";
    assert!(failure.error.ends_with(expected), "{failure}");
    let status = fixture.status();
    assert_eq!(status.lockouts[0].way, "probe");
    assert_eq!(status.lockouts[0].service.as_deref(), Some("b"));
    fixture.write(&text.replace("'10.1.0.0/16'", "'10.1.0.0/16', '127.0.0.0/8'"));
    fixture.reload().unwrap();
    assert_eq!(fixture.holds_policies(), 1);
}

#[test]
fn what_is_refused_stays_so_after_a_restart() {
    let fixture = Fixture::with_connections(&[ssh()]);
    fixture.write(&closed(22, ""));
    fixture.until("it is refused", Fixture::is_refused);
    let folder = fixture.stop();
    // Nobody is there any more: after a crash, and after the host began anew.
    for before in [Some("a"), None] {
        let text = closed(22, "");
        let folder = Arc::clone(&folder);
        let kernel = Kernel::default();
        let fixture = Fixture::start_in(folder, before, Some(&text), kernel).unwrap();
        assert!(fixture.is_refused(), "{before:?}");
        assert_eq!(fixture.kernel.services(), ["a"]);
        assert_eq!(fixture.holds_policies(), 0);
    }
    let text = closed(22, ", force = true");
    let kernel = Kernel::default();
    let fixture = Fixture::start_in(folder, Some("a"), Some(&text), kernel).unwrap();
    assert!(!fixture.is_refused());
    assert_eq!(fixture.holds_policies(), 1);
}

#[test]
fn the_first_start_is_refused_by_connections_that_stand_and_what_was_applied_before_is_not() {
    let start = |before: Option<&str>| {
        let kernel = Kernel::default();
        kernel.inside().established = vec![ssh()];
        Fixture::start_after(before, Some(&closed(22, "")), kernel).unwrap()
    };
    let fixture = start(None);
    assert_eq!(fixture.status().state, Kind::Waiting);
    assert!(fixture.status().verdict.ends_with(TEXT));
    assert_eq!(fixture.kernel.services(), [""; 0]);
    let fixture = start(Some("a"));
    assert_eq!(fixture.status().state, Kind::Keeping);
    assert_eq!(fixture.kernel.services(), ["a"]);
    assert_eq!(fixture.holds_policies(), 0);
    let fixture = start(Some(&closed(22, "")));
    assert_eq!(fixture.status().state, Kind::Routing);
    assert_eq!(fixture.holds_policies(), 1);
}

#[test]
fn a_trial_that_is_refused_is_none_and_one_that_would_lock_out_is_refused() {
    let fixture = Fixture::with_connections(&[ssh()]);
    fixture.write(&closed(22, ""));
    let refused = fixture.reload_with(ReloadRequest {
        confirm_s: Some(3_600),
        session: None,
    });
    assert!(refused.unwrap_err().error.ends_with(TEXT));
    assert!(fixture.status().trial.is_none());
}
