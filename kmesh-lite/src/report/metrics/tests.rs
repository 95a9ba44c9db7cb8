use super::*;
use crate::config::Host;
use crate::model::Facts;
use crate::sources::Files;
use crate::tables::{Actual, build};
use kmesh_lite_common::{Traffic, TrafficKey};

fn written(format: Format) -> String {
    written_of(Snapshot::default(), BTreeMap::new(), format)
}

fn written_of(snapshot: Snapshot, cgroups: BTreeMap<u64, PathBuf>, format: Format) -> String {
    let metrics = Metrics {
        snapshot,
        cgroups,
        endpoints: None,
        dns: None,
        arrived: BTreeMap::new(),
        limits: Limits::default(),
        history: Some(History::begun()),
        events: Some(LogStatus {
            to: Some("journal".to_owned()),
            ..LogStatus::default()
        }),
        version: "1".to_owned(),
        commit: "abc".to_owned(),
        state: Some(State::Keeping),
        usage: Usage::look(),
    };
    let mut text = Vec::new();
    metrics.write(format, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn no_family_is_without_a_series() {
    for format in [Format::Prometheus, Format::OpenMetrics] {
        let text = written(format);
        let lines = || text.lines();
        let families = lines().filter_map(|line| line.strip_prefix("# HELP "));
        for family in families {
            let name = family.split(' ').next().unwrap();
            assert!(
                lines().any(|line| line.starts_with(name)),
                "{name}:\n{text}"
            );
        }
    }
}

#[test]
fn names_are_those_of_the_conventions() {
    let text = written(Format::Prometheus);
    for series in [
        "\nkmesh_lite_state{state=\"keeping\"} 1\n",
        "\nkmesh_lite_state{state=\"routing\"} 0\n",
        "\nkmesh_lite_table_rows_limit{table=\"services\"} 10000\n",
        "\nkmesh_lite_generation 0\n",
        "\nprocess_cpu_seconds_total ",
        "\nprocess_resident_memory_bytes ",
        "\nprocess_open_fds ",
        "\nprocess_start_time_seconds ",
    ] {
        assert!(text.contains(series), "{series:?}:\n{text}");
    }
    assert!(!text.contains("kmesh_lite_process"), "{text}");
}

/// A unit that was restarted begins anew. If what it did before went to others, these would seem to have done it all
/// between two scrapes.
#[test]
fn what_a_cgroup_did_that_is_gone_is_no_other_clients() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mesh.toml");
    let text = "[services.web]\nvips = ['10.96.0.10']\nports = [80]\nendpoints = ['10.0.0.1']\n";
    std::fs::write(&path, text).unwrap();
    let mesh = Files::new(&path).load(&Host::default()).mesh.unwrap();
    let built = build(&mesh, &Facts::default(), &Actual::default(), 0);
    let mut snapshot = Snapshot {
        tables: built.unwrap().tables,
        ..Snapshot::default()
    };
    let service = snapshot.tables.rows.services.keys().next().copied();
    for (cgroup, folded, established) in [(1, 0, 2), (2, 0, 3), (3, 0, 40), (0, 1, 500)] {
        let key = TrafficKey {
            cgroup,
            service,
            folded,
            ..TrafficKey::default()
        };
        let sums = Traffic {
            established,
            ..Traffic::default()
        };
        snapshot.accounts.sums.insert(key, sums);
    }
    let there = [
        (1, "/system.slice/shop.service".into()),
        (2, "/by-hand".into()),
    ];
    let text = written_of(snapshot, there.into(), Format::Prometheus);
    let name = "kmesh_lite_client_connections_established_total";
    let clients = text.lines().filter(|line| line.starts_with(name));
    let clients: Vec<_> = clients.collect();
    let expected = [
        format!("{name}{{service=\"web\",client=\"other\"}} 3"),
        format!("{name}{{service=\"web\",client=\"shop.service\"}} 2"),
    ];
    assert_eq!(clients, expected);
    assert!(text.contains("kmesh_lite_service_connections_established_total{service=\"web\"} 545"));
}
