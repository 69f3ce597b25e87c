//! A picture of an outcome, as SVG: of a saturation search latency over the rate, else latency over the share of transactions.

use std::fmt::Write as _;

use super::outcome::Outcome;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 60.0;

/// Points of one line, and how it is drawn.
struct Line {
    name: &'static str,
    colour: &'static str,
    points: Vec<(f64, f64)>,
}

/// Draws an outcome.
pub fn svg(outcome: &Outcome) -> String {
    let (lines, across) = if outcome.steps.is_empty() {
        let points = outcome.curve.iter().enumerate().map(|(at, ms)| (at as f64, *ms)).collect();
        (vec![Line { name: "to final", colour: "#1f6feb", points }], "percent of transactions")
    } else {
        let points =
            |of: fn(&super::outcome::Step) -> f64| outcome.steps.iter().map(|step| (step.rate, of(step))).collect();
        let lines = vec![
            Line { name: "p50", colour: "#1f6feb", points: points(|step| step.p50_ms) },
            Line { name: "p99", colour: "#d1242f", points: points(|step| step.p99_ms) },
        ];
        (lines, "transactions offered a second")
    };
    let all = || lines.iter().flat_map(|line| &line.points);
    let x_max = all().map(|(x, _)| *x).fold(1.0, f64::max);
    let y_max = all().map(|(_, y)| *y).fold(0.001, f64::max);
    let y_min = all().map(|(_, y)| *y).filter(|y| *y > 0.0).fold(y_max, f64::min);
    // Tenfold steps: latencies of one load differ by orders of magnitude.
    let (low, high) = (y_min.log10().floor(), y_max.log10().ceil().max(y_min.log10().floor() + 1.0));
    let x_at = |x: f64| LEFT + x / x_max * (WIDTH - LEFT - RIGHT);
    let y_at = |y: f64| {
        let part = (y.max(10f64.powf(low)).log10() - low) / (high - low);
        HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)
    };
    let mut text = String::new();
    // Writing to a string does not fail.
    let mut put = |piece: String| {
        let _ = writeln!(text, "{piece}");
    };
    put(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">"
    ));
    put(format!("<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>"));
    put(format!(
        "<text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{} validators, {}: {:.0} final a second</text>",
        outcome.validators, outcome.kind, outcome.final_per_s
    ));
    for step in low as i32..=high as i32 {
        let y = y_at(10f64.powi(step));
        put(format!(
            "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#d0d7de\"/>",
            WIDTH - RIGHT
        ));
        put(format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{} ms</text>",
            LEFT - 6.0,
            y + 4.0,
            10f64.powi(step)
        ));
    }
    for part in 0..=4 {
        let x = x_max * f64::from(part) / 4.0;
        put(format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{x:.0}</text>",
            x_at(x),
            HEIGHT - BOTTOM + 18.0
        ));
    }
    put(format!("<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{across}</text>", WIDTH / 2.0, HEIGHT - 12.0));
    for (at, line) in lines.iter().enumerate() {
        let points: Vec<String> = line.points.iter().map(|(x, y)| format!("{:.1},{:.1}", x_at(*x), y_at(*y))).collect();
        put(format!(
            "<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"2\" points=\"{}\"/>",
            line.colour,
            points.join(" ")
        ));
        put(format!(
            "<text x=\"{:.1}\" y=\"38\" fill=\"{}\">{}</text>",
            LEFT + 80.0 * at as f64,
            line.colour,
            line.name
        ));
    }
    put("</svg>".into());
    text
}
