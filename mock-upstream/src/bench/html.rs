//! The results as one HTML file, plots included.

use std::fmt::Write;
use std::time::Duration;

use crate::bench::record::{Measure, Record};
use crate::bench::report::{PERCENTILES, Summary, shown};

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 70.0;
const BOTTOM: f64 = 30.0;
const COLOURS: [&str; 2] = ["#1f6feb", "#d1481f"];
/// Percentiles along the axis, at equal distances for every nine.
const AXIS: [f64; 6] = [0.0, 90.0, 99.0, 99.9, 99.99, 99.999];

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:72em;\
padding:0 1em;color:#1c2128}table{border-collapse:collapse;margin:.5em 0 2em}td,th{padding:.2em .8em;\
text-align:right;border-bottom:1px solid #d8dee4}td:first-child,th:first-child{text-align:left}\
.plots{display:flex;flex-wrap:wrap;gap:1.5em}figure{margin:0}.warning{color:#b00020;font-weight:600}";

/// The whole page.
pub(super) fn page(summary: &Summary) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n<title>mock-upstream bench</title>\
         \n<style>{STYLE}</style>\n<h1>mock-upstream bench</h1>\n"
    );
    for (index, side) in summary.sides.iter().enumerate() {
        let (url, record) = (escape(&side.url), &side.record);
        // Writing to a String cannot fail, here and below.
        let _ = write!(
            page,
            "<h2 style=\"color:{}\">{url}</h2>\n<p>{} streams, {} failed, {:.1} streams/s",
            COLOURS[index % COLOURS.len()],
            record.completed,
            record.failed(),
            side.streams_per_second()
        );
        for (failure, count) in &record.failures {
            let _ = write!(page, "; {count} {failure}");
        }
        page.push_str("</p>\n");
        if let Some(warning) = side.saturated() {
            let _ = writeln!(page, "<p class=\"warning\">{}</p>", escape(&warning));
        }
        table(&mut page, record);
    }
    page.push_str("<div class=\"plots\">\n");
    for measure in Measure::ALL {
        let records: Vec<&Record> = summary.sides.iter().map(|side| &side.record).collect();
        plot(&mut page, measure, &records);
    }
    page.push_str("</div>\n</html>\n");
    page
}

fn table(page: &mut String, record: &Record) {
    page.push_str("<table><tr><th></th>");
    for (name, _) in PERCENTILES {
        let _ = write!(page, "<th>{name}</th>");
    }
    page.push_str("</tr>\n");
    for measure in Measure::ALL {
        let _ = write!(page, "<tr><td>{}</td>", measure.name());
        for (_, percentile) in PERCENTILES {
            let _ = write!(
                page,
                "<td>{}</td>",
                shown(record.percentile(measure, percentile))
            );
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table>\n");
}

/// A measure of all sides by percentile.
fn plot(page: &mut String, measure: Measure, records: &[&Record]) {
    let most = records
        .iter()
        .map(|record| record.histogram(measure).max())
        .max();
    let most = most.unwrap_or(0).max(1) as f64;
    let _ = write!(
        page,
        "<figure><figcaption>{}</figcaption><svg width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         font-size=\"11\" role=\"img\" aria-label=\"{}\">",
        measure.name(),
        measure.name()
    );
    for step in 0..=4 {
        let share = f64::from(step) / 4.0;
        let y = height(share);
        let label = shown(Duration::from_nanos((most * share) as u64));
        let _ = write!(
            page,
            "<line x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#d8dee4\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            LEFT - 6.0,
            y + 4.0
        );
    }
    for percentile in AXIS {
        let _ = write!(
            page,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{percentile}%</text>",
            place(percentile).min(WIDTH - 24.0),
            HEIGHT - 8.0
        );
    }
    for (index, record) in records.iter().enumerate() {
        let histogram = record.histogram(measure);
        if histogram.is_empty() {
            continue;
        }
        let points = (0..=200).map(|step| {
            let nines = f64::from(step) / 200.0 * 5.0;
            let percentile = 100.0 - 100.0 / 10_f64.powf(nines);
            let value = histogram.value_at_percentile(percentile) as f64;
            format!("{:.1},{:.1}", place(percentile), height(value / most))
        });
        let points: Vec<String> = points.collect();
        let _ = write!(
            page,
            "<polyline fill=\"none\" stroke-width=\"2\" stroke=\"{}\" points=\"{}\"/>",
            COLOURS[index % COLOURS.len()],
            points.join(" ")
        );
    }
    page.push_str("</svg></figure>\n");
}

fn place(percentile: f64) -> f64 {
    let nines = -((100.0 - percentile) / 100.0).log10();
    LEFT + nines / 5.0 * (WIDTH - LEFT)
}

fn height(share: f64) -> f64 {
    let top = 10.0;
    HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - top)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}
