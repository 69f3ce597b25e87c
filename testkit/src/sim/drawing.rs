//! A run as one HTML file: a lane for each process, time downwards, messages as arrows; nothing is loaded from anywhere.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{plan::NEVER, record::Mark};

/// Marks that are drawn at most: the last ones tell how it came to it.
pub const DRAWN_MAX: usize = 1500;

/// Pixels from one lane to the next.
const LANE: u64 = 300;

/// Pixels left of the first lane, for times.
const GUTTER: u64 = 110;

/// Where the drawing begins below its upper edge.
const TOP: u64 = 24;

/// Pixels that lanes go on below the last mark.
const BOTTOM: u64 = 50;

/// Pixels between two marks at most, however much time lies between them.
const GAP_MAX: u64 = 44;

/// Pixels between two marks with words at least.
const LINE: u64 = 16;

/// Pixels between two messages at least.
const STEP: u64 = 3;

/// Microseconds which take one pixel, within the bounds above.
const US_PER_PIXEL: u64 = 2500;

/// What is drawn.
#[derive(Debug, Clone, Copy)]
pub struct Story<'a> {
    /// The heading.
    pub title: &'a str,
    /// What was violated, if anything was.
    pub violation: Option<&'a str>,
    /// Names and values in a table below the heading.
    pub about: &'a [(&'a str, String)],
    /// The processes by name.
    pub lanes: &'a [String],
    /// What happened.
    pub marks: &'a [Mark],
    /// The same as lines.
    pub timeline: &'a [String],
}

impl Mark {
    fn at_us(&self) -> u64 {
        match self {
            Self::Up { at_us, .. }
            | Self::Down { at_us, .. }
            | Self::Suspended { at_us, .. }
            | Self::Message { at_us, .. }
            | Self::Lost { at_us, .. }
            | Self::Signed { at_us, .. }
            | Self::Committed { at_us, .. }
            | Self::Fault { at_us, .. }
            | Self::Note { at_us, .. }
            | Self::Violation { at_us, .. } => *at_us,
        }
    }

    /// Pixels that it keeps free above itself.
    fn room(&self) -> u64 {
        match self {
            Self::Message { .. } | Self::Lost { .. } => STEP,
            _ => LINE,
        }
    }
}

/// Text as HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A colour that is always the same for the same word, as degrees.
fn hue(word: &str) -> u32 {
    let sum = word.bytes().fold(2_166_136_261_u32, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(16_777_619));
    (sum >> 8) % 360
}

/// What kind of message it is: its first word without a number in it.
fn kind(words: &str) -> &str {
    let named = |word: &&str| word.len() > 1 && word.chars().all(char::is_alphabetic);
    words.split([' ', '(']).find(named).unwrap_or("message")
}

/// Where times are on the page: busy times take room, idle ones do not.
struct Scale(BTreeMap<u64, u64>);

impl Scale {
    fn of(marks: &[&Mark]) -> Self {
        let mut room: BTreeMap<u64, u64> = BTreeMap::new();
        let first = marks.iter().map(|mark| mark.at_us()).min().unwrap_or(0);
        for mark in marks {
            *room.entry(mark.at_us()).or_default() += mark.room();
            if let Mark::Message { sent_us, .. } = mark {
                room.entry((*sent_us).max(first)).or_default();
            }
        }
        let (mut y, mut before) = (TOP, first);
        let place = |(at, room): (u64, u64)| {
            y += room.max((at - before) / US_PER_PIXEL).min(GAP_MAX.max(room));
            before = at;
            (at, y)
        };
        Self(room.into_iter().map(place).collect())
    }

    /// Where a time is: at the first known one that is not before it.
    fn y(&self, at_us: u64) -> u64 {
        self.0.range(at_us..).next().map_or(self.end(), |(_, y)| *y)
    }

    fn end(&self) -> u64 {
        self.0.last_key_value().map_or(TOP, |(_, y)| *y) + BOTTOM
    }
}

struct Drawing<'a> {
    story: &'a Story<'a>,
    marks: Vec<&'a Mark>,
    scale: Scale,
    svg: String,
    /// Below which height of the page each lane's words may be written.
    free: BTreeMap<usize, u64>,
    kinds: BTreeMap<&'a str, u64>,
}

fn lane_x(lane: usize) -> u64 {
    GUTTER + LANE / 3 + lane as u64 * LANE
}

