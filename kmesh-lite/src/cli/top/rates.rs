//! From sums to what happens in a second.

use crate::api::{NamedTraffic, ServiceTraffic, TrafficStatus, TrafficSums};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};

/// Seconds that sparklines show, one column each.
pub const REMEMBERED: usize = 60;

/// One line: a service, an endpoint or a client.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Row {
    pub name: String,
    /// Connections that stood or failed, in a second.
    pub connects_per_second: f64,
    pub active: u64,
    pub failed_per_second: f64,
    /// Of those that stood or failed.
    pub failure_ratio: f64,
    /// Until connections stood; nothing where none did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_p50_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_p99_seconds: Option<f64>,
    pub sent_bytes_per_second: f64,
    pub received_bytes_per_second: f64,
    /// Connects in a second, of the last minute.
    #[serde(skip)]
    pub history: Vec<u64>,
}

/// The last two sums, and what was before.
pub struct Rates {
    before: TrafficSums,
    now: TrafficSums,
    history: BTreeMap<String, VecDeque<u64>>,
}

impl Rates {
    pub fn new(first: TrafficSums) -> Self {
        Self {
            before: first.clone(),
            now: first,
            history: BTreeMap::new(),
        }
    }

    pub fn add(&mut self, sums: TrafficSums) {
        self.before = std::mem::replace(&mut self.now, sums);
        for row in self.services() {
            let history = self.history.entry(row.name).or_default();
            history.push_back(row.connects_per_second.round() as u64);
            if history.len() > REMEMBERED {
                history.pop_front();
            }
        }
        let now = &self.now.services;
        self.history
            .retain(|name, _| now.iter().any(|it| it.name == *name));
    }

    pub fn services(&self) -> Vec<Row> {
        let row = |service: &ServiceTraffic| {
            let before = self
                .before
                .services
                .iter()
                .find(|it| it.name == service.name);
            let nothing = ServiceTraffic::default();
            let before = before.unwrap_or(&nothing);
            let mut row = self.row(&service.name, &before.traffic, &service.traffic);
            let times = newer(&before.connect_times, &service.connect_times);
            row.connect_p50_seconds = quantile(&times, 0.5);
            row.connect_p99_seconds = quantile(&times, 0.99);
            if let Some(history) = self.history.get(&service.name) {
                row.history = history.iter().copied().collect();
            }
            row
        };
        self.now.services.iter().map(row).collect()
    }

    pub fn endpoints(&self, service: &str) -> Vec<Row> {
        self.parts(service, |it| &it.endpoints)
    }

    pub fn clients(&self, service: &str) -> Vec<Row> {
        self.parts(service, |it| &it.clients)
    }

    fn parts(&self, service: &str, of: fn(&ServiceTraffic) -> &Vec<NamedTraffic>) -> Vec<Row> {
        let find = |sums: &TrafficSums| {
            let found = sums.services.iter().find(|it| it.name == service);
            found.map_or_else(Vec::new, |it| of(it).clone())
        };
        let before = find(&self.before);
        let row = |part: NamedTraffic| {
            let before = before.iter().find(|it| it.name == part.name);
            let nothing = TrafficStatus::default();
            let before = before.map_or(&nothing, |it| &it.traffic);
            self.row(&part.name, before, &part.traffic)
        };
        find(&self.now).into_iter().map(row).collect()
    }

    fn row(&self, name: &str, before: &TrafficStatus, now: &TrafficStatus) -> Row {
        let seconds = (self.now.at_seconds - self.before.at_seconds).max(f64::EPSILON);
        // Sums begin anew where a service is taken away and comes back.
        let rate = |before: u64, now: u64| now.saturating_sub(before) as f64 / seconds;
        let failed = rate(before.failures(), now.failures());
        let connects = rate(before.established, now.established) + failed;
        Row {
            name: name.to_owned(),
            connects_per_second: connects,
            active: now.active,
            failed_per_second: failed,
            failure_ratio: if connects > 0.0 {
                failed / connects
            } else {
                0.0
            },
            sent_bytes_per_second: rate(before.sent_bytes, now.sent_bytes),
            received_bytes_per_second: rate(before.received_bytes, now.received_bytes),
            ..Row::default()
        }
    }
}

/// What was counted since.
fn newer(before: &[u64], now: &[u64]) -> Vec<u64> {
    let before = before.iter().copied().chain(std::iter::repeat(0));
    now.iter()
        .zip(before)
        .map(|(now, before)| now.saturating_sub(before))
        .collect()
}

