//! Changes of a configuration as folders: two files, and what becomes of the first at the second.
//!
//! `KMESH_LITE_BLESS=1` writes what is expected from what is found.

use kmesh_lite::config::Host;
use kmesh_lite::maps::Memory;
use kmesh_lite::model::{Facts, Mesh};
use kmesh_lite::sources::Files;
use kmesh_lite::tables::Row;
use kmesh_lite::tables::Tables;
use kmesh_lite_common::Member;
use kmesh_lite_tests::mesh::parse;
use kmesh_lite_tests::pass::{pass, watched_pass};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/plan");
    let mut cases: Vec<_> = fs::read_dir(&folder)
        .expect("there are cases")
        .map(|entry| entry.expect("a folder can be listed").path())
        .collect();
    cases.sort();
    cases
}

fn own_addresses() -> BTreeSet<IpAddr> {
    BTreeSet::from([parse("127.0.0.1"), parse("192.168.0.9")])
}

fn load(path: &Path) -> Mesh {
    let host = Host {
        name: "web-1".to_owned(),
        own_addresses: own_addresses(),
        ..Host::default()
    };
    let loaded = Files::new(path).load(&host);
    let problems = loaded.problems;
    let mesh = loaded.mesh;
    mesh.unwrap_or_else(|| panic!("{}: {problems:?}", path.display()))
}

/// Every row, a line each.
fn dump(tables: &Tables) -> String {
    let waypoints = tables.rows.waypoints.iter();
    let policies = tables.rows.authorizations.iter();
    let rules = tables.rows.rules.iter();
    let backends = tables.rows.backends.iter();
    let services = tables.rows.services.iter();
    let frontends = tables.rows.frontends.iter();
    let addresses = tables.rows.addresses.iter();
    let mut text = String::new();
    let mut line = |row: Row| writeln!(text, "{row}").expect("a string has room");
    waypoints.for_each(|(id, row)| line(Row::Waypoint(*id, (*row).into())));
    policies.for_each(|(id, row)| line(Row::Authorization(*id, (*row).into())));
    backends.for_each(|(id, row)| line(Row::Backend(*id, *row)));
    services.for_each(|(id, row)| line(Row::Service(*id, (*row).into())));
    rules.for_each(|(id, row)| line(Row::Rule(*id, *row)));
    frontends.for_each(|(id, row)| line(Row::Frontend(*id, *row)));
    addresses.for_each(|(id, row)| line(Row::Address(*id, *row)));
    for (first, rows) in &tables.endpoints {
        for (index, row) in (*first..).zip(rows.iter()) {
            let member = |member: Member| {
                let backend = member.backend.map(|id| id.to_string());
                let counter = member.endpoint.map(|id| id.to_string());
                let nothing = || "nothing".to_owned();
                let port = match member.port.get() {
                    0 => String::new(),
                    port => format!(":{port}"),
                };
                let backend = backend.unwrap_or_else(nothing);
                format!(
                    "{backend}{port} counter {}",
                    counter.unwrap_or_else(nothing)
                )
            };
            let (own, alias) = (member(row.own), member(row.alias));
            let (keep, weight) = (row.keep, row.weight);
            writeln!(
                text,
                "endpoint [{index}] backend {own} below {keep}, else {alias}; weight {weight}"
            )
            .expect("a string has room");
        }
    }
    text
}

/// What is different from the expectation, if anything is.
fn compare(path: &Path, found: &str) -> Option<String> {
    if std::env::var_os("KMESH_LITE_BLESS").is_some() {
        fs::write(path, found).expect("the case can be written");
        return None;
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    (expected != found).then(|| format!("{}\nexpected:\n{expected}found:\n{found}", path.display()))
}

#[test]
fn every_change_of_a_file_gives_the_tables_plan_and_words_that_are_expected() {
    let facts = Facts {
        own_addresses: own_addresses(),
        ..Facts::default()
    };
    let mut differences = Vec::new();
    for case in cases() {
        let before = load(&case.join("before.toml"));
        let after = load(&case.join("after.toml"));
        let mut maps = Memory::new(after.limits);
        pass(&mut maps, &before, &facts);
        let prepared = watched_pass(&mut maps, &after, &facts);
        let words: String = prepared
            .summary()
            .iter()
            .map(|line| format!("{line}\n"))
            .collect();
        differences.extend(compare(
            &case.join("tables.txt"),
            &dump(&prepared.desired.tables),
        ));
        differences.extend(compare(&case.join("plan.txt"), &prepared.plan.to_string()));
        differences.extend(compare(&case.join("words.txt"), &words));
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// The order of a file means nothing: the same tables written from the last to the first.
#[test]
fn the_order_of_a_file_does_not_matter() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    for case in cases() {
        let path = case.join("after.toml");
        let text = fs::read_to_string(&path).expect("every case has it");
        let mut tables: Vec<String> = Vec::new();
        for line in text.lines() {
            match tables.last_mut() {
                Some(table) if !line.starts_with('[') => writeln!(table, "{line}").expect("room"),
                _ => tables.push(format!("{line}\n")),
            }
        }
        tables.reverse();
        let reversed = folder.path().join("mesh.toml");
        fs::write(&reversed, tables.concat()).expect("it can be written");
        assert_eq!(load(&path), load(&reversed), "{}", path.display());
    }
}
