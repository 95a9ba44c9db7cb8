//! Families and their series, as the crate takes them.

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, MetricEncoder,
    NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Unit;
use std::fmt;

const NO_EXEMPLAR: Option<&Exemplar<NoLabelSet, f64>> = None;

/// Begins a family: counters are called `NAME_total` where it is written.
pub fn family<'a>(
    to: &'a mut DescriptorEncoder<'_>,
    name: &'a str,
    unit: Option<&'a Unit>,
    kind: MetricType,
    help: &str,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    to.encode_descriptor(name, help, unit, kind)
}

pub fn counter(
    family: &mut MetricEncoder<'_>,
    labels: &impl EncodeLabelSet,
    value: impl EncodeCounterValue,
) -> fmt::Result {
    family
        .encode_family(labels)?
        .encode_counter(&value, NO_EXEMPLAR)
}

pub fn gauge(
    family: &mut MetricEncoder<'_>,
    labels: &impl EncodeLabelSet,
    value: impl EncodeGaugeValue,
) -> fmt::Result {
    family.encode_family(labels)?.encode_gauge(&value)
}

/// A family of one series without labels.
pub fn single_counter(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    unit: Option<&Unit>,
    help: &str,
    value: impl EncodeCounterValue,
) -> fmt::Result {
    family(to, name, unit, MetricType::Counter, help)?.encode_counter(&value, NO_EXEMPLAR)
}

pub fn single_gauge(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    unit: Option<&Unit>,
    help: &str,
    value: impl EncodeGaugeValue,
) -> fmt::Result {
    family(to, name, unit, MetricType::Gauge, help)?.encode_gauge(&value)
}
