//! Errors in a file: what is wrong, where (file, line, column, with the line and a caret), and what was meant.

use std::ops::Range;

use borsh::{BorshDeserialize, BorshSerialize};

/// Characters of a line that are shown at most; of a longer one, those around what is wrong.
const SHOWN_MAX: usize = 160;

/// Characters shown before what is wrong at most, in a line that is not shown whole.
const SHOWN_BEFORE_MAX: usize = 80;

/// One error in one place of a file.
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Diagnostic {
    /// The file's name, as the reader knows it.
    pub file: String,
    /// From 1; 0 when no place is known.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The line as it stands.
    pub source: String,
    /// How many characters are wrong, at least 1.
    pub width: usize,
    /// What is wrong.
    pub message: String,
    /// What was meant, or what to do.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error at bytes `span` of `text`.
    pub fn at(file: &str, text: &str, span: Range<usize>, message: impl Into<String>) -> Self {
        let start = floor_char(text, span.start);
        let line_start = text.get(..start).and_then(|head| head.rfind('\n')).map_or(0, |at| at + 1);
        let source = text.get(line_start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
        let line = text.get(..start).map_or(0, |head| head.matches('\n').count()) + 1;
        let column = text.get(line_start..start).map_or(0, |head| head.chars().count()) + 1;
        let wrong = text.get(start..floor_char(text, span.end.max(start))).unwrap_or_default();
        let width = wrong.lines().next().map_or(1, |first| first.chars().count().max(1));
        Self { file: file.into(), line, column, source: source.into(), width, message: message.into(), help: None }
    }

    /// An error of the file as a whole.
    pub fn of_file(file: &str, message: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            line: 0,
            column: 0,
            source: String::new(),
            width: 0,
            message: message.into(),
            help: None,
        }
    }

    /// Adds what was meant, or what to do.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The line as it is shown, and where in that the error begins and how long it is.
    fn excerpt(&self) -> (String, usize, usize) {
        let before = self.column - 1;
        if self.source.chars().count() <= SHOWN_MAX {
            return (self.source.clone(), self.column, self.width);
        }
        let skipped = before.saturating_sub(SHOWN_BEFORE_MAX);
        let shown: String = self.source.chars().skip(skipped).take(SHOWN_MAX).collect();
        let column = before - skipped + 1;
        (shown, column, self.width.min(SHOWN_MAX + 1 - column))
    }
}

impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.line == 0 {
            write!(f, "{}: {}", self.file, self.message)?;
        } else {
            let number = self.line.to_string();
            let margin = " ".repeat(number.len());
            writeln!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
            let (shown, column, width) = self.excerpt();
            writeln!(f, "{margin} |")?;
            writeln!(f, "{number} | {shown}")?;
            write!(f, "{margin} | {}{}", " ".repeat(column - 1), "^".repeat(width))?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

/// As people read it: a program whose `main` returns an error shows it in this form.
impl std::fmt::Debug for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// All of them, one below the other.
pub fn render(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn floor_char(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The one of `known` that `word` was most likely meant to be.
pub fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1.max(candidate.len() / 3))
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_points_at_the_word() {
        let text = "[node]\nnmae = \"ä\"\n";
        let shown =
            Diagnostic::at("a.toml", text, 7..11, "unknown key `nmae`").with_help("did you mean `name`?").to_string();
        assert_eq!(
            shown,
            "a.toml:2:1: unknown key `nmae`\n  |\n2 | nmae = \"ä\"\n  | ^^^^\n  help: did you mean `name`?"
        );
    }

    #[test]
    fn of_a_long_line_only_what_is_around_the_error_is_shown() {
        let text = format!("a = {}!{}", "[".repeat(5_000), "]".repeat(5_000));
        for span in [5_004..5_005, 0..10_005, 10_004..10_005] {
            let shown = Diagnostic::at("a.toml", &text, span.clone(), "wrong").to_string();
            assert!(shown.len() < 500, "{shown}");
            let lines: Vec<&str> = shown.lines().collect();
            let caret = lines[3].find('^').unwrap();
            assert_eq!(lines[2].as_bytes()[caret], text.as_bytes()[span.start], "{shown}");
            assert!(lines[3].len() <= lines[2].len(), "{shown}");
        }
    }

    #[test]
    fn the_closest_word_is_close() {
        assert_eq!(closest("lisen", ["listen", "peers"]), Some("listen"));
        assert_eq!(closest("zzz", ["listen", "peers"]), None);
    }
}
