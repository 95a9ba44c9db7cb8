use super::*;
use crate::api::{
    About, CallerStatus, ConfigStatus, Counter, EndpointHealth, EndpointStatus, Findings,
    OrderStatus, PriorityStatus, TableUse, TrafficStatus, TrialState, TrialStatus,
};

fn status() -> Status {
    let endpoint = |address: &str, locality: &str, weight, connects| EndpointStatus {
        endpoint: address.to_owned(),
        address: address.to_owned(),
        locality: locality.to_owned(),
        weight,
        connects,
        ..EndpointStatus::default()
    };
    Status {
        state: State::Routing,
        verdict: "routing 1 service over 2 endpoints".to_owned(),
        failure: None,
        config: Some(ConfigStatus {
            path: "/etc/kmesh/mesh.toml".into(),
            present: true,
            files: vec![
                "/etc/kmesh/mesh.toml".into(),
                "/etc/kmesh/mesh.d/a.toml".into(),
            ],
            problems: None,
        }),
        last_reload: None,
        last_pass: None,
        trial: None,
        lockouts: Vec::new(),
        departed: Vec::new(),
        orders: Vec::new(),
        names: Vec::new(),
        events: None,
        datapath: DatapathStatus {
            policies: Vec::new(),
            absent: Vec::new(),
            attached: vec!["/".to_owned()],
            callers: vec![
                CallerStatus {
                    name: "haproxy.service".to_owned(),
                    treatment: "waypoint".to_owned(),
                    cgroups: vec!["/system.slice/haproxy.service".to_owned()],
                },
                CallerStatus {
                    name: "backup.service".to_owned(),
                    treatment: "bypass".to_owned(),
                    cgroups: Vec::new(),
                },
            ],
            services: vec![ServiceStatus {
                name: "payments".to_owned(),
                frontends: vec!["10.96.0.10:80/tcp".to_owned()],
                policy: "failover".to_owned(),
                prefer: vec!["region".to_owned(), "zone".to_owned()],
                waypoint: None,
                connects: 1234,
                open_connections: 12,
                traffic: TrafficStatus {
                    failed: [("refused".to_owned(), 5), ("timed_out".to_owned(), 2)].into(),
                    ..TrafficStatus::default()
                },
                refuses: false,
                uses_all: false,
                priorities: vec![
                    PriorityStatus {
                        priority: 0,
                        in_use: true,
                        endpoints: vec![endpoint("192.168.1.10", "eu-1/eu-1a", 1, 1200)],
                    },
                    PriorityStatus {
                        priority: 1,
                        in_use: false,
                        endpoints: vec![endpoint("192.168.1.11", "", 30, 34)],
                    },
                ],
            }],
            outcomes: vec![
                Counter {
                    name: "endpoint".to_owned(),
                    count: 1234,
                },
                Counter {
                    name: "pass_direct".to_owned(),
                    count: 0,
                },
            ],
            capacity: vec![TableUse {
                table: "endpoints".to_owned(),
                used: 2,
                room: 128,
                limit: Some(100_000),
            }],
        },
        daemon: Some(About {
            version: "0.1.0".to_owned(),
            commit: "abc".to_owned(),
            layout_version: 1,
            pid: 7,
            started: "2026-01-01T00:00:00.000Z".to_owned(),
        }),
        agent: None,
        dns: None,
    }
}

fn plain(status: &Status, one: bool) -> String {
    anstream::adapter::strip_str(&text(status, one)).to_string()
}

#[test]
fn the_verdict_comes_first_and_columns_are_aligned() {
    assert_eq!(
        plain(&status(), false),
        "\
routing 1 service over 2 endpoints

services
  name      frontends          policy                    endpoints  connects  failed  open
  payments  10.96.0.10:80/tcp  failover by region, zone          2      1234       7    12

endpoints
  service   priority  endpoint      locality    weight  connects  failed  open
  payments         0  192.168.1.10  eu-1/eu-1a       1      1200       0     0  in use
  payments         1  192.168.1.11  -               30        34       0     0

special callers
  unit or cgroup   treatment  runs in
  haproxy.service  waypoint   /system.slice/haproxy.service
  backup.service   bypass     no cgroup: it is not running, or not by this name

daemon
  file         /etc/kmesh/mesh.toml and 1 drop-in
  attached to  /
  version      0.1.0 (abc), pid 7, since 2026-01-01T00:00:00.000Z

connects
  outcome   count
  endpoint   1234

capacity
  table      used  room now   limit
  endpoints     2       128  100000
"
    );
}

