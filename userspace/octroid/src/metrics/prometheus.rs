//! The rows as Prometheus reads them: OpenMetrics text.
//!
//! `xdp.rx` becomes `octroi_xdp_rx_total`; what can fall becomes a gauge without `_total`. Nothing is added or left out.
use std::fmt;

use client::control::answer::Role;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, text},
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
            let falls = first.stat.role == Role::Held;
            let kind = if falls { MetricType::Gauge } else { MetricType::Counter };
            let metric = name.replace('.', "_");
            let mut family = encoder.encode_descriptor(&metric, first.help, None, kind)?;
            for row in self.0.iter().filter(|row| row.stat.name == name) {
                let labels: Vec<(&str, &str)> =
                    row.stat.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                let mut one = family.encode_family(&labels)?;
                if falls {
                    one.encode_gauge(&row.stat.value)?;
                } else {
                    one.encode_counter::<Vec<(&str, &str)>, _, u64>(&row.stat.value, None)?;
                }
            }
        }
        Ok(())
    }
}
