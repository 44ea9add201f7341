//! Comparison with the encoder of the crate `prometheus`.

use prometheus::TextEncoder;
use prometheus::proto::{Bucket, Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use proptest::prelude::*;

use super::{Exposition, Labels, labels};
use crate::metrics::histogram::Histogram;

fn metric(pairs: &[(&str, &str)]) -> Metric {
    let pair = |&(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.into());
        pair.set_value(value.into());
        pair
    };
    Metric::from_label(pairs.iter().map(pair).collect())
}

fn family(name: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.into());
    family.set_help("Help.".into());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn histogram(mut metric: Metric, times: &Histogram) -> Metric {
    let bucket = |(bound, count): (u64, u64)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound as f64 / 1e3);
        bucket.set_cumulative_count(count);
        bucket
    };
    let mut converted = prometheus::proto::Histogram::default();
    converted.set_bucket(times.cumulative().map(bucket).collect());
    converted.set_sample_count(times.count());
    converted.set_sample_sum(times.sum_ms() as f64 / 1e3);
    metric.set_histogram(converted);
    metric
}

proptest! {
    #[test]
    fn the_text_is_that_of_another_encoder(
        names in prop::collection::vec("[a-z\"\\\\\n\u{e4}{},=]{0,12}", 1..5),
        values in prop::collection::vec(prop_oneof![
            (0..1u64 << 60).prop_map(|n| n as f64),
            0.0..1e18f64,
            (0..1u64 << 60).prop_map(|n| n as f64 / 1e12),
        ], 1..5),
        ms in prop::collection::vec(0..400_000u64, 0..9),
    ) {
        let mut times: Histogram = bytemuck::Zeroable::zeroed();
        ms.iter().for_each(|&ms| times.note(ms));
        let entries: Vec<_> = names.iter().zip(&values).collect();
        let own: Vec<_> = entries.iter().map(|(name, _)| labels([("pool", "main"), ("key", name)])).collect();

        let mut text = Exposition::new("one_total counter Help.\ntwo gauge Help.\nthree histogram Help.");
        let plain = || own.iter().zip(&entries).map(|(labels, &(_, &value))| (labels.as_str(), value));
        text.add("one_total", plain().map(|(own, value)| (Labels::with(own, "kind", "x"), value)));
        text.add("two", plain());
        text.add("none", plain().take(0));
        text.histograms("three", own.iter().map(|labels| (labels.as_str(), &times)));

        let pairs = |name| [("pool", "main"), ("key", name), ("kind", "x")];
        let counters = entries.iter().map(|&(name, &value)| {
            let (mut metric, mut counter) = (metric(&pairs(name)), Counter::default());
            counter.set_value(value);
            metric.set_counter(counter);
            metric
        });
        let gauges = entries.iter().map(|&(name, &value)| {
            let (mut metric, mut gauge) = (metric(&pairs(name)[..2]), Gauge::default());
            gauge.set_value(value);
            metric.set_gauge(gauge);
            metric
        });
        let histograms = entries.iter().map(|(name, _)| histogram(metric(&pairs(name)[..2]), &times));
        let families = [
            family("one_total", MetricType::COUNTER, counters.collect()),
            family("two", MetricType::GAUGE, gauges.collect()),
            family("three", MetricType::HISTOGRAM, histograms.collect()),
        ];
        prop_assert_eq!(text.text, TextEncoder::new().encode_to_string(&families).expect("text"));
    }
}
