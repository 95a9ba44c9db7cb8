use super::*;

fn written(format: Format) -> String {
    let metrics = Metrics {
        snapshot: Snapshot::default(),
        cgroups: BTreeMap::new(),
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