#[test]
fn problems_follow_the_verdict_or_the_service_that_was_asked_for() {
    let mut status = status();
    status.state = State::Keeping;
    status.verdict = "keeping the last good state: mesh.toml has 1 error".to_owned();
    status.config.as_mut().unwrap().problems = Some(Findings {
        errors: 1,
        text: "error: unknown key `vip`\n".to_owned(),
        ..Findings::default()
    });
    let text = plain(&status, false);
    let start = "keeping the last good state: mesh.toml has 1 error (below)\n\n\
                 error: unknown key `vip`\n\nservices\n";
    assert!(text.starts_with(start), "{text}");
    let one = plain(&status, true);
    assert!(one.ends_with("\n\nerror: unknown key `vip`\n"), "{one}");
}

#[test]
fn many_endpoints_are_shown_a_service_at_a_time() {
    let mut status = status();
    let endpoints = &mut status.datapath.services[0].priorities[0].endpoints;
    *endpoints = vec![EndpointStatus::default(); MOST_ENDPOINTS + 1];
    let text = plain(&status, false);
    assert!(
        text.contains("62 endpoints; `kmesh-lite status NAME`"),
        "{text}"
    );
    assert!(plain(&status, true).contains("\nendpoints\n"));
}

#[test]
fn a_name_that_has_not_resolved_is_worse_where_its_service_refuses() {
    let name = |addresses: &[&str], error: Option<&str>| NameStatus {
        name: "db.internal".to_owned(),
        srv: false,
        services: vec!["web".to_owned()],
        addresses: addresses.iter().map(ToString::to_string).collect(),
        since: None,
        error: error.map(str::to_owned),
        failing_since: None,
        in_part: false,
        refused: Vec::new(),
        left_out: 0,
    };
    let mut status = status();
    let web = status.datapath.services.iter_mut();
    let web = web.into_iter().next().expect("a service");
    (web.name, web.refuses, web.uses_all) = ("web".to_owned(), false, false);
    web.priorities.clear();
    status.datapath.services.truncate(1);
    let mut told = |names: Vec<NameStatus>, refuses: bool| {
        status.names = names;
        status.datapath.services[0].refuses = refuses;
        (severity(&status), down(&status))
    };
    let failed = || name(&[], Some("NXDOMAIN"));
    let words = "; db.internal has not resolved".to_owned();
    assert_eq!(
        told(vec![failed()], true),
        (Severity::Critical, words.clone())
    );
    assert_eq!(told(vec![failed()], false), (Severity::Warning, words));
    for known in [name(&[], None), name(&["10.0.0.1"], Some("NXDOMAIN"))] {
        assert_eq!(told(vec![known], false), (Severity::Ok, String::new()));
    }
}

/// An endpoint in a state of its health; `ready` without any.
fn standing(state: &str) -> EndpointStatus {
    let health = (state != "ready").then(|| EndpointHealth {
        state: state.to_owned(),
        usable: state == "healthy",
        ..EndpointHealth::default()
    });
    EndpointStatus {
        endpoint: "192.168.1.10".to_owned(),
        weight: 1,
        health,
        ..EndpointStatus::default()
    }
}

