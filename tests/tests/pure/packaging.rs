//! What the packages put on a host, as far as it can be judged without one.

use kmesh_lite::config::Host;
use kmesh_lite::report::problems::render;
use kmesh_lite::sources::Files;
use kmesh_lite_tests::require;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

fn services(path: &Path) -> usize {
    let host = Host {
        name: "web-1".to_owned(),
        own_addresses: ["192.168.1.5".parse().unwrap()].into(),
        ..Host::default()
    };
    let loaded = Files::new(path).load(&host);
    let problems = render(&loaded.problems, false);
    assert_eq!(problems, "", "{}", path.display());
    loaded.mesh.unwrap().services.len()
}

#[test]
fn the_starter_file_is_valid_and_routes_nothing() {
    assert_eq!(services(&file("packaging/mesh.toml")), 0);
}

#[test]
fn what_the_starter_file_suggests_is_valid_too() {
    let text = fs::read_to_string(file("packaging/mesh.toml")).unwrap();
    let uncommented = text.lines().map(|line| match line.strip_prefix('#') {
        // Words have a blank before them; suggestions do not, but for items of an array.
        Some(rest) if !rest.starts_with(' ') || rest.starts_with("  {") => rest,
        _ => line,
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mesh.toml");
    fs::write(&path, uncommented.collect::<Vec<_>>().join("\n")).unwrap();
    assert_eq!(services(&path), 1);
}

/// The other half, `systemd-analyze verify`, needs the installed files: see tests/system.
#[test]
fn the_units_are_hardened() {
    for (unit, most) in [("kmesh-lite", 20), ("kmesh-lite-agent", 15)] {
        let analyze = Command::new("systemd-analyze")
            .args(["security", "--offline=yes", "--no-pager"])
            .arg(format!("--threshold={most}"))
            .arg(file(&format!("systemd/{unit}.service")))
            .output();
        let Ok(output) = analyze else {
            return require::skip("systemd-analyze is not installed");
        };
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{unit}: above {most} tenths:\n{said}"
        );
        assert!(said.contains("Overall exposure level"), "{said}");
    }
}

#[test]
fn the_unit_has_three_capabilities_and_nothing_outlives_a_stop() {
    let unit = fs::read_to_string(file("systemd/kmesh-lite.service")).unwrap();
    let value = |key: &str| -> Vec<&str> {
        let lines = unit.lines().filter_map(|line| line.split_once('='));
        lines
            .filter(|(found, _)| *found == key)
            .map(|(_, value)| value)
            .collect()
    };
    let needed = ["CAP_BPF CAP_NET_ADMIN CAP_PERFMON"];
    assert_eq!(value("AmbientCapabilities"), needed);
    assert_eq!(value("CapabilityBoundingSet"), needed);
    assert_eq!(value("Restart"), ["always"]);
    assert_eq!(value("StartLimitIntervalSec"), ["0"]);
    assert!(value("FileDescriptorStorePreserve").is_empty());
    // A later list of what is not allowed would take it away again.
    assert!(
        value("SystemCallFilter")
            .last()
            .unwrap()
            .split(' ')
            .any(|call| call == "bpf")
    );
}

/// Pages lie in the package as they do here, beside the examples; what is not packaged has no relative link.
#[test]
fn links_of_the_packaged_pages_lead_somewhere() {
    const PAGES: [&str; 5] = [
        "README.md",
        "INSTALL.md",
        "OPERATING.md",
        "JSON.md",
        "ARCHITECTURE.md",
    ];
    let manifest = fs::read_to_string(file("kmesh-lite/Cargo.toml")).unwrap();
    for page in PAGES {
        assert_eq!(
            manifest.matches(&format!("\"../{page}\"")).count(),
            1,
            "{page}"
        );
        let text = fs::read_to_string(file(page)).unwrap();
        let links = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.starts_with("https://")) {
            let (path, _) = link.split_once('#').unwrap_or((link, ""));
            let is_packaged = path.is_empty()
                || PAGES.contains(&path)
                || (path.starts_with("examples-config/") && file(path).exists());
            assert!(is_packaged, "{page} links to {link}");
        }
    }
}
