//! Whose connections are handled.

use kmesh_lite::host::CgroupError;
use kmesh_lite::kernel::{HookError, Kernel, KernelError, Options};
use kmesh_lite_ebpf::Outcome;
use kmesh_lite_tests::cgroup::Cgroup;
use kmesh_lite_tests::client::{Client, Reached, address, call};
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::eventually::eventually;
use kmesh_lite_tests::host::{Host, LIMITS, Running, mesh};
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

#[test]
fn reaches_the_listed_cgroups_and_what_is_below_them() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let below = |name| host.cgroup.child(name).unwrap();
    let (one, two, other) = (below("one"), below("two"), below("other"));
    let nested = one.child("nested").unwrap();
    let mut mesh = Running::load(Options::default());
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
fn follows_the_list() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let (one, two) = (
        host.cgroup.child("one").unwrap(),
        host.cgroup.child("two").unwrap(),
    );
    let mut mesh = Running::load(Options::default());
    for (listed, expected) in [
        (vec![one.path()], [routed(), OUTSIDE]),
        (vec![one.path(), two.path()], [routed(), routed()]),
        (vec![two.path()], [OUTSIDE, routed()]),
        (vec![one.path()], [routed(), OUTSIDE]),
    ] {
        mesh.reload(&capture(&listed));
        assert_eq!(mesh.attached(), listed);
        assert_eq!(
            [&one, &two].map(|cgroup| cgroup.run(vip).unwrap()),
            expected
        );
    }
    assert_eq!(programs(&two), Vec::<String>::new());
}

#[test]
fn of_a_cgroup_and_one_below_it_handles_each_connect_once() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let below = host.cgroup.child("below").unwrap();
    // As `--cgroup` may be given: one below the other, and one of them twice in two spellings.
    let mut mesh = Running::load(Options {
        cgroups: Some(vec![
            below.path().to_owned(),
            host.cgroup.path().to_owned(),
            host.cgroup.folder().to_owned(),
        ]),
        ..Options::default()
    });
    mesh.reload(WEB);
    let _inside = below.enter().unwrap();
    let client = Client::tcp4();
    assert_eq!(client.connect("10.96.0.10:80"), Ok(()));
    // A second run of the program would see the backend's address, and forget the first.
    assert_eq!(client.peer(), Ok(address("10.96.0.10:80")));
    let actual = mesh.read().unwrap();
    let outcomes = mesh.counters(&actual.tables).unwrap().outcomes;
    assert_eq!(outcomes[&Outcome::Endpoint], 1);
}

#[test]
fn a_cgroup_that_was_removed_and_made_again_is_attached_again() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let mut mesh = Running::load(Options::default());
    for _ in 0..2 {
        let unit = host.cgroup.child("unit").unwrap();
        mesh.reload(&capture(&[unit.path()]));
        assert_eq!(unit.run(vip).unwrap(), routed());
    }
}

#[test]
fn a_missing_cgroup_is_named() {
    let Some(_host) = Host::new() else { return };
    let mut mesh = Running::load(Options::default());
    let error = mesh
        .try_follow(&self::mesh(&capture(&[Path::new("/no/such/cgroup")])))
        .unwrap_err();
    assert!(error.to_string().contains("/no/such/cgroup"), "{error}");
}

#[test]
fn leaves_bypassed_paths_alone_with_all_that_is_below() {
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
    let actual = mesh.read().unwrap();
    let outcomes = mesh.counters(&actual.tables).unwrap().outcomes;
    assert_eq!(outcomes[&Outcome::PassBypass], 3);
    // And no longer, when the list is empty.
    mesh.reload(WEB);
    assert_eq!(deeper.run(vip).unwrap(), routed());
}

#[test]
fn leaves_bypassed_units_alone_wherever_they_are() {
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
fn leaves_bypassed_programs_alone_with_backends_that_have_a_waypoint() {
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
fn leaves_the_daemon_alone_and_nobody_else() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let mut mesh = Running::load(Options {
        cgroups: Some(vec![host.cgroup.path().to_owned()]),
        daemon: Some(std::process::id()),
        ..Options::default()
    });
    mesh.reload(WEB);
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
fn of_one_cgroup_belongs_to_one_kernel_and_the_second_is_told_whose() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let first = host.run(WEB);
    let options = Options {
        cgroups: Some(vec![host.cgroup.path().to_owned()]),
        ..Options::default()
    };
    let mut second = Kernel::load(LIMITS, options).unwrap();
    let error = second.reconcile(&mesh("")).unwrap_err();
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
    assert!(eventually(|| second.reconcile(&mesh(WEB)).is_ok()));
    assert_eq!(vip(), routed());
}

#[test]
fn ends_without_a_trace() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let mut mesh = host.run(WEB);
    let client = Client::tcp4();
    assert_eq!(client.connect("10.96.0.10:80"), Ok(()));
    client.greeting();
    assert_eq!(programs(&host.cgroup).len(), 4);
    // Tables that were replaced leave nothing either.
    let mut larger = self::mesh(WEB);
    larger.limits.endpoints *= 2;
    mesh.follow(&larger);
    assert_eq!(programs(&host.cgroup).len(), 4);
    let ids = ids(&host.cgroup);
    assert_eq!(ids.len(), 4);
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
