//! Whose connections are handled.

use kmesh_lite::host::CgroupError;
use kmesh_lite::kernel::{HookError, KernelError};
use kmesh_lite_ebpf::Outcome;
use kmesh_lite_tests::cgroup::Cgroup;
use kmesh_lite_tests::client::{Client, Reached, address, call};
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::eventually::eventually;
use kmesh_lite_tests::host::{Host, Running, mesh, more};
use nix::errno::Errno;
use std::path::Path;
use std::process::Command;

const WEB: &str = r#"
    [services.web]
    vips = ["10.96.0.10"]
    ports = ["80:8080"]
    endpoints = ["127.0.0.2"]
"#;

/// A program without the mesh finds no route.
const OUTSIDE: Reached = Err(Errno::ENETUNREACH);

fn routed() -> Reached {
    Ok(address("127.0.0.2:8080"))
}

fn vip() -> Reached {
    call("10.96.0.10:80")
}

/// A mesh that names its cgroups itself.
fn capture(cgroups: &[&Path]) -> String {
    format!("[capture]\ncgroups = {cgroups:?}\n{WEB}")
}

fn bypass(what: &[&str]) -> String {
    format!("[capture]\nbypass = {what:?}\n{WEB}")
}

/// Programs attached to a cgroup, as bpftool shows them.
fn programs(cgroup: &Cgroup) -> Vec<String> {
    let output = Command::new("bpftool")
        .args(["cgroup", "show"])
        .arg(cgroup.folder())
        .output()
        .expect("bpftool");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // The first line is a heading.
    text.lines().skip(1).map(str::to_owned).collect()
}

/// `waypoint-limits.md` says so: what counts is where the socket was made.
#[test]
fn a_socket_that_is_older_than_its_process_in_the_cgroup_is_not_routed() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let one = host.cgroup.child("one").unwrap();
    let early = Client::tcp4();
    let mut mesh = Running::anywhere();
    mesh.reload(&capture(&[one.path()]));
    let _inside = one.enter().unwrap();
    assert_eq!(early.connect("10.96.0.10:80"), Err(Errno::ENETUNREACH));
    assert_eq!(vip(), routed());
}

#[test]
fn the_mesh_reaches_the_listed_cgroups_and_those_below_them() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let below = |name| host.cgroup.child(name).unwrap();
    let (one, two, other) = (below("one"), below("two"), below("other"));
    let nested = one.child("nested").unwrap();
    let mut mesh = Running::anywhere();
    mesh.reload(&capture(&[one.path(), two.path()]));
    for (cgroup, reached) in [
        (&one, routed()),
        (&nested, routed()),
        (&two, routed()),
        (&other, OUTSIDE),
        (&host.cgroup, OUTSIDE),
    ] {
        assert_eq!(cgroup.run(vip).unwrap(), reached, "{:?}", cgroup.path());
    }
}

#[test]
fn the_mesh_follows_the_list_of_cgroups() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let (one, two) = (
        host.cgroup.child("one").unwrap(),
        host.cgroup.child("two").unwrap(),
    );
    let mut mesh = Running::anywhere();
    for (listed, expected) in [
        (vec![one.path()], [routed(), OUTSIDE]),
        (vec![one.path(), two.path()], [routed(), routed()]),
        (vec![two.path()], [OUTSIDE, routed()]),
        (vec![one.path()], [routed(), OUTSIDE]),
    ] {
        mesh.reload(&capture(&listed));
        assert_eq!(mesh.snapshot().unwrap().attached, listed);
        assert_eq!(
            [&one, &two].map(|cgroup| cgroup.run(vip).unwrap()),
            expected
        );
    }
    // Open connections may need some of the programs; another pass finds that there are none.
    mesh.reload(&capture(&[one.path()]));
    let left = programs(&two);
    // That which follows connections stays for some minutes, for those that no table tells of.
    assert!(
        left.iter().all(|it| it.contains(" connections ")),
        "{left:?}"
    );
}