/// Draws a story.
pub fn html(story: &Story<'_>) -> String {
    let skipped = story.marks.len().saturating_sub(DRAWN_MAX);
    let mut marks: Vec<&Mark> = story.marks.iter().skip(skipped).collect();
    marks.sort_by_key(|mark| mark.at_us());
    let scale = Scale::of(&marks);
    let (svg, free, kinds) = Default::default();
    let mut drawing = Drawing { story, marks, scale, svg, free, kinds };
    drawing.draw();
    drawing.page(skipped)
}

impl<'a> Drawing<'a> {
    fn put(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = self.svg.write_fmt(element);
        self.svg.push('\n');
    }

    fn width(&self) -> u64 {
        lane_x(self.story.lanes.len())
    }

    fn draw(&mut self) {
        let marks = self.marks.clone();
        // Bands first, so that all else lies above them.
        for mark in &marks {
            self.band(mark);
        }
        let end = self.scale.end();
        for lane in 0..self.story.lanes.len() {
            let x = lane_x(lane);
            self.put(format_args!("<line class=\"lane\" x1=\"{x}\" y1=\"0\" x2=\"{x}\" y2=\"{end}\"/>"));
        }
        self.absences(&marks);
        self.times(&marks);
        for mark in &marks {
            self.arrow(mark);
        }
        for mark in &marks {
            self.event(mark);
        }
    }

    fn band(&mut self, mark: &Mark) {
        let (at, until, lanes, class, words) = match mark {
            Mark::Fault { at_us, until_us, lanes, words } => {
                (*at_us, *until_us, lanes.clone(), "fault", words.as_str())
            }
            Mark::Suspended { at_us, until_us, lane } => (*at_us, *until_us, vec![*lane], "suspended", "not scheduled"),
            _ => return,
        };
        let (from, to) = (self.scale.y(at), if until == NEVER { self.scale.end() } else { self.scale.y(until) });
        for lane in lanes {
            let (x, height) = (lane_x(lane) - 9, (to - from).max(3));
            let words = escaped(words);
            self.put(format_args!(
                "<rect class=\"{class}\" x=\"{x}\" y=\"{from}\" width=\"18\" height=\"{height}\"><title>{words}</title></rect>"
            ));
        }
    }

    /// Draws over a lane's line where its process was not there.
    fn absences(&mut self, marks: &[&Mark]) {
        let end = self.scale.end();
        let mut gone: BTreeMap<usize, u64> = BTreeMap::new();
        let mut spans = Vec::new();
        for mark in marks {
            match mark {
                Mark::Down { at_us, lane } => drop(gone.insert(*lane, self.scale.y(*at_us))),
                Mark::Up { at_us, lane } => {
                    let from = gone.remove(lane);
                    spans.extend(from.map(|from| (*lane, from, self.scale.y(*at_us))));
                }
                _ => {}
            }
        }
        spans.extend(gone.into_iter().map(|(lane, from)| (lane, from, end)));
        for (lane, from, to) in spans {
            let x = lane_x(lane);
            self.put(format_args!("<line class=\"gone\" x1=\"{x}\" y1=\"{from}\" x2=\"{x}\" y2=\"{to}\"/>"));
        }
    }

    fn times(&mut self, marks: &[&Mark]) {
        let mut next = 0;
        for mark in marks {
            let (at, y) = (mark.at_us(), self.scale.y(mark.at_us()));
            if y >= next {
                next = y + LINE * 2;
                let (ms, width) = (at / 1000, self.width());
                self.put(format_args!("<line class=\"grid\" x1=\"{GUTTER}\" y1=\"{y}\" x2=\"{width}\" y2=\"{y}\"/>"));
                let (x, y) = (GUTTER - 12, y + 4);
                self.put(format_args!("<text class=\"time\" x=\"{x}\" y=\"{y}\">{ms} ms</text>"));
            }
        }
    }