/// The time within which this share of the connections stood, in seconds: as if those of a bucket were
/// spread evenly over it. The last bucket has no end; its beginning is what is known.
fn quantile(counts: &[u64], share: f64) -> Option<f64> {
    let all: u64 = counts.iter().sum();
    if all == 0 {
        return None;
    }
    let bound = |bucket: usize| f64::powi(2.0, bucket as i32 - 20);
    let wanted = share * all as f64;
    let mut below = 0.0;
    for (bucket, count) in counts.iter().enumerate() {
        let count = *count as f64;
        if count > 0.0 && below + count >= wanted {
            let from = if bucket == 0 { 0.0 } else { bound(bucket - 1) };
            let inside = (wanted - below) / count;
            let is_last = bucket + 1 == kmesh_lite_common::Durations::BUCKETS;
            return Some(if is_last {
                from
            } else {
                from + (bound(bucket) - from) * inside
            });
        }
        below += count;
    }
    None
}

impl Row {
    /// As text, a cell for each of the columns.
    pub fn cells(&self) -> [String; super::COLUMNS.len()] {
        let time = |time: Option<f64>| time.map_or_else(|| "-".to_owned(), duration);
        [
            self.name.clone(),
            number(self.connects_per_second),
            self.active.to_string(),
            number(self.failed_per_second),
            format!("{:.1}", self.failure_ratio * 100.0),
            time(self.connect_p50_seconds),
            time(self.connect_p99_seconds),
            bytes(self.sent_bytes_per_second),
            bytes(self.received_bytes_per_second),
        ]
    }
}

fn number(value: f64) -> String {
    if value < 10.0 && value.fract() > 0.05 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// `38 µs`, `1.2 ms` or `3.0 s`.
fn duration(seconds: f64) -> String {
    match seconds {
        ..0.001 => format!("{:.0} µs", seconds * 1e6),
        ..1.0 => format!("{:.1} ms", seconds * 1e3),
        _ => format!("{seconds:.1} s"),
    }
}

fn bytes(value: f64) -> String {
    match value {
        ..1e3 => format!("{value:.0} B"),
        ..1e6 => format!("{:.1} kB", value / 1e3),
        ..1e9 => format!("{:.1} MB", value / 1e6),
        _ => format!("{:.1} GB", value / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(established: u64, refused: u64, times: &[u64]) -> ServiceTraffic {
        ServiceTraffic {
            name: "web".to_owned(),
            connects: 0,
            traffic: TrafficStatus {
                established,
                active: 7,
                failed: [("refused".to_owned(), refused)].into(),
                sent_bytes: established * 100,
                ..TrafficStatus::default()
            },
            connect_times: times.to_vec(),
            ..ServiceTraffic::default()
        }
    }

    fn at(seconds: f64, service: ServiceTraffic) -> TrafficSums {
        TrafficSums {
            at_seconds: seconds,
            services: vec![service],
        }
    }

    #[test]
    fn rates_are_of_the_time_between_two_sums() {
        let mut rates = Rates::new(at(10.0, service(1_000, 50, &[])));
        rates.add(at(12.0, service(1_150, 100, &[0, 0, 150])));
        let [row] = rates.services().try_into().unwrap();
        assert_eq!(
            (row.connects_per_second, row.failed_per_second),
            (100.0, 25.0)
        );
        assert_eq!((row.active, row.failure_ratio), (7, 0.25));
        assert_eq!(row.sent_bytes_per_second, 7_500.0);
        assert_eq!(row.history, [100]);
        let half = row.connect_p50_seconds.unwrap() * f64::powi(2.0, 20);
        assert!((half - 3.0).abs() < 0.01, "{half}");
    }

    #[test]
    fn a_service_that_begins_anew_has_no_negative_rates() {
        let mut rates = Rates::new(at(10.0, service(1_000, 50, &[5, 5])));
        rates.add(at(11.0, service(3, 0, &[3])));
        let [row] = rates.services().try_into().unwrap();
        assert_eq!((row.connects_per_second, row.failed_per_second), (0.0, 0.0));
        assert_eq!(row.connect_p50_seconds, None);
    }

    #[test]
    fn quantiles_are_within_their_bucket() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[0, 0], 0.5), None);
        let unit = |seconds: Option<f64>| seconds.unwrap() * f64::powi(2.0, 20);
        assert_eq!(unit(quantile(&[10], 0.5)), 0.5);
        assert_eq!(unit(quantile(&[0, 0, 0, 4], 1.0)), 8.0);
        let p99 = unit(quantile(&[99, 0, 0, 1], 0.99));
        assert_eq!(p99, 1.0);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(duration(0.000_038_4), "38 µs");
        assert_eq!(duration(0.001_24), "1.2 ms");
        assert_eq!(bytes(1_234_567.0), "1.2 MB");
        assert_eq!(
            (number(0.25), number(12.4)),
            ("0.2".to_owned(), "12".to_owned())
        );
    }
}
