use super::*;
use crate::api::PolicyClient;

fn pair(from: &str, to: &str, verdict: &str, policy: Option<&str>) -> Reach {
    Reach {
        from: from.to_owned(),
        to: to.to_owned(),
        verdict: verdict.to_owned(),
        policy: policy.map(str::to_owned),
        absent: false,
    }
}

fn said() -> Policies {
    let policy = AboutPolicy {
        name: "web-in".to_owned(),
        action: "allow".to_owned(),
        mode: "audit".to_owned(),
        services: vec!["web".to_owned()],
        clients: Some(vec![PolicyClient {
            name: "shop.service".to_owned(),
            cgroups: vec!["/system.slice/shop.service".to_owned()],
            number: None,
        }]),
        refused: 3,
        ..AboutPolicy::default()
    };
    Policies {
        policies: vec![policy],
        outbound: vec![
            pair("shop.service", "db", "allowed", None),
            pair("shop.service", "web", "allowed", Some("web-in")),
            pair("*", "db", "denied", Some("db-in")),
            pair("*", "web", "audited", Some("web-in")),
        ],
        open: vec!["dns".to_owned()],
        ..Policies::default()
    }
}

fn plain(policies: &Policies, is_one: bool, width: usize) -> String {
    let text = text(policies, is_one, width);
    anstream::adapter::strip_str(&text).to_string()
}

#[test]
fn pairs_are_a_table_of_clients_by_services() {
    let text = plain(&said(), false, 100);
    let expected = "\
1 policy

  policy  action  about  matches       refused
  web-in  allow   web    shop.service        3  in audit mode: it would have refused these

who may connect
                db               web
  shop.service  allowed          allowed by web-in
  anyone else   denied by db-in  would be denied by web-in

  1 service without a policy about clients: dns
";
    assert_eq!(text, expected);
}

#[test]
fn a_table_that_is_too_wide_is_a_list() {
    let text = plain(&said(), true, 40);
    let expected = "\
policy web-in: allow, in audit mode
  it would have refused 3 connections
  about web

  matches       which is now
  shop.service  /system.slice/shop.service

who may connect
  shop.service  -> db   allowed
  shop.service  -> web  allowed by web-in
  anyone else   -> db   denied by db-in
  anyone else   -> web  would be denied by web-in

  1 service without a policy about clients: dns
";
    assert_eq!(text, expected);
}