    fn arrow(&mut self, mark: &'a Mark) {
        match mark {
            Mark::Message { sent_us, from, at_us, to, words } if from != to => {
                let kind = kind(words);
                *self.kinds.entry(kind).or_default() += 1;
                let (x1, y1, y2) = (lane_x(*from), self.scale.y(*sent_us), self.scale.y(*at_us));
                let x2 = if lane_x(*to) > x1 { lane_x(*to) - 3 } else { lane_x(*to) + 3 };
                let (name, title) = (class(kind), escaped(words));
                let (from, to) = (self.lane(*from), self.lane(*to));
                let (sent, came) = (sent_us / 1000, at_us / 1000);
                self.put(format_args!(
                    "<g class=\"message {name}\"><title>{from} to {to}, {sent} to {came} ms: {title}</title>\
                     <line x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\" marker-end=\"url(#tip)\"/>\
                     <line class=\"wide\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"/></g>"
                ));
            }
            Mark::Lost { at_us, from, to: Some(to), words } if from != to => {
                let kind = kind(words);
                *self.kinds.entry(kind).or_default() += 1;
                let (x1, y) = (lane_x(*from), self.scale.y(*at_us));
                let x2 = if lane_x(*to) > x1 { x1 + LANE / 4 } else { x1 - LANE / 4 };
                let (name, title, at) = (class(kind), escaped(words), at_us / 1000);
                let (from, to) = (self.lane(*from), self.lane(*to));
                self.put(format_args!(
                    "<g class=\"message lost {name}\"><title>lost: {from} to {to}, {at} ms: {title}</title>\
                     <line x1=\"{x1}\" y1=\"{y}\" x2=\"{x2}\" y2=\"{y}\" marker-end=\"url(#cross)\"/></g>"
                ));
            }
            _ => {}
        }
    }

    fn lane(&self, lane: usize) -> String {
        escaped(self.story.lanes.get(lane).map_or("?", String::as_str))
    }

    /// Words beside a lane, below those that stand there already.
    fn label(&mut self, lane: usize, at_us: u64, class: &str, words: &str) {
        let free = self.free.entry(lane).or_default();
        let y = self.scale.y(at_us).max(*free);
        *free = y + LINE - 3;
        let (x, y, words) = (lane_x(lane) + 13, y + 4, escaped(words));
        self.put(format_args!("<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{words}</text>"));
    }

    fn across(&mut self, at_us: u64, class: &str, words: &str) {
        // A violation is the last of all; it stands below what happened at that moment.
        let below = if class == "violation" { LINE * 2 } else { 0 };
        let (y, width) = (self.scale.y(at_us) + below, self.width());
        self.put(format_args!("<line class=\"{class}\" x1=\"0\" y1=\"{y}\" x2=\"{width}\" y2=\"{y}\"/>"));
        let (y, words) = (y - 5, escaped(words));
        self.put(format_args!("<text class=\"{class}\" x=\"{GUTTER}\" y=\"{y}\">{words}</text>"));
    }

    fn event(&mut self, mark: &Mark) {
        match mark {
            Mark::Up { at_us, lane } => self.label(*lane, *at_us, "up", "starts"),
            Mark::Down { at_us, lane } => {
                let (x, y) = (lane_x(*lane), self.scale.y(*at_us));
                self.put(format_args!("<path class=\"dies\" d=\"M{x} {y} m-6 -6 l12 12 m0 -12 l-12 12\"/>"));
                self.label(*lane, *at_us, "down", "dies");
            }
            Mark::Suspended { at_us, until_us, lane } => {
                let words = format!("not scheduled until {} ms", until_us / 1000);
                self.label(*lane, *at_us, "suspend", &words);
            }
            Mark::Signed { at_us, lane, words, refused } => {
                let (x, y) = (lane_x(*lane), self.scale.y(*at_us));
                let class = if *refused { "refused" } else { "signed" };
                self.put(format_args!("<circle class=\"{class}\" cx=\"{x}\" cy=\"{y}\" r=\"3.5\"/>"));
                let verb = if *refused { "is refused" } else { "signs" };
                self.label(*lane, *at_us, class, &format!("{verb} {words}"));
            }
            Mark::Committed { at_us, lane, height, hash, by_catch_up } => {
                let free = self.free.entry(*lane).or_default();
                let y = self.scale.y(*at_us).max(*free);
                *free = y + LINE + 3;
                let (x, top, hue) = (lane_x(*lane) - 7, y - 8, hue(hash));
                let (how, width) = if *by_catch_up { (" by catch-up", 190) } else { ("", 120) };
                self.put(format_args!(
                    "<g class=\"final\"><rect x=\"{x}\" y=\"{top}\" width=\"{width}\" height=\"17\" rx=\"4\" \
                     fill=\"hsl({hue} 65% 82%)\" stroke=\"hsl({hue} 60% 35%)\"/><text x=\"{}\" y=\"{}\">final: {height} {}{how}</text></g>",
                    x + 8,
                    y + 5,
                    escaped(hash),
                ));
            }
            Mark::Fault { at_us, lanes, words, .. } => match lanes.first() {
                Some(lane) => self.label(*lane, *at_us, "struck", &format!("fault: {words}")),
                None => self.across(*at_us, "note", &format!("fault: {words}")),
            },
            Mark::Note { at_us, words } => self.across(*at_us, "note", words),
            Mark::Violation { at_us, words } => self.across(*at_us, "violation", words),
            Mark::Message { .. } | Mark::Lost { .. } => {}
        }
    }

