//! Connections of endpoints that are removed are ended after the commit, and never before.

use super::*;

fn mesh(on_remove: &str, endpoints: &str) -> String {
    format!(
        "services.web = {{ vips = ['auto'], ports = [80], endpoints = [{endpoints}], on_remove = '{on_remove}' }}"
    )
}

const BOTH: &str = "'10.0.0.1', '10.0.0.2'";
const ONE: &str = "'10.0.0.1'";

#[test]
fn nothing_is_ended_while_a_pass_fails() {
    let daemon = Fixture::start(Some(&mesh("kill", BOTH)));
    daemon.kernel.inside().fail = Some(Broken::Hook);
    daemon.write(&mesh("kill", ONE));
    assert!(daemon.reload().is_err());
    // The look of whoever asks must not end what the tables still have, either. Once passes work again, the timer makes
    // one at any moment.
    daemon.status();
    assert_eq!(daemon.kernel.inside().ended, []);
    daemon.kernel.inside().fail = None;
    assert!(daemon.reload().is_ok());
    let ended = daemon.kernel.inside().ended.clone();
    let peers: Vec<_> = ended[0]
        .values()
        .flatten()
        .map(ToString::to_string)
        .collect();
    assert_eq!(peers, ["10.0.0.2"]);
}

#[test]
fn an_endpoint_that_is_put_back_meanwhile_loses_nothing() {
    let daemon = Fixture::start(Some(&mesh("kill", BOTH)));
    daemon.kernel.inside().fail = Some(Broken::Hook);
    daemon.write(&mesh("kill", ONE));
    assert!(daemon.reload().is_err());
    daemon.kernel.inside().fail = None;
    daemon.write(&mesh("kill", BOTH));
    assert!(daemon.reload().is_ok());
    daemon.status();
    assert_eq!(daemon.kernel.inside().ended, []);
}

#[test]
fn only_kill_ends_anything() {
    for on_remove in ["keep", "drain"] {
        let daemon = Fixture::start(Some(&mesh(on_remove, BOTH)));
        daemon.write(&mesh(on_remove, ONE));
        assert!(daemon.reload().is_ok());
        daemon.status();
        assert_eq!(daemon.kernel.inside().ended, []);
    }
}
