use super::*;

fn log(to: LogTarget, more: impl FnOnce(&mut AccessLog)) -> AccessLogWriter {
    let mut wanted = AccessLog {
        to,
        services: None,
        sample: AccessLog::WHOLE,
        rate_limit: 1_000_000,
    };
    more(&mut wanted);
    AccessLogWriter::start(wanted)
}

fn event(cookie: u64) -> ConnectionEvent {
    ConnectionEvent {
        event: "closed".into(),
        cookie: Some(cookie),
        service: Some("web".to_owned()),
        ..ConnectionEvent::default()
    }
}

fn status(log: &AccessLogWriter) -> LogStatus {
    let mut status = LogStatus::default();
    log.tell(&mut status);
    status
}

#[test]
fn a_sample_is_the_same_connections_every_time_and_no_loss() {
    let folder = tempfile::tempdir().unwrap();
    let texts = [0, 1].map(|number| {
        let path = folder.path().join(number.to_string());
        let mut log = log(LogTarget::File(path.clone()), |log| log.sample = 100_000);
        (1..=5_000).for_each(|cookie| log.write(&event(cookie)));
        assert_eq!(status(&log).lost, 0);
        drop(log);
        std::fs::read_to_string(path).unwrap()
    });
    assert_eq!(texts[0], texts[1]);
    let lines = texts[0].lines().count();
    assert!((400..600).contains(&lines), "{lines}");
}

#[test]
fn what_cannot_be_written_is_counted_and_nobody_waits() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("absent/access.json");
    let mut log = log(LogTarget::File(nowhere), |_| {});
    (1..=100).for_each(|cookie| log.write(&event(cookie)));
    while status(&log).lost < 100 {
        thread::yield_now();
    }
    let status = status(&log);
    assert_eq!((status.written, status.lost), (0, 100));
    assert!(status.failure.is_some());
}

#[test]
fn a_rate_limit_leaves_lines_out_and_the_log_says_how_many() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.json");
    let mut log = log(LogTarget::File(path.clone()), |log| log.rate_limit = 1);
    (1..=100).for_each(|cookie| log.write(&event(cookie)));
    let lost = status(&log).lost;
    assert!(lost > 0);
    drop(log);
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<ConnectionEvent> = lines.collect();
    let told: u64 = lines.iter().filter_map(|line| line.lost).sum();
    let written = lines.iter().filter(|line| line.lost.is_none()).count();
    assert_eq!((told, written as u64), (lost, 100 - lost));
}
