//! A loader that is kept gives what a new one gives that parses each fragment as a whole.

use super::*;
use crate::config::fragment;
use crate::config::piece::documents_read;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::sync::Arc;

/// Texts that mean something, alone or together.
const SOUND: &[&str] = &[
    "[services.a]\nvips = ['10.96.0.1']\nports = [80]\nendpoints = ['10.0.0.1', '10.0.0.2']\n",
    "[services.a]\nvips = ['10.96.0.1']\nports = [80]\nendpoints = ['10.0.0.1', '10.0.0.3']\n",
    "[services.b]\nvips = ['10.96.0.2']\nports = [80, '53/udp']\nendpoints = ['10.0.0.1', 'db-1']\n",
    "[services.b]\nvips = ['10.96.0.1']\nports = [81, 80]\nendpoints = ['db-1', 'db-2']\n",
    "[services.c]\nvips = ['auto']\nports = [443]\nhostnames = ['c.mesh']\nendpoints = ['db-2']\n",
    "[services.c]\nvips = ['127.0.0.9', '::1']\nports = [443]\nendpoints = ['127.0.0.9']\n",
    "[services.c]\r\nvips = ['192.0.2.1']\r\nports = [443]\r\nendpoints = ['192.0.2.1']\r\n",
    "[services.d]\nvips = ['10.96.0.4']\nports = [80]\npolicy = 'failover'\n\
     [[services.d.endpoints]]\naddress = '10.0.0.1'\nlocality = 'here'\n\
     [[services.d.endpoints]]\naddress = '10.96.0.1'\nlocality = 'eu/b'\nweight = 0\n",
    "[services.e]\nvips = ['10.96.0.5']\nports = ['53/udp']\nwaypoint = 'w'\nendpoints = []\n",
    "[services.'e']\nvips = ['auto']\nports = [1, 2]\nwaypoint = 'v'\nendpoints = ['240.64.0.7']\n",
    "[services.f]\nvips = ['10.96.0.6']\nports = [\n80, # one\n]\nendpoints = [\n'10.0.0.9',\n\n]\n",
    "[services]\nh.vips = ['10.96.0.8']\nh.ports = [80]\ni = { vips = ['auto'], ports = [81] }\n",
    "[services.i]\nvips = ['10.96.0.1', '10.96.0.2']\nports = ['80:1', '81:1']\n\
     endpoints = ['10.0.0.1:7', { name = 'db-1', ports = { 80 = 4 }, weight = 3 }]\n",
    "[endpoints.db-1]\naddress = '10.0.0.11'\nweight = 0\n",
    "[endpoints.db-1]\naddress = '10.0.0.12'\nlocality = 'there'\n",
    "[endpoints.db-2]\naddress = '10.0.0.1'\nwaypoint = 'w'\nweight = 7\n",
    "[endpoints]\ndb-2 = { address = '10.0.0.11' }\ndb-3.address = '10.96.0.1'\n",
    "[waypoints.w]\naddress = '10.1.0.1:15008'\nheader = 'tlv'\n",
    "[waypoints.w]\naddress = '10.96.0.1:80'\nheader = 'none'\n",
    "[waypoints]\nw = { address = '10.0.0.1:15008', header = 'proxy-v2' }\nv = { address = '[::1]:1', header = 'tlv' }\n",
    "[localities]\nhere = 'eu/a'\nthere = { region = 'us' }\n",
    "[localities.here]\nregion = 'us'\n",
    "[node]\nlocality = 'here'\n",
    "[node]\nlocality = 'eu/b'\nname = 'x'\n",
    "[mesh]\nvip_ranges = ['10.96.0.0/24']\n",
    "[mesh]\nallow_empty = true\n",
    "[limits]\nservices = 100\n",
    "[capture]\nbypass = ['x.service']\n",
    "[policies.p]\naction = 'allow'\nservices = ['a', 'b']\nclients = ['x.service']\n\
     from = ['group:g', 'locality:here', 'service:d']\n",
    "[policies.p]\naction = 'deny'\nservices = ['a']\nfrom = ['10.1.0.0/16', 'group:h', 'locality:us']\n",
    "[policies.q]\naction = 'deny'\nports = [22, '192.0.2.1:80']\nfrom = ['group:g', '10.1.0.0/16']\n",
    "[policies]\nr = { action = 'allow', ports = ['20-30'], from = ['group:g'] }\n",
    // Of the second one network differs, of the third much.
    "[groups.g]\nfrom = ['10.1.0.0/24', '10.1.1.0/24', '10.1.2.0/24', '10.1.3.0/24', '10.1.4.0/24',\n\
     'fd00::/8', 'service:a', '10.1.5.0/24', '10.2.0.0/24', '10.7.0.0/16']\n",
    "[groups.g]\nfrom = ['10.1.0.0/24', '10.1.1.0/24', '10.1.2.0/24', '10.1.3.0/24', '10.1.4.0/24',\n\
     'fd00::/8', 'service:a', '10.1.5.0/24', '10.2.0.0/24', '10.3.0.0/24']\n",
    "[groups.g]\nfrom = ['10.1.0.0/24', '10.1.1.0/24', '10.1.2.0/24', '10.1.9.0/24', '10.1.4.0/24',\n\
     'fd00::/8', 'service:b', '10.1.5.0/24', '10.2.0.0/24', '10.2.0.0/24']\n",
    "[groups]\nh = { from = ['group:g', 'locality:eu/b', '10.9.0.0/16'] }\n",
    "[groups.h]\nfrom = ['group:i', '10.1.2.3']\n[groups.i]\nfrom = ['group:h', '10.0.0.0/8']\n",
];