    fn page(self, skipped: usize) -> String {
        let (width, height) = (self.width(), self.scale.end() + BOTTOM / 2);
        let story = self.story;
        let mut kinds = String::new();
        let mut colours = String::new();
        let many = self.kinds.len().max(1);
        for (at, (kind, count)) in self.kinds.iter().enumerate() {
            let (name, hue, word) = (class(kind), at * 360 / many, escaped(kind));
            let _ = write!(
                kinds,
                "<label class=\"{name}\"><input type=\"checkbox\" checked data-kind=\"{name}\"><b></b>{word} <i>{count}</i></label>"
            );
            let _ = writeln!(colours, ".{name}{{--c:hsl({hue} 70% 38%)}} .no-{name} g.{name}{{display:none}}");
        }
        let rows: String = story
            .about
            .iter()
            .map(|(name, value)| format!("<tr><th>{name}</th><td>{}</td></tr>", escaped(value)))
            .collect();
        let violation =
            story.violation.map_or(String::new(), |words| format!("<p class=\"violation\">{}</p>", escaped(words)));
        let skipped = if skipped > 0 {
            format!("<p>The first {skipped} marks are not drawn; the text below begins earlier.</p>")
        } else {
            String::new()
        };
        let heads: String = (0..story.lanes.len())
            .map(|lane| format!("<text x=\"{}\" y=\"20\">{}</text>", lane_x(lane), self.lane(lane)))
            .collect();
        let lines: String = story.timeline.iter().map(|line| escaped(line) + "\n").collect();
        let (title, svg) = (escaped(story.title), &self.svg);
        format!(
            "<!doctype html>
<html lang=\"en\"><head><meta charset=\"utf-8\">
<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">
<title>{title}</title>
<style>{STYLE}{colours}</style></head>
<body><header><h1>{title}</h1>{violation}<table>{rows}</table>{skipped}
<p class=\"kinds\">{kinds}</p></header>
<div class=\"lanes\"><svg class=\"heads\" width=\"{width}\" height=\"30\">{heads}</svg>
<svg id=\"drawing\" width=\"{width}\" height=\"{height}\"><defs>
<marker id=\"tip\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path d=\"M0 1 L10 5 L0 9 z\" fill=\"context-stroke\"/></marker>
<marker id=\"cross\" viewBox=\"0 0 10 10\" refX=\"5\" refY=\"5\" markerWidth=\"8\" markerHeight=\"8\"><path d=\"M1 1 L9 9 M9 1 L1 9\" stroke=\"context-stroke\" stroke-width=\"2\"/></marker>
</defs>
{svg}</svg></div>
<details><summary>The same as text: {count} lines</summary><pre>{lines}</pre></details>
<script>{SCRIPT}</script></body></html>
",
            count = story.timeline.len(),
        )
    }
}

/// A kind of message as the name of a class.
fn class(kind: &str) -> String {
    let word: String = kind.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("k-{word}")
}

