//! Families of metrics, one after another, as text of Prometheus' exposition format 0.0.4.
//!
//! The encoder of the crate `prometheus` takes an object with strings of its own for each
//! sample, and some 4,000 instructions: ten times what it costs here. A test holds this
//! against it, byte by byte.

#[cfg(test)]
mod tests;

use std::fmt::Write;

use super::histogram::Histogram;

/// The type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4";

/// The labels of a sample.
#[derive(Clone, Copy)]
pub(super) struct Labels<'a> {
    /// As [`labels`] writes them; none without any.
    own: &'a str,
    /// One more, whose value needs no escape.
    more: Option<(&'static str, &'static str)>,
}

impl<'a> Labels<'a> {
    pub(super) fn with(own: &'a str, name: &'static str, value: &'static str) -> Self {
        let more = Some((name, value));
        Self { own, more }
    }
}

impl<'a> From<&'a String> for Labels<'a> {
    fn from(own: &'a String) -> Self {
        Self { own, more: None }
    }
}

/// Labels as text, for all samples that have them.
pub(super) fn labels<const N: usize>(pairs: [(&str, &str); N]) -> String {
    let mut text = String::with_capacity(64);
    for (name, mut value) in pairs {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        while let Some(at) = value.find(['\\', '"', '\n']) {
            let (plain, rest) = value.split_at(at);
            text.push_str(plain);
            text.push('\\');
            text.push_str(if rest.starts_with('\n') {
                "n"
            } else {
                &rest[..1]
            });
            value = &rest[1..];
        }
        text.push_str(value);
        text.push('"');
    }
    text
}

/// The text so far.
#[derive(Default)]
pub(super) struct Sheet(pub(super) String);

impl Sheet {
    pub(super) fn counters<'a>(
        &mut self,
        name: &str,
        help: &str,
        told: impl Iterator<Item = (impl Into<Labels<'a>>, f64)>,
    ) {
        self.family((name, help, "counter"), told, |sheet, (labels, value)| {
            sheet.sample([name, ""], &labels.into(), None, value);
        });
    }

    pub(super) fn gauges<'a>(
        &mut self,
        name: &str,
        help: &str,
        told: impl Iterator<Item = (impl Into<Labels<'a>>, f64)>,
    ) {
        self.family((name, help, "gauge"), told, |sheet, (labels, value)| {
            sheet.sample([name, ""], &labels.into(), None, value);
        });
    }

    pub(super) fn histograms<'a>(
        &mut self,
        name: &str,
        help: &str,
        told: impl Iterator<Item = (impl Into<Labels<'a>>, &'a Histogram)>,
    ) {
        self.family((name, help, "histogram"), told, |sheet, (labels, times)| {
            let labels = labels.into();
            for (bound, count) in times.cumulative() {
                let bound = Some(bound as f64 / 1e3);
                sheet.sample([name, "_bucket"], &labels, bound, count as f64);
            }
            let (count, sum) = (times.count() as f64, times.sum_ms() as f64 / 1e3);
            sheet.sample([name, "_bucket"], &labels, Some(f64::INFINITY), count);
            sheet.sample([name, "_sum"], &labels, None, sum);
            sheet.sample([name, "_count"], &labels, None, count);
        });
    }

    /// Adds a family, if it has anything to tell.
    fn family<T>(
        &mut self,
        (name, help, kind): (&str, &str, &str),
        told: impl Iterator<Item = T>,
        tell: impl Fn(&mut Self, T),
    ) {
        let mut told = told.peekable();
        if told.peek().is_some() {
            for part in [
                "# HELP ",
                name,
                " ",
                help,
                "\n# TYPE ",
                name,
                " ",
                kind,
                "\n",
            ] {
                self.0.push_str(part);
            }
            told.for_each(|one| tell(self, one));
        }
    }

    fn sample(&mut self, name: [&str; 2], labels: &Labels<'_>, bound: Option<f64>, value: f64) {
        let text = &mut self.0;
        text.push_str(name[0]);
        text.push_str(name[1]);
        if !labels.own.is_empty() {
            text.push('{');
            text.push_str(labels.own);
            if let Some((name, value)) = labels.more {
                for part in [",", name, "=\"", value, "\""] {
                    text.push_str(part);
                }
            }
            if let Some(bound) = bound {
                text.push_str(",le=\"");
                self.number(bound);
                self.0.push('"');
            }
            self.0.push('}');
        }
        self.0.push(' ');
        self.number(value);
        self.0.push('\n');
    }

    fn number(&mut self, number: f64) {
        let whole = number as u64;
        if whole < 1 << 53 && whole as f64 == number {
            self.0.push_str(itoa::Buffer::new().format(whole));
        } else if number.is_infinite() {
            self.0.push_str("+Inf");
        } else {
            // Writing to a string cannot fail.
            let _ = write!(self.0, "{number}");
        }
    }
}
