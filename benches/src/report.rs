//! The report: a table for people, JSON for programs.

use std::fmt;

use serde::Serialize;

use crate::machine::Machine;

/// What a figure is compared with, measured in the same run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ceiling {
    /// What it is.
    pub name: String,
    /// In the figure's unit.
    pub value: f64,
    /// The figure divided by it.
    pub ratio: f64,
}

/// One measured figure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// A stable name for programs.
    pub key: String,
    /// What it is.
    pub name: String,
    /// Its value; of several, the median.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// The lowest and the highest of several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<(f64, f64)>,
    /// The ceiling beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<Ceiling>,
    /// How it was measured.
    pub how: String,
}

impl Figure {
    pub(crate) fn new(key: impl Into<String>, name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { key: key.into(), name: name.into(), value, unit, range: None, ceiling: None, how: String::new() }
    }

    /// The median of several values, and their range.
    pub(crate) fn median(key: impl Into<String>, name: impl Into<String>, values: &[f64], unit: &'static str) -> Self {
        let sorted = sorted(values);
        let mut figure = Self::new(key, name, percentile(&sorted, 50), unit);
        if sorted.len() > 1 {
            figure.range = sorted.first().copied().zip(sorted.last().copied());
        }
        figure
    }

    pub(crate) fn how(mut self, how: impl Into<String>) -> Self {
        self.how = how.into();
        self
    }

    pub(crate) fn beside(mut self, name: impl Into<String>, value: f64) -> Self {
        if value > 0.0 {
            self.ceiling = Some(Ceiling { name: name.into(), value, ratio: self.value / value });
        }
        self
    }
}

/// In ascending order.
pub(crate) fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The value below which `percent` of the sorted values are; 0 of none.
pub(crate) fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or(0.0)
}

/// Everything that a run measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub(crate) machine: Machine,
    /// In the order in which they were measured.
    pub figures: Vec<Figure>,
}

impl Report {
    /// For programs.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => {
            let digits = format!("{:.0}", value);
            let mut grouped = String::new();
            for (at, digit) in digits.chars().enumerate() {
                if at > 0 && (digits.len() - at).is_multiple_of(3) {
                    grouped.push(' ');
                }
                grouped.push(digit);
            }
            grouped
        }
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The table.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { cores, processor, system, load_before, load_after, .. } = &self.machine;
        let load = |load: &Option<f64>| load.map_or_else(|| "?".into(), |load| format!("{load:.2}"));
        writeln!(
            f,
            "{cores} cores, {processor}, {system}; load {} before, {} after",
            load(load_before),
            load(load_after)
        )?;
        let rows: Vec<[String; 6]> = self.figures.iter().map(row).collect();
        let titles = ["figure", "value", "unit", "range", "beside it, of this run", "ratio"].map(str::to_owned);
        let mut widths = titles.clone().map(|title| title.chars().count());
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for (at, row) in std::iter::once(&titles).chain(&rows).enumerate() {
            let how = at.checked_sub(1).and_then(|at| self.figures.get(at)).map_or("how", |figure| figure.how.as_str());
            for ((column, cell), width) in row.iter().enumerate().zip(widths) {
                let right = matches!(column, 1 | 5);
                if right { write!(f, "{cell:>width$}  ")? } else { write!(f, "{cell:<width$}  ")? }
            }
            writeln!(f, "{how}")?;
        }
        Ok(())
    }
}

fn row(figure: &Figure) -> [String; 6] {
    let range = figure.range.map_or_else(String::new, |(least, most)| format!("{} .. {}", number(least), number(most)));
    let beside = figure.ceiling.as_ref().map_or_else(String::new, |one| format!("{}: {}", one.name, number(one.value)));
    let ratio = figure.ceiling.as_ref().map_or_else(String::new, |ceiling| number(ceiling.ratio));
    [figure.name.clone(), number(figure.value), figure.unit.to_owned(), range, beside, ratio]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_or_groups_of_three() {
        let shown = [0.1234, 9.876, 12.34, 123.4, 1234.5, 1_234_567.0].map(number);
        assert_eq!(shown, ["0.12", "9.88", "12.3", "123", "1 234", "1 234 567"]);
    }

    #[test]
    fn a_median_has_its_range_and_its_ratio() {
        let figure = Figure::median("a", "a", &[3.0, 1.0, 2.0], "ms").beside("b", 4.0);
        assert_eq!((figure.value, figure.range), (2.0, Some((1.0, 3.0))));
        assert_eq!(figure.ceiling.unwrap().ratio, 0.5);
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!([50, 99, 100].map(|percent| percentile(&hundred, percent)), [51.0, 100.0, 100.0]);
    }
}
