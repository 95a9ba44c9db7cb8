//! Histograms of times.

use kmesh_lite_common::Durations;
use prometheus_client::encoding::{
    MetricEncoder, NativeHistogram, NativeHistogramBuckets, NoLabelSet,
};
use std::fmt;

/// Classic buckets, and the same as a native histogram: its bounds of schema 0 are powers of two as well.
pub fn histogram(
    to: &mut MetricEncoder<'_>,
    counts: &[u64; Durations::BUCKETS],
    nanoseconds: u64,
) -> fmt::Result {
    let bound = |bucket: usize| f64::powi(2.0, bucket as i32 - 20);
    let mut classic = Vec::with_capacity(counts.len());
    let last = counts.len() - 1;
    for (bucket, count) in counts.iter().enumerate() {
        let bound = if bucket == last {
            f64::INFINITY
        } else {
            bound(bucket)
        };
        classic.push((bound, *count));
    }
    let mut before = 0;
    let deltas: Vec<i64> = counts
        .iter()
        .map(|count| {
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            count - std::mem::replace(&mut before, count)
        })
        .collect();
    let native = NativeHistogram {
        schema: 0,
        zero_threshold: 0.0,
        zero_count: 0,
        negative: NativeHistogramBuckets {
            spans: &[],
            deltas: &[],
        },
        positive: NativeHistogramBuckets {
            spans: &[(-20, counts.len() as u32)],
            deltas: &deltas,
        },
        created: None,
    };
    let sum = nanoseconds as f64 / 1e9;
    to.encode_histogram_with_native::<NoLabelSet>(sum, counts.iter().sum(), &classic, None, native)
}
