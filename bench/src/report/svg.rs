//! The rows of a bench as a chart: one bar a row, as long as its ratio, with its spread drawn over it.
//!
//! ```text
//!  rx_veth_60    ▐████████████████├─▒▒─┤│        0.97
//!                0                      1
//! ```
//!
//! Ratios have no unit, so rows of any kind share one axis; the line at 1 is where ours and the peer are equal.
//! The file stands alone: no script, no font, no style sheet.
use std::fmt::Write;

use super::{
    bench::{BenchReport, Row},
    table::figure,
};

const LABEL: f64 = 220.0;
const PLOT: f64 = 480.0;
const RIGHT: f64 = 200.0;
const TOP: f64 = 48.0;
const STEP: f64 = 28.0;
const BAR: f64 = 14.0;
const BOTTOM: f64 = 30.0;
/// Ratios beyond this are drawn as this long: one outlier must not flatten the rest.
const LONGEST: f64 = 10.0;

/// The chart as the text of an SVG file.
#[must_use]
pub fn chart(report: &BenchReport) -> String {
    let height = TOP + STEP * report.rows.len() as f64 + BOTTOM;
    let width = LABEL + PLOT + RIGHT;
    let axis = Axis::of(&report.rows);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    let title = format!("{} · commit {}", report.machine, report.commit);
    text(&mut svg, Point { x: 8.0, y: 20.0 }, "start", &title);
    axis.draw(&mut svg, height - BOTTOM);
    for (i, row) in report.rows.iter().enumerate() {
        draw_row(&mut svg, row, &axis, TOP + STEP * i as f64 + STEP / 2.0);
    }
    svg += "</svg>\n";
    svg
}

struct Axis {
    end: f64,
}

#[derive(Clone, Copy)]
struct Point {
    x: f64,
    y: f64,
}

impl Axis {
    fn of(rows: &[Row]) -> Self {
        let longest = rows.iter().map(|r| r.spread.max).filter(|m| m.is_finite()).fold(1.0, f64::max);
        Self { end: (longest.min(LONGEST) * 1.1 * 4.0).ceil() / 4.0 }
    }

    fn x(&self, ratio: f64) -> f64 {
        let ratio = if ratio.is_finite() { ratio.clamp(0.0, self.end) } else { self.end };
        LABEL + PLOT * ratio / self.end
    }

    fn draw(&self, svg: &mut String, bottom: f64) {
        let step = if self.end <= 2.5 { 0.25 } else { 1.0 };
        let ticks = (self.end / step).floor() as u32;
        for tick in 0..=ticks {
            let ratio = f64::from(tick) * step;
            let colour = if ratio == 1.0 { "#000000" } else { "#dddddd" };
            line(
                svg,
                Point { x: self.x(ratio), y: TOP - 8.0 },
                Point { x: self.x(ratio), y: bottom },
                colour,
            );
            text(svg, Point { x: self.x(ratio), y: bottom + 16.0 }, "middle", &ratio.to_string());
        }
    }
}

fn draw_row(svg: &mut String, row: &Row, axis: &Axis, y: f64) {
    let colour = if row.ok() { "#4878a8" } else { "#b03030" };
    let zero = axis.x(0.0);
    text(svg, Point { x: LABEL - 8.0, y: y + 4.0 }, "end", &row.id);
    rect(svg, Point { x: zero, y: y - BAR / 2.0 }, Point { x: axis.x(row.ratio), y: y + BAR / 2.0 }, colour);
    let (q1, q3) = (axis.x(row.spread.q1), axis.x(row.spread.q3));
    rect(svg, Point { x: q1, y: y - BAR / 4.0 }, Point { x: q3, y: y + BAR / 4.0 }, "#f0c060");
    let (min, max) = (axis.x(row.spread.min), axis.x(row.spread.max));
    line(svg, Point { x: min, y }, Point { x: max, y }, "#303030");
    for x in [min, max] {
        line(svg, Point { x, y: y - BAR / 3.0 }, Point { x, y: y + BAR / 3.0 }, "#303030");
    }
    if let Some(limit) = row.limit {
        let x = axis.x(limit);
        line(svg, Point { x, y: y - STEP / 2.0 + 1.0 }, Point { x, y: y + STEP / 2.0 - 1.0 }, "#b03030");
    }
    let peer = format!("{} × {}", figure(row.ratio), row.peer_name);
    text(svg, Point { x: LABEL + PLOT + 12.0, y: y + 4.0 }, "start", &peer);
}

fn rect(svg: &mut String, from: Point, to: Point, colour: &str) {
    let (width, height) = ((to.x - from.x).max(0.0), to.y - from.y);
    // Writing to a String cannot fail.
    let _ = writeln!(
        svg,
        "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>",
        from.x, from.y
    );
}

fn line(svg: &mut String, from: Point, to: Point, colour: &str) {
    let _ = writeln!(
        svg,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\"/>",
        from.x, from.y, to.x, to.y
    );
}

fn text(svg: &mut String, at: Point, anchor: &str, words: &str) {
    let mut escaped = String::new();
    for c in words.chars() {
        match c {
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '&' => escaped += "&amp;",
            c if c.is_control() => {}
            c => escaped.push(c),
        }
    }
    let _ =
        writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{escaped}</text>", at.x, at.y);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::{bench::Better, interleave::Pairs};

    fn report(rows: Vec<(String, f64, f64)>) -> BenchReport {
        let row = |(id, ours, peer)| {
            let pairs = Pairs::new(Better::Higher, vec![(ours, peer); 10]);
            Row::paired(id, "Mpps", "a < b & c", &pairs).map(|row| row.with_limit(0.9))
        };
        let rows = rows.into_iter().filter_map(row).collect();
        BenchReport { machine: "\"machine\"".into(), commit: "abc".into(), rows }
    }

    /// Every element is closed, nothing is nested but in the root, and no number is a NaN.
    #[track_caller]
    fn well_formed(svg: &str) {
        let body = svg.strip_prefix("<svg ").and_then(|s| s.strip_suffix("</svg>\n")).expect("one root");
        for element in body.lines().skip(1) {
            let simple =
                element.starts_with('<') && element.ends_with("/>") && element.matches('<').count() == 1;
            let text = element.starts_with("<text ") && element.ends_with("</text>");
            assert!(simple || text && element.matches('<').count() == 2, "{element}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn bars_are_as_long_as_their_ratio() {
        let svg = chart(&report(vec![("half".into(), 1.0, 2.0), ("twice".into(), 2.0, 1.0)]));
        well_formed(&svg);
        // The axis ends at 2.25: 480 / 2.25 a unit.
        assert!(svg.contains("width=\"106.7\" height=\"14.0\" fill=\"#b03030\""), "below its limit: {svg}");
        assert!(svg.contains("width=\"426.7\" height=\"14.0\" fill=\"#4878a8\""), "{svg}");
        assert!(svg.contains("0.500 × a &lt; b &amp; c"), "{svg}");
    }

    proptest! {
        #[test]
        fn any_rows_make_a_chart(rows in prop::collection::vec(("\\PC{0,20}", 0.0_f64..1e12, 0.0_f64..1e12), 0..20)) {
            well_formed(&chart(&report(rows)));
        }
    }
}