/// Texts of which hardly anything can be made.
const BROKEN: &[&str] = &[
    "[services.g]\nhostnames = [\"\"\"\n[services.h]\n\"\"\"]\nvips = ['auto']\nports = [5]\n",
    "[limits]\nendpoints = 3\n",
    "[services.'g h']\nvips = ['auto']\nports = [5]\n",
    "[services.h]\n",
    "[services.g]\nvips = ['::']\nprots = [80]\nendpoints = '10.0.0.1'\n",
    "[services.f]\nvips = ['10.96.0.6']\nports = [\n80,\n[81],\n]\n",
    "[unknown.x]\n",
    "[node.x]\n",
    "services.a.ports = [80]\n",
    "node.name = 'y'\n",
    "\u{feff}",
    "# a comment\n",
    "\n",
    "  ",
    "\"",
    "'''",
    "[",
    "]\n",
    "=",
    "\r",
    "\0",
    "[[services.a]]\n",
    "ä",
];

#[derive(Clone, Debug)]
enum Edit {
    /// A snippet goes, or comes before what begins with a bracket.
    Switch(&'static str, Index),
    /// A text takes the place of so many bytes somewhere.
    Replace(Index, usize, &'static str),
    /// A snippet that is there becomes another one.
    Exchange(&'static str, &'static str),
    Append(&'static str),
    Prepend(&'static str),
    Empty,
    /// The file is there no longer, or again.
    Toggle,
    /// This host has an address more, or less.
    Host,
    /// The file as it was before the last edit of it.
    Undo,
}

fn edit() -> impl Strategy<Value = (usize, Edit)> {
    let snippet = || prop_oneof![12 => select(SOUND), 1 => select(BROKEN)];
    let edit = prop_oneof![
        40 => (snippet(), any::<Index>()).prop_map(|(it, at)| Edit::Switch(it, at)),
        1 => (any::<Index>(), 0..30_usize, snippet()).prop_map(|(at, n, with)| Edit::Replace(at, n, with)),
        4 => (snippet(), snippet()).prop_map(|(a, b)| Edit::Exchange(a, b)),
        4 => snippet().prop_map(Edit::Append),
        2 => snippet().prop_map(Edit::Prepend),
        1 => Just(Edit::Empty),
        2 => Just(Edit::Toggle),
        1 => Just(Edit::Host),
        6 => Just(Edit::Undo),
    ];
    (0..FILES.len(), edit)
}

const FILES: [&str; 4] = [
    "mesh.toml",
    "mesh.d/a.toml",
    "mesh.d/b.toml",
    "mesh.d/c.toml",
];

#[derive(Clone, Default)]
struct File {
    text: String,
    before: String,
    absent: bool,
    revision: u64,
}

impl File {
    fn edit(&mut self, edit: &Edit) {
        let mut text = self.text.clone();
        match edit {
            Edit::Replace(at, length, with) => {
                let start = text.floor_char_boundary(at.index(text.len() + 1));
                let end = text.floor_char_boundary((start + length).min(text.len()));
                text.replace_range(start..end.max(start), with);
            }
            Edit::Exchange(a, b) => text = text.replacen(a, b, 1),
            Edit::Append(snippet) => text.push_str(snippet),
            Edit::Prepend(snippet) => text.insert_str(0, snippet),
            Edit::Switch(snippet, _) if text.contains(snippet) => {
                text = text.replacen(snippet, "", 1);
            }
            Edit::Switch(snippet, at) => {
                let headers = text.match_indices("\n[").map(|(at, _)| at + 1);
                let places: Vec<_> = headers.chain([0, text.len()]).collect();
                text.insert_str(places[at.index(places.len())], snippet);
            }
            Edit::Empty => text.clear(),
            Edit::Toggle => self.absent = !self.absent,
            Edit::Undo => text.clone_from(&self.before),
            Edit::Host => {}
        }
        self.revision += 1;
        self.before = std::mem::replace(&mut self.text, text);
    }
}

fn fragments(files: &[File]) -> Fragments {
    let mut fragments = Fragments::default();
    for (name, file) in FILES.iter().zip(files).filter(|(_, file)| !file.absent) {
        let bytes = file.text.clone().into_bytes();
        fragments.push(fragment(Origin::new(name), file.revision, bytes));
    }
    fragments
}

/// All that is said, with every place.
fn said(problems: &Problems) -> Vec<String> {
    let problems = problems.iter();
    problems
        .map(|it| {
            let related = it.related.iter();
            let related: Vec<_> = related
                .map(|it| format!("{} {:?}: {}", it.place, it.place.span, it.message))
                .collect();
            let (span, expected, help) = (it.place.span, &it.expected, &it.help);
            format!("{it} {span:?} {expected:?} {help:?} {related:?}")
        })
        .collect()
}

fn whole(fragments: &Fragments, host: &Host) -> Loaded {
    let mut loader = Loader {
        unsplit: true,
        ..Loader::default()
    };
    loader.load(fragments, host)
}

fn check(edits: &[(usize, Edit)]) -> Result<(), TestCaseError> {
    let mut files = vec![File::default(); FILES.len()];
    let mut host = Host::default();
    let mut kept = Loader::default();
    let mut before: Option<Mesh> = None;
    for (place, edit) in edits {
        files[*place].edit(edit);
        if matches!(edit, Edit::Host) {
            let address = "192.0.2.1".parse().unwrap();
            if !host.own_addresses.remove(&address) {
                host.own_addresses.insert(address);
            }
        }
        let fragments = fragments(&files);
        let found = kept.load(&fragments, &host);
        let fresh = whole(&fragments, &host);
        let texts: Vec<_> = fragments.iter().map(|it| it.text()).collect();
        prop_assert_eq!(said(&found.problems), said(&fresh.problems), "{:#?}", texts);
        prop_assert_eq!(&found.mesh, &fresh.mesh, "{:#?}", texts);
        prop_assert_eq!(
            (found.present, found.origins),
            (fresh.present, fresh.origins)
        );
        let Some(mesh) = found.mesh else { continue };
        if let Some(before) = &before {
            for (name, service) in &mesh.services {
                let same = before.services.get(name).filter(|it| *it == service);
                prop_assert!(same.is_none_or(|it| Arc::ptr_eq(it, service)), "{}", name);
            }
        }
        before = Some(mesh);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_kept_changes_nothing(edits in vec(edit(), 1..40)) {
        check(&edits)?;
    }
}

/// Three services in a file, with a note each.
fn three(endpoint: &str) -> String {
    let service = |n: u8, endpoint: &str| {
        format!(
            "[services.s{n}]\nvips = ['127.96.0.{n}']\nports = [80]\nendpoints = ['{endpoint}']\n"
        )
    };
    let services = [
        service(1, endpoint),
        service(2, "10.0.0.2"),
        service(3, "10.0.0.3"),
    ];
    services.concat()
}

#[test]
fn only_what_changed_is_read_again() {
    let mut file = File {
        text: three("10.0.0.1"),
        ..File::default()
    };
    let host = Host::default();
    let mut loader = Loader::default();
    let mut load = |file: &File| {
        let before = documents_read();
        let loaded = loader.load(&fragments(std::slice::from_ref(file)), &host);
        assert_eq!(loaded.problems.count(Severity::Note), 3);
        (documents_read() - before, loaded.mesh.unwrap())
    };
    let (read, first) = load(&file);
    assert_eq!(read, 3);
    assert_eq!(load(&file).0, 0);
    // What follows is elsewhere in the text.
    file.text = three("10.0.0.111");
    file.revision += 1;
    let (read, second) = load(&file);
    assert_eq!(read, 1);
    let services = first.services.diff(&second.services);
    assert_eq!(services.count(), 1);
    let backends = first.backends.diff(&second.backends);
    assert_eq!(backends.count(), 2);
    // What may matter to all.
    let shared = "[endpoints.x]\naddress = '10.0.0.2'\n";
    for (text, read) in [(shared, 4), ("[node]\nname = 'x'\n", 4)] {
        file.text = format!("{text}{}", three("10.0.0.111"));
        file.revision += 1;
        assert_eq!(load(&file).0, read, "{text}");
    }
}

/// A group, and a policy that has it.
fn guarded(networks: std::ops::Range<u8>, mode: &str) -> String {
    let networks: Vec<_> = networks.map(|n| format!("'10.1.{n}.0/24'")).collect();
    let policy = format!(
        "[policies.p]\naction = 'allow'\nports = [80]\nfrom = ['group:g']\nmode = '{mode}'\n"
    );
    let group = format!("[groups.g]\nfrom = [{}]\n", networks.join(", "));
    [three("10.0.0.1"), policy, group].concat()
}

#[test]
fn a_group_is_shared_by_policies_and_by_loads() {
    let mut file = File::default();
    let host = Host::default();
    let mut loader = Loader::default();
    let mut load = |text: String| {
        file.text = text;
        file.revision += 1;
        let before = documents_read();
        let loaded = loader.load(&fragments(std::slice::from_ref(&file)), &host);
        let from = loaded.mesh.and_then(|it| it.policies["p"].from.clone());
        (documents_read() - before, from)
    };
    let (_, first) = load(guarded(0..200, "enforce"));
    let first = first.unwrap();
    // What is not valid is no reason to forget it.
    let wrong = guarded(0..1, "enforce").replace("group:g", "group:h");
    assert_eq!(load(wrong).1, None);
    load(guarded(0..200, "enforce"));
    let (read, same) = load(guarded(0..200, "audit"));
    assert_eq!(read, 1, "the policy is read again, and the group is not");
    assert!(first.ptr_eq(&same.unwrap()));
    let (read, next) = load(guarded(1..201, "audit"));
    assert_eq!(read, 1, "the group is read again, and the policy is not");
    assert_eq!(first.diff(&next.unwrap()).count(), 2);
}