#[test]
fn what_keeps_endpoints_from_being_used_is_called_by_its_name() {
    let mut status = status();
    let mut told = |states: &[&str]| {
        let service = &mut status.datapath.services[0];
        (service.refuses, service.uses_all) = (true, false);
        service.priorities.truncate(1);
        let endpoints = states.iter().map(|state| standing(state));
        service.priorities[0].endpoints = endpoints.collect();
        let line = down(&status);
        let table = plain(&status, false);
        let words = line.replace(" of payments", "").replace("; ", "");
        if !words.is_empty() {
            assert!(table.contains(&format!("refuses: {words}\n")), "{table}");
        }
        (severity(&status), line)
    };
    for (states, severity, line) in [
        (
            &["draining"; 2][..],
            Severity::Warning,
            "; all endpoints of payments are drained",
        ),
        (
            &["maintenance"],
            Severity::Warning,
            "; all endpoints of payments are in maintenance",
        ),
        (
            &["ejected", "ejected"],
            Severity::Critical,
            "; all endpoints of payments are ejected",
        ),
        (
            &["unhealthy"],
            Severity::Critical,
            "; all endpoints of payments are down",
        ),
        (
            &["draining", "unhealthy", "maintenance", "draining"],
            Severity::Critical,
            "; no endpoint of payments may be used: 1 down, 2 drained, 1 in maintenance",
        ),
        (
            &["draining", "healthy"],
            Severity::Warning,
            "; no endpoint of payments may be used: 1 drained, 1 out of reach by the policy or the address family",
        ),
        // As the file says.
        (&["ready"], Severity::Ok, ""),
        (&[], Severity::Ok, ""),
    ] {
        assert_eq!(told(states), (severity, line.to_owned()), "{states:?}");
    }
}

#[test]
fn a_weight_of_zero_that_is_wanted_of_an_endpoint_is_told_as_drained() {
    let mut status = status();
    let service = &mut status.datapath.services[0];
    service.refuses = true;
    service.priorities.truncate(1);
    let mut endpoint = standing("ready");
    endpoint.weight = 0;
    service.priorities[0].endpoints = vec![endpoint.clone()];
    let words = "refuses: all endpoints are drained";
    assert_eq!(severity(&status), Severity::Ok, "the file says so");
    assert!(plain(&status, false).contains(words));
    endpoint.health = Some(EndpointHealth {
        state: "ready".to_owned(),
        usable: true,
        order: Some(OrderStatus {
            weight: Some(0),
            ..OrderStatus::default()
        }),
        ..EndpointHealth::default()
    });
    status.datapath.services[0].priorities[0].endpoints = vec![endpoint];
    assert_eq!(severity(&status), Severity::Warning);
    assert!(plain(&status, false).contains(words));
}

#[test]
fn those_that_are_down_and_used_nevertheless_are_told_beside_those_that_are_not() {
    let mut status = status();
    let service = &mut status.datapath.services[0];
    service.uses_all = true;
    service.priorities.truncate(1);
    let told = |status: &mut Status, states: &[&str]| {
        let endpoints = states.iter().map(|state| standing(state));
        status.datapath.services[0].priorities[0].endpoints = endpoints.collect();
        down(status)
    };
    assert_eq!(
        told(&mut status, &["unhealthy"; 2]),
        "; all endpoints of payments are down, and used nevertheless"
    );
    assert_eq!(
        told(&mut status, &["unhealthy", "draining"]),
        "; no endpoint of payments is as it should be: 1 down, 1 drained; what nobody took out is used nevertheless"
    );
    let other = status.datapath.services[0].clone();
    status.datapath.services.push(other);
    let both = told(&mut status, &["unhealthy"]);
    assert!(
        both.ends_with(", and 1 other service is no better"),
        "{both}"
    );
}

#[test]
fn a_trial_says_how_long_it_waits_below_the_verdict() {
    let mut status = status();
    let mut trial = TrialStatus {
        state: TrialState::Pending,
        begun: "2026-01-01T00:00:00.000Z".to_owned(),
        until: "2026-01-01T00:01:00.000Z".to_owned(),
        left_s: Some(43),
        taken_back: None,
    };
    status.trial = Some(trial.clone());
    let expected = "routing 1 service over 2 endpoints\n\
                    on trial: the state before comes back in 43 seconds, unless `kmesh-lite confirm` comes before\n";
    assert!(plain(&status, false).starts_with(expected));
    trial.left_s = None;
    trial.state = TrialState::TakenBack;
    status.trial = Some(trial);
    assert!(!plain(&status, false).contains("on trial"));
}