const STYLE: &str = "
:root{color-scheme:light;font:14px/1.45 system-ui,sans-serif;color:#1b1f24;background:#fff}
body{margin:0}
header{padding:16px 24px}
h1{font-size:19px;margin:0 0 8px}
p.violation{background:#fdecea;border-left:5px solid #c0261c;padding:8px 12px;margin:8px 0;font-weight:600}
table{border-collapse:collapse}
th{text-align:left;vertical-align:top;padding:1px 16px 1px 0;font-weight:600;color:#57606a;white-space:nowrap}
td{padding:1px 0;white-space:pre-line}
.kinds label{display:inline-block;margin-right:16px;cursor:pointer}
.kinds b{display:inline-block;width:18px;height:4px;background:var(--c);margin:0 5px 3px 2px}
.kinds i{color:#6e7781;font-style:normal}
.lanes{overflow-x:auto;max-height:92vh;overflow-y:auto;border-top:1px solid #d0d7de;border-bottom:1px solid #d0d7de}
svg{display:block}
svg.heads{position:sticky;top:0;background:#f6f8fa;border-bottom:1px solid #d0d7de;z-index:1}
svg.heads text{font-weight:600;text-anchor:middle}
svg text{font:11px system-ui,sans-serif;paint-order:stroke;stroke:#fff;stroke-width:3px;stroke-linejoin:round}
svg.heads text{font-size:14px;stroke:#f6f8fa}
.lane{stroke:#57606a;stroke-width:1.6}
.gone{stroke:#fff;stroke-width:3;stroke-dasharray:5 5}
.grid{stroke:#eaeef2}
text.time{text-anchor:end;fill:#6e7781}
rect.fault{fill:#f4b6b0;opacity:.75}
rect.suspended{fill:#f2dd92;opacity:.9}
.message line{stroke:var(--c);stroke-width:1.2;opacity:.75}
.message line.wide{stroke:transparent;stroke-width:8;opacity:1}
.message:hover line{stroke-width:3;opacity:1}
.message:hover line.wide{stroke:transparent}
.lost line{stroke-dasharray:4 3}
circle.signed{fill:#1b1f24}
circle.refused{fill:#c0261c}
text.signed{fill:#1b1f24}
text.refused,text.down,text.struck{fill:#a3160d}
text.suspend{fill:#7a5b00}
text.up{fill:#116329}
.dies{stroke:#c0261c;stroke-width:2.5;fill:none}
.final text{font-weight:600;stroke:none}
line.note{stroke:#8c959f;stroke-dasharray:3 4}
text.note{fill:#57606a;font-style:italic}
line.violation{stroke:#c0261c;stroke-width:3}
text.violation{fill:#c0261c;font-weight:700;font-size:13px}
details{padding:12px 24px}
pre{font:12px/1.4 ui-monospace,monospace;overflow-x:auto}
";

const SCRIPT: &str = "
for (const box of document.querySelectorAll('input[data-kind]'))
  box.addEventListener('change', () => document.getElementById('drawing').classList.toggle('no-' + box.dataset.kind, !box.checked));
const lanes = document.querySelector('.lanes');
if (document.querySelector('line.violation')) lanes.scrollTop = lanes.scrollHeight;
";

#[cfg(test)]
mod tests {
    use super::*;

    fn story<'a>(lanes: &'a [String], marks: &'a [Mark], about: &'a [(&'a str, String)]) -> Story<'a> {
        Story { title: "<a>", violation: Some("S1 agreement: a & b"), about, lanes, marks, timeline: &[] }
    }

    #[test]
    fn what_is_drawn_is_escaped_and_loads_nothing() {
        let lanes = ["node0".to_owned(), "node1".to_owned()];
        let marks = [
            Mark::Up { at_us: 5, lane: 0 },
            Mark::Message { sent_us: 6, from: 0, at_us: 9000, to: 1, words: "h1 Proposal <x>".into() },
            Mark::Fault { at_us: 10, until_us: NEVER, lanes: vec![1], words: "gone".into() },
            Mark::Committed { at_us: 10_000, lane: 1, height: 1, hash: "ab".into(), by_catch_up: false },
            Mark::Violation { at_us: 11_000, words: "S1 agreement".into() },
        ];
        let html = html(&story(&lanes, &marks, &[("seed", "7".into())]));
        assert!(html.contains("&lt;a&gt;") && html.contains("Proposal &lt;x&gt;") && !html.contains("<x>"));
        assert!(html.contains("data-kind=\"k-Proposal\""), "messages can be hidden by kind");
        for outside in ["http://", "https://", "src=", "@import", "url(h"] {
            assert!(!html.contains(outside), "{outside}");
        }
    }

    #[test]
    fn idle_times_take_little_room_and_order_is_kept() {
        let note = |at_us| Mark::Note { at_us, words: String::new() };
        let marks = [note(0), note(1000), note(100_000_000), note(100_000_001)];
        let scale = Scale::of(&marks.iter().collect::<Vec<_>>());
        let places: Vec<u64> = marks.iter().map(|mark| scale.y(mark.at_us())).collect();
        assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
        assert!(places[3] - places[0] < 4 * GAP_MAX, "{places:?}");
    }
}
