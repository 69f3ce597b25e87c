//! What holds in every slot: descriptors, settings, and nothing left behind.

use std::{
    fs,
    time::{Duration, Instant},
};

use quorate::{
    Settings,
    plugin::{Descriptor, SetupError},
};

use super::rule::{OrBroken, Outcome, Rule, Trouble, broken, does_not_apply, ensure};

/// How often a plugin's object is made and dropped.
const CYCLES: usize = 100;

/// What a process may have more after so many cycles: less than one a cycle, more than what other tests of the process do meanwhile.
const GROWTH_MAX: usize = CYCLES / 2;

/// How long threads and descriptors of dropped objects may take to be gone.
const SETTLING: Duration = Duration::from_secs(10);

/// A key that no plugin has.
const NO_KEY: &str = "no_plugin_has_this_key";

pub(super) const DESCRIPTOR: Rule = Rule {
    name: "the descriptor says who it is",
    sentence: "The name in TOML: lower-case letters, digits and hyphens.",
    file: "plugin.rs",
};

pub(super) const EXAMPLE: Rule = Rule {
    name: "the example of its settings parses",
    sentence: "An example of its own settings, every key commented; parses as they do.",
    file: "plugin.rs",
};

pub(super) const UNKNOWN_KEY: Rule = Rule {
    name: "an unknown key is refused with its place",
    sentence: "A table with a key that the plugin does not know is refused, with the place of the key.",
    file: "plugin.rs",
};

pub(super) const NOTHING_LEFT: Rule = Rule {
    name: "made and dropped a hundred times leaves nothing",
    sentence: "What it makes can be dropped at any time, used or not, and leaves no thread and no file descriptor behind.",
    file: "plugin.rs",
};

/// The sentence of the rules on two objects of one plugin.
pub(super) const APART: &str = "Two objects that it makes share nothing but what their settings and contexts name.";

pub(super) fn descriptor(descriptor: &Descriptor) -> Outcome {
    let Descriptor { name, version, summary, .. } = descriptor;
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    ensure(!name.is_empty() && name.chars().all(good), || {
        format!("the name is `{name}`; it must be lower-case letters, digits and hyphens")
    })?;
    let numbers = version.split(['-', '+']).next().unwrap_or_default().split('.').map(str::parse::<u32>);
    ensure(numbers.clone().count() == 3 && numbers.clone().all(|number| number.is_ok()), || {
        format!("the version is `{version}`; it must be three numbers, such as 1.0.2")
    })?;
    ensure(!summary.trim().is_empty() && !summary.contains('\n'), || {
        format!("the summary is {summary:?}; it must be one line")
    })
}

/// `check` reads settings as the plugin does.
pub(super) fn example(descriptor: &Descriptor, check: impl Fn(&Settings) -> Result<(), SetupError>) -> Outcome {
    let example = descriptor.example;
    if example.is_empty() {
        return does_not_apply("it has no settings");
    }
    let mut commented = false;
    for line in example.lines().map(str::trim) {
        let is_key = line.split_once('=').is_some_and(|(key, _)| !key.contains(['#', '"', '[']));
        ensure(commented || !is_key, || format!("no comment stands above `{line}` in the example"))?;
        commented = line.starts_with('#') || commented && !line.is_empty();
    }
    check(&Settings::from_text(example)).or_broken("reading the example")
}

/// `text` are settings that `check` takes.
pub(super) fn unknown_key(text: &str, check: impl Fn(&Settings) -> Result<(), SetupError>) -> Outcome {
    check(&Settings::from_text(text)).or_broken("reading the settings that the suite was given")?;
    let error = match check(&Settings::from_text(&format!("{NO_KEY} = 1\n{text}"))) {
        Ok(()) => return broken(format!("`{NO_KEY} = 1` was accepted")),
        Err(SetupError::Settings(errors)) => errors,
        Err(other) => return broken(format!("the error has no place in the file: {other}")),
    };
    let named = error.iter().find(|one| one.to_string().contains(NO_KEY));
    let Some(named) = named else {
        return broken(format!("no error names `{NO_KEY}`: {}", quorate::diagnostics::render(&error)));
    };
    ensure((named.line, named.column) == (1, 1), || {
        format!("`{NO_KEY}` stands at 1:1, the error points at {}:{}", named.line, named.column)
    })
}

/// Threads and file descriptors of this process.
fn held() -> Option<(usize, usize)> {
    let count = |path| fs::read_dir(path).ok().map(Iterator::count);
    Some((count("/proc/self/task")?, count("/proc/self/fd")?))
}

/// Runs `cycle`, which makes and drops an object.
pub(super) fn many_times(mut cycle: impl FnMut() -> Result<(), Trouble>) -> Outcome {
    for _ in 0..3 {
        cycle()?;
    }
    let Some(before) = held() else { return does_not_apply("this system has no /proc/self") };
    for _ in 0..CYCLES {
        cycle()?;
    }
    let deadline = Instant::now() + SETTLING;
    loop {
        let Some(after) = held() else { return does_not_apply("this system has no /proc/self") };
        let grown = |before: usize, after: usize| after > before + GROWTH_MAX;
        if !grown(before.0, after.0) && !grown(before.1, after.1) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return broken(format!(
                "after {CYCLES} times the process has {} threads where it had {}, and {} file descriptors where it had {}",
                after.0, before.0, after.1, before.1
            ));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