#[test]
fn a_connect_is_handled_once_where_a_cgroup_and_one_below_it_are_captured() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let below = host.cgroup.child("below").unwrap();
    // As `--cgroup` may be given: one below the other, and one of them twice in two spellings.
    let mut mesh = Running::of(vec![
        below.path().to_owned(),
        host.cgroup.path().to_owned(),
        host.cgroup.folder().to_owned(),
    ]);
    mesh.reload(WEB);
    let _inside = below.enter().unwrap();
    let client = Client::tcp4();
    assert_eq!(client.connect("10.96.0.10:80"), Ok(()));
    // A second run of the program would see the backend's address, and forget the first.
    assert_eq!(client.peer(), Ok(address("10.96.0.10:80")));
    assert_eq!(mesh.outcomes()[&Outcome::Endpoint], 1);
}

#[test]
fn a_cgroup_that_was_removed_and_made_again_is_captured_again() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let mut mesh = Running::anywhere();
    for _ in 0..2 {
        let unit = host.cgroup.child("unit").unwrap();
        mesh.reload(&capture(&[unit.path()]));
        assert_eq!(unit.run(vip).unwrap(), routed());
    }
}

#[test]
fn cgroups_that_are_there_are_captured_whatever_else_is_listed() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let there = host.cgroup.child("there").unwrap();
    let later = host.cgroup.path().join("later");
    let text = capture(&[there.path(), &later]);
    let mut mesh = Running::anywhere();
    mesh.reload(&text);
    assert_eq!(there.run(vip).unwrap(), routed());
    // What comes later does not wait for the pass that it causes.
    let later = host.cgroup.child("later").unwrap();
    assert_eq!(later.run(vip).unwrap(), OUTSIDE);
    mesh.meet(&self::mesh(&text));
    assert_eq!(later.run(vip).unwrap(), routed());
    mesh.reload(&text);
    assert_eq!(mesh.snapshot().unwrap().attached.len(), 2);
}

#[test]
fn captured_units_are_captured_wherever_they_are() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let name = format!("y-{}.service", std::process::id());
    let slice = host.cgroup.child("some.slice").unwrap();
    let container = slice.child("pod.service").unwrap();
    let (unit, twin) = (slice.child(&name).unwrap(), container.child(&name).unwrap());
    let mut mesh = Running::anywhere();
    mesh.reload(&capture(&[Path::new(&name)]));
    assert_eq!(unit.run(vip).unwrap(), routed());
    // What is inside a unit is its own, whatever it is called.
    assert_eq!(twin.run(vip).unwrap(), OUTSIDE);
    assert_eq!(slice.run(vip).unwrap(), OUTSIDE);
}

#[test]
fn bypassed_paths_are_left_alone_with_all_that_is_below() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let alone = host.cgroup.child("alone").unwrap();
    let nested = alone.child("a").unwrap();
    let deeper = nested.child("b").unwrap();
    let path = alone.path().to_str().unwrap();
    let mut mesh = host.run(&bypass(&[path]));
    for cgroup in [&alone, &nested, &deeper] {
        assert_eq!(cgroup.run(vip).unwrap(), OUTSIDE);
    }
    assert_eq!(vip(), routed());
    assert_eq!(mesh.outcomes()[&Outcome::PassBypass], 3);
    // And no longer, when the list is empty.
    mesh.reload(WEB);
    assert_eq!(deeper.run(vip).unwrap(), routed());
}

#[test]
fn bypassed_units_are_left_alone_wherever_they_are() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    // Unit names are searched for in the whole tree: this one must not meet another test's.
    let name = format!("x-{}.service", std::process::id());
    let slice = host.cgroup.child("some.slice").unwrap();
    let nested = slice.child("nested.slice").unwrap();
    let (unit, twin) = (nested.child(&name).unwrap(), slice.child(&name).unwrap());
    let inner = unit.child("inner").unwrap();
    let other = slice.child(&format!("not-{name}")).unwrap();
    let _mesh = host.run(&bypass(&[&name]));
    for cgroup in [&unit, &twin, &inner] {
        assert_eq!(cgroup.run(vip).unwrap(), OUTSIDE, "{:?}", cgroup.path());
    }
    for cgroup in [&other, &nested, &slice] {
        assert_eq!(cgroup.run(vip).unwrap(), routed(), "{:?}", cgroup.path());
    }
}

