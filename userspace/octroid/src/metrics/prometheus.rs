//! The rows as Prometheus reads them: OpenMetrics text.
//!
//! `xdp.rx` becomes `octroi_xdp_rx_total`; what can fall becomes a gauge without `_total`. Nothing is added or left out.
use std::fmt;

use client::control::answer::Role;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};

use super::Row;

/// Media type of [`text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The rows as OpenMetrics text.
///
/// # Errors
/// Never, unless the formatter fails.
pub fn text(rows: Vec<Row>) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("octroi");
    registry.register_collector(Box::new(Rows(rows)));
    let mut page = String::new();
    text::encode(&mut page, &registry)?;
    Ok(page)
}

#[derive(Debug)]
struct Rows(Vec<Row>);

impl Collector for Rows {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut done: Vec<&str> = Vec::new();
        for first in &self.0 {
            let name = first.stat.name.as_str();
            if done.contains(&name) {
                continue;
            }
            done.push(name);
            let kind = if first.stat.role == Role::Held { MetricType::Gauge } else { MetricType::Counter };
            let metric = name.replace('.', "_");
            let mut family = encoder.encode_descriptor(&metric, first.help, None, kind)?;
            for row in self.0.iter().filter(|row| row.stat.name == name) {
                let labels: Vec<(&str, &str)> =
                    row.stat.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                if labels.is_empty() {
                    sample(&mut family, kind, row.stat.value)?;
                } else {
                    sample(&mut family.encode_family(&labels)?, kind, row.stat.value)?;
                }
            }
        }
        Ok(())
    }
}

fn sample(encoder: &mut MetricEncoder<'_>, kind: MetricType, value: u64) -> fmt::Result {
    match kind {
        MetricType::Gauge => encoder.encode_gauge(&value),
        _ => encoder.encode_counter::<NoLabelSet, _, u64>(&value, None),
    }
}