#[test]
fn bypassed_programs_reach_a_backend_past_its_waypoint() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080, 15008]);
    let alone = host.cgroup.child("alone").unwrap();
    let _mesh = host.run(&format!(
        r#"
        [capture]
        bypass = [{:?}]

        [waypoints.edge]
        address = "127.0.1.1:15008"
        header = "none"

        [endpoints.captured]
        address = "127.0.0.3"
        waypoint = "edge"
        "#,
        alone.path()
    ));
    assert_eq!(call("127.0.0.3:8080"), Ok(address("127.0.1.1:15008")));
    let reached = alone.run(|| call("127.0.0.3:8080")).unwrap();
    assert_eq!(reached, Ok(address("127.0.0.3:8080")));
}

#[test]
fn the_daemon_is_left_alone_and_nobody_else() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let _mesh = host.run_as_daemon(WEB);
    assert_eq!(vip(), OUTSIDE);
    // Every thread of it.
    std::thread::scope(|scope| {
        let reached = scope.spawn(vip).join().unwrap();
        assert_eq!(reached, OUTSIDE);
    });
    // Another process is no part of it.
    let script = "exec 3<>/dev/tcp/10.96.0.10/80; head -n 1 <&3";
    let shell = Command::new("bash").args(["-c", script]).output().unwrap();
    assert_eq!(shell.stdout, b"127.0.0.2:8080\n", "{shell:?}");
}

#[test]
fn a_cgroup_belongs_to_one_mesh_and_a_second_is_told_whose() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let first = host.run(WEB);
    let mut second = host.idle();
    let error = second.try_follow(&mesh("")).unwrap_err();
    match &error {
        KernelError::Hook(HookError::Cgroup(CgroupError::Taken { path, pid })) => {
            assert_eq!(path, host.cgroup.path());
            assert_eq!(*pid, Some(std::process::id()));
        }
        other => panic!("{other}"),
    }
    let text = error.to_string();
    assert!(text.contains(&std::process::id().to_string()), "{text}");
    // The first goes on, and the second may when the first is gone.
    assert_eq!(vip(), routed());
    drop(first);
    assert!(eventually(|| second.try_follow(&mesh(WEB)).is_ok()));
    assert_eq!(vip(), routed());
}

#[test]
fn a_mesh_ends_without_a_trace() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let mut mesh = host.run(WEB);
    let client = Client::tcp4();
    assert_eq!(client.connect("10.96.0.10:80"), Ok(()));
    client.greeting();
    let attached = programs(&host.cgroup).len();
    assert_ne!(attached, 0);
    // Tables that were replaced leave nothing either.
    let larger = format!("{WEB}\n[limits]\nservices = 500\n{}", more(100));
    assert!(mesh.reload(&larger).replaced);
    let ids = ids(&host.cgroup);
    assert_eq!(ids.len(), attached);
    drop(mesh);
    assert!(eventually(|| programs(&host.cgroup).is_empty()));
    assert_eq!(vip(), OUTSIDE);
    // Programs hold their maps, so both are gone when the programs are.
    for id in ids {
        let gone = || !bpftool(&["prog", "show", "id", &id]);
        assert!(eventually(gone), "program {id} is still there");
    }
    // Connections stay.
    client.exchange("still here\n");
}

/// Ids of the programs of a cgroup: the first column.
fn ids(cgroup: &Cgroup) -> Vec<String> {
    let first = |line: &String| line.split_whitespace().next().map(str::to_owned);
    programs(cgroup).iter().filter_map(first).collect()
}

fn bpftool(arguments: &[&str]) -> bool {
    let output = Command::new("bpftool").args(arguments).output();
    output.expect("bpftool").status.success()
}
