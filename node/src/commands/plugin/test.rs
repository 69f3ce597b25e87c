//! `quorate plugin test`: each rule of each plugin's slot, in a process of its own.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use clap::Args;
use quorate::{Bytes, plugin::ServicePlugin};
use quorate_abi::{
    Slot,
    host::{self, Provided},
};
use quorate_testkit::{
    conformance::{self, CHILD_VARIABLE, Rule, SEED_DEFAULT, SEED_VARIABLE, Trouble},
    sim::FaultModel,
};
use rustix::process::{Signal, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    bundled,
    conformance::{Inputs, try_rule},
    exit::{Exit, Failure},
    libraries::{self, Trial},
    output,
};

/// Examples for `--help`.
pub const EXAMPLES: &str = "\
Examples:
  quorate plugin test ./libmine.so
  quorate plugin test ./libmine.so --slot consensus --validators 4 --fault-model byzantine
  quorate plugin test ./libmine.so --rule \"no message makes it panic\" --seed 7
  quorate plugin test poa

Each rule runs in a process of its own: one that crashes, ends its process or hangs breaks its rule, and the next is tried. \
A plugin is tried with the settings of its example; in a file for --settings, `{listen}` stands for where a transport listens for \
peers or a service for clients, `{source}` for the source of a discovery, `{peer_key}` and `{peer_address}` for a node that it \
shall find. Transactions are for the network 0xc0c0..c0 (32 bytes c0). Exits with 0 when nothing was broken, 1 when something was, \
70 when the library can't be used.";

/// How a child's answer begins.
const ANSWER: &str = "quorate-rule ";

/// How often a child is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How long a child's last words are waited for after its end; whatever it started may hold its output open.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Bytes of a child's output that are read at most.
const OUTPUT_BYTES_MAX: u64 = 1 << 20;

/// Lines of a dead child's output that are shown.
const LINES_SHOWN: usize = 6;

/// Transactions which a file may have at most.
const TRANSACTIONS_MAX: usize = 10_000;

/// Options of `plugin test`.
#[derive(Debug, Clone, Args)]
pub struct TestArgs {
    /// A library, or a plugin of this program by its name
    #[arg(value_name = "LIBRARY")]
    pub library: PathBuf,
    /// Only the plugin of this name
    #[arg(long, value_name = "NAME")]
    pub plugin: Option<String>,
    /// Only plugins of this slot
    #[arg(long, value_name = "SLOT", value_parser = slot)]
    pub slot: Option<Slot>,
    /// Only this rule, by its whole name; may be repeated
    #[arg(long, value_name = "NAME")]
    pub rule: Vec<String>,
    /// What is drawn at random is drawn from this
    #[arg(long, value_name = "N", default_value_t = SEED_DEFAULT)]
    pub seed: u64,
    /// The plugin's settings, a TOML file; of a consensus or an application those in genesis, without `plugin` [default: the
    /// plugin's example, with times for short runs]
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
    /// The node's own settings of a consensus or an application
    #[arg(long, value_name = "FILE")]
    pub node_settings: Option<PathBuf>,
    /// What a consensus is held to: crash, byzantine-sync or byzantine [default: what it promises; where it does not say so in
    /// numbers, that validators may stop and come back]
    #[arg(long, value_name = "MODEL")]
    pub fault_model: Option<FaultModel>,
    /// Validators of the network in which a consensus is tried [default: the first of 3, 4, 1 which it takes; 2 where it does not
    /// say in numbers what it promises]
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=61))]
    pub validators: Option<usize>,
    /// Transactions to try an application with: 0x and hexadecimal digits, one a line, in an order in which they can be executed
    #[arg(long, value_name = "FILE")]
    pub transactions: Option<PathBuf>,
    /// A query which an application answers whatever the state, `PATH` or `PATH {PARAMETERS}`; may be repeated
    #[arg(long, value_name = "QUERY")]
    pub query: Vec<String>,
    /// A store does not outlive its process: rules on what survives do not apply
    #[arg(long)]
    pub volatile: bool,
    /// The service which a discovery asks: of the same library, or of this program
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// How long one rule may take, in seconds
    #[arg(long, value_name = "S", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub rule_wait_s: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Try the one rule in this process
    #[arg(long, hide = true)]
    pub in_this_process: bool,
}

pub(super) fn slot(word: &str) -> Result<Slot, String> {
    let words = Slot::ALL.map(Slot::as_str).join(", ");
    Slot::from_word(word).ok_or_else(|| format!("one of: {words}"))
}

/// What came of one rule, as the child says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", content = "detail", rename_all = "kebab-case")]
enum Outcome {
    Held,
    DoesNotApply(String),
    Broken(String),
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`]; [`Exit::Failed`] when a rule was broken, [`Exit::Plugin`] when the library can't be used.
pub fn run(args: &TestArgs) -> Result<(), Failure> {
    if args.in_this_process {
        return be_the_child(args);
    }
    // What the files lack is told once, not by every child.
    inputs(args, None)?;
    let plugins = find(args)?;
    if let Some(unknown) =
        args.rule.iter().find(|name| !plugins.iter().any(|one| rules(one, &[(*name).clone()]).len() == 1))
    {
        let known: Vec<String> =
            plugins.iter().flat_map(|one| rules(one, &[])).map(|rule| rule.name.to_owned()).collect();
        return Err(Failure::usage(format!(
            "there is no rule \"{unknown}\"; the rules are:\n  {}",
            known.join("\n  ")
        )));
    }
    let mut reports = Vec::new();
    let mut broken = 0;
    for plugin in &plugins {
        let about = plugin.descriptor();
        if !args.json {
            output::line(&format!("{} plugin `{}` {}, seed {}", plugin.slot(), about.name, about.version, args.seed))?;
        }
        let mut tried = Vec::new();
        for rule in rules(plugin, &args.rule) {
            let outcome = in_child(args, plugin, rule)?;
            let again = again(args, plugin, rule);
            if !args.json {
                output::line(&told(rule, &outcome, &again))?;
            }
            tried.push((rule, outcome, again));
        }
        let count = |which: fn(&Outcome) -> bool| tried.iter().filter(|(_, outcome, _)| which(outcome)).count();
        let held = count(|outcome| matches!(outcome, Outcome::Held));
        let here = count(|outcome| matches!(outcome, Outcome::Broken(_)));
        broken += here;
        if args.json {
            let findings: Vec<_> = tried.iter().map(|(rule, outcome, again)| finding(*rule, outcome, again)).collect();
            reports.push(json!({
                "slot": plugin.slot().as_str(),
                "plugin": about.name,
                "version": about.version,
                "seed": args.seed,
                "findings": findings,
            }));
        } else {
            let rest = tried.len() - held - here;
            output::line(&format!("{held} rules held, {here} broken, {rest} do not apply\n"))?;
        }
    }
    if args.json {
        output::json(&reports)?;
    }
    match broken {
        0 => Ok(()),
        1 => Err(Failure::failed("1 rule is broken")),
        many => Err(Failure::failed(format!("{many} rules are broken"))),
    }
}

/// A sentence of the contract, as it reads without links.
fn plain(sentence: &str) -> String {
    sentence.replace("[`", "`").replace("`]", "`")
}

fn told(rule: Rule, outcome: &Outcome, again: &str) -> String {
    let Rule { name, sentence, file } = rule;
    match outcome {
        Outcome::Held => format!("  held            {name}"),
        Outcome::DoesNotApply(why) => format!("  does not apply  {name}: {why}"),
        Outcome::Broken(detail) => format!(
            "  broken          {name}\n    the contract  \"{}\" (framework/api/src/{file})\n    what was seen {}\n    once more     {again}",
            plain(sentence),
            detail.replace('\n', "\n                  "),
        ),
    }
}

fn finding(rule: Rule, outcome: &Outcome, again: &str) -> serde_json::Value {
    let (word, detail) = match outcome {
        Outcome::Held => ("held", None),
        Outcome::DoesNotApply(why) => ("does-not-apply", Some(why)),
        Outcome::Broken(detail) => ("broken", Some(detail)),
    };
    json!({
        "rule": rule.name,
        "outcome": word,
        "detail": detail,
        "contract": plain(rule.sentence),
        "file": format!("framework/api/src/{}", rule.file),
        "once_more": again,
    })
}

/// The rules of a plugin's slot: all, or those of these names.
fn rules(plugin: &Provided, named: &[String]) -> Vec<Rule> {
    let slot = plugin.slot().as_str();
    let wanted = |rule: &Rule| named.is_empty() || named.iter().any(|name| name == rule.name);
    conformance::rules().into_iter().filter(|(of, rule)| *of == slot && wanted(rule)).map(|(_, rule)| rule).collect()
}

/// Whether a plugin of this program is meant, not a file.
fn is_bundled(library: &Path) -> bool {
    let name = library.to_str().unwrap_or_default();
    !name.contains(['/', '.']) && !library.exists()
}

/// The plugins that are meant.
fn find(args: &TestArgs) -> Result<Vec<Provided>, Failure> {
    let wanted = |plugin: &Provided| {
        args.slot.is_none_or(|slot| plugin.slot() == slot)
            && args.plugin.as_ref().is_none_or(|name| plugin.descriptor().name == name)
    };
    let shown = args.library.display().to_string();
    let (all, whose) = if is_bundled(&args.library) {
        let mine = bundled_plugins().into_iter().filter(|plugin| plugin.descriptor().name == shown).collect::<Vec<_>>();
        if mine.is_empty() {
            let message = format!("there is no file `{shown}`, and this program has no plugin of that name");
            return Err(Failure::new(Exit::Plugin, message));
        }
        (mine, format!("this program's `{shown}`"))
    } else {
        if !args.in_this_process {
            libraries::try_in_child(Trial::Library(&args.library))?;
        }
        let library =
            host::load(&args.library, &shown, None).map_err(|error| Failure::new(Exit::Plugin, error.to_string()))?;
        (library.plugins.clone(), format!("plugin library `{shown}`"))
    };
    let provides: Vec<String> =
        all.iter().map(|plugin| format!("{} plugin `{}`", plugin.slot(), plugin.descriptor().name)).collect();
    let found: Vec<Provided> = all.into_iter().filter(wanted).collect();
    if found.is_empty() {
        let of_slot = args.slot.map_or_else(String::new, |slot| format!("{slot} "));
        let named = args.plugin.as_ref().map_or_else(String::new, |name| format!(" `{name}`"));
        let message = format!("{whose}: has no {of_slot}plugin{named}; it provides {}", provides.join(", "));
        return Err(Failure::new(Exit::Plugin, message));
    }
    Ok(found)
}

/// The plugins of this program.
fn bundled_plugins() -> Vec<Provided> {
    let registry = bundled::registry();
    let found = |(slot, about): (&'static str, quorate::plugin::Descriptor)| {
        Some(match Slot::from_word(slot)? {
            Slot::Consensus => Provided::Consensus(registry.consensus(about.name).ok()?),
            Slot::Storage => Provided::Storage(registry.storage(about.name).ok()?),
            Slot::Application => Provided::Application(registry.application(about.name).ok()?),
            Slot::Transport => Provided::Transport(registry.transport(about.name).ok()?),
            Slot::Discovery => Provided::Discovery(registry.discovery(about.name).ok()?),
            Slot::Service => Provided::Service(registry.service(about.name).ok()?),
        })
    };
    registry.list().into_iter().filter_map(found).collect()
}

/// The arguments by which a rule of a plugin is tried again.
fn words(args: &TestArgs, plugin: &Provided, rule: Rule) -> Vec<String> {
    let mut words = vec![args.library.display().to_string()];
    let mut add = |option: &str, value: Option<String>| {
        if let Some(value) = value {
            words.extend([option.to_owned(), value]);
        }
    };
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    add("--plugin", Some(plugin.descriptor().name.to_owned()));
    add("--slot", Some(plugin.slot().to_string()));
    add("--rule", Some(rule.name.to_owned()));
    add("--seed", Some(args.seed.to_string()));
    add("--settings", path(&args.settings));
    add("--node-settings", path(&args.node_settings));
    add("--fault-model", args.fault_model.map(|model| model.to_string()));
    add("--validators", args.validators.map(|count| count.to_string()));
    add("--transactions", path(&args.transactions));
    args.query.iter().for_each(|query| add("--query", Some(query.clone())));
    add("--source", args.source.clone());
    if args.volatile {
        words.push("--volatile".into());
    }
    words
}

/// The command line that tries a rule again.
fn again(args: &TestArgs, plugin: &Provided, rule: Rule) -> String {
    let quoted = |word: String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+".contains(c);
        if word.chars().all(plain) { word } else { format!("'{}'", word.replace('\'', r"'\''")) }
    };
    let words: Vec<String> = words(args, plugin, rule).into_iter().map(quoted).collect();
    format!("quorate plugin test {}", words.join(" "))
}

/// Tries a rule in a child process.
fn in_child(args: &TestArgs, plugin: &Provided, rule: Rule) -> Result<Outcome, Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::failed(format!("this program: {error}")))?;
    let mut command = Command::new(program);
    command.args(["plugin", "test"]).args(words(args, plugin, rule)).arg("--in-this-process");
    // A writer of a store that somebody asked for in the environment is none of this.
    command.env(SEED_VARIABLE, args.seed.to_string()).env_remove(CHILD_VARIABLE);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| Failure::failed(format!("a process can't be started: {error}")))?;
    let (said, told) = (lines(child.stdout.take()), lines(child.stderr.take()));
    let status = wait(&mut child, Duration::from_secs(args.rule_wait_s))
        .map_err(|error| Failure::failed(format!("a process can't be waited for: {error}")))?;
    let hear = |lines: mpsc::Receiver<Vec<String>>| lines.recv_timeout(LAST_WORDS).unwrap_or_default();
    let (said, told) = (hear(said), hear(told));
    let Some(status) = status else {
        return Ok(Outcome::Broken(format!("it did not end within {} s, and was killed", args.rule_wait_s)));
    };
    if let Some(answer) = said.iter().rev().find_map(|line| line.strip_prefix(ANSWER)).filter(|_| status.success()) {
        return serde_json::from_str(answer)
            .map_err(|error| Failure::failed(format!("a child said `{answer}`: {error}")));
    }
    let last = told.iter().skip(told.len().saturating_sub(LINES_SHOWN)).cloned().collect::<Vec<_>>().join("\n");
    match status.code().and_then(|code| Exit::ALL.into_iter().find(|exit| i32::from(exit.code()) == code)) {
        // The child says of itself why no rule could be tried.
        Some(exit) if exit != Exit::Done && last.contains("error: ") => {
            let message = last.rsplit_once("error: ").map_or(last.as_str(), |(_, message)| message);
            Err(Failure::new(exit, message))
        }
        _ => {
            let ended = format!("the process of the plugin ended ({})", ending(status));
            Ok(Outcome::Broken(if last.is_empty() { ended } else { format!("{ended}; its last words:\n{last}") }))
        }
    }
}

fn ending(status: ExitStatus) -> String {
    host::signal(status)
        .unwrap_or_else(|| status.code().map_or_else(|| status.to_string(), |code| format!("exit code {code}")))
}

/// Reads what a child says, in a thread which ends with the child's output.
fn lines(output: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<String>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    if let Some(output) = output {
        std::thread::spawn(move || {
            let mut output = output;
            let lines: Vec<String> = BufReader::new((&mut output).take(OUTPUT_BYTES_MAX))
                .split(b'\n')
                .map_while(Result::ok)
                .map(|line| String::from_utf8_lossy(&line).into_owned())
                .collect();
            // Whoever says more than that is not held up by it.
            drop(std::io::copy(&mut output, &mut std::io::sink()));
            drop(sender.send(lines));
        });
    }
    receiver
}

/// Waits for a child, and ends it when its time is up.
fn wait(child: &mut Child, most: Duration) -> std::io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + most;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// What the child does.
fn be_the_child(args: &TestArgs) -> Result<(), Failure> {
    // It does not outlive who started it, and neither does what it starts; where the system can't, it ends by itself.
    let _unless_unsupported = set_parent_process_death_signal(Some(Signal::KILL));
    let [plugin] = &find(args)?[..] else { return Err(Failure::usage("--in-this-process is for one plugin")) };
    let [rule] = &args.rule[..] else { return Err(Failure::usage("--in-this-process is for one rule")) };
    let inputs = inputs(args, Some(plugin))?;
    let child = || {
        let mut command = Command::new(std::env::current_exe().unwrap_or_default());
        command.args(std::env::args_os().skip(1));
        command
    };
    let finding = try_rule(plugin, &inputs, rule, child)
        .map_err(Failure::config)?
        .ok_or_else(|| Failure::usage(format!("there is no rule \"{rule}\"")))?;
    let outcome = match finding.outcome {
        Ok(()) => Outcome::Held,
        Err(Trouble::DoesNotApply(why)) => Outcome::DoesNotApply(why),
        Err(Trouble::Broken(detail)) => Outcome::Broken(detail),
    };
    let answer = serde_json::to_string(&outcome).map_err(|error| Failure::failed(error.to_string()))?;
    // The plugin may have begun a line.
    output::line(&format!("\n{ANSWER}{answer}"))
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::reading(path.display(), &error))
}

/// What the suites are given.
fn inputs(args: &TestArgs, plugin: Option<&Provided>) -> Result<Inputs, Failure> {
    let transactions = match &args.transactions {
        Some(path) => transactions(path)?,
        None => Vec::new(),
    };
    let query = |query: &String| {
        let (path, params) = query.split_once(' ').unwrap_or((query, "{}"));
        (path.to_owned(), params.to_owned())
    };
    Ok(Inputs {
        settings: args.settings.as_deref().map(read).transpose()?,
        node_settings: args.node_settings.as_deref().map(read).transpose()?.unwrap_or_default(),
        fault_model: args.fault_model,
        validators: args.validators,
        transactions,
        queries: args.query.iter().map(query).collect(),
        volatile: args.volatile,
        source: match (&args.source, plugin) {
            (Some(name), Some(_)) => Some(source(args, name)?),
            _ => None,
        },
    })
}

/// The service which a discovery asks.
fn source(args: &TestArgs, name: &str) -> Result<std::sync::Arc<dyn ServicePlugin>, Failure> {
    if !is_bundled(&args.library) {
        let shown = args.library.display().to_string();
        let library =
            host::load(&args.library, &shown, None).map_err(|error| Failure::new(Exit::Plugin, error.to_string()))?;
        if let Ok(Provided::Service(service)) = library.plugin(&shown, Slot::Service, name) {
            return Ok(service);
        }
    }
    bundled::registry().service(name).map_err(|known| bundled::missing("service", name, &known))
}

/// Transactions from a file.
fn transactions(path: &Path) -> Result<Vec<Bytes>, Failure> {
    let text = read(path)?;
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() > TRANSACTIONS_MAX {
        return Err(Failure::usage(format!(
            "{}: {} lines; the limit is {TRANSACTIONS_MAX}",
            path.display(),
            lines.len()
        )));
    }
    let lines = lines.into_iter().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let one = |(at, line): (usize, &str)| {
        let bytes = line.trim().strip_prefix("0x").and_then(|digits| hex::decode(digits).ok());
        let wrong = || Failure::usage(format!("{}:{}: not 0x and hexadecimal digits", path.display(), at + 1));
        bytes.map(Bytes::from).ok_or_else(wrong)
    };
    lines.map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_child_says_is_understood() {
        for outcome in [Outcome::Held, Outcome::DoesNotApply("a".into()), Outcome::Broken("b\nc".into())] {
            let said = serde_json::to_string(&outcome).unwrap();
            assert!(!said.contains('\n'), "{said}");
            assert_eq!(serde_json::from_str::<Outcome>(&said).unwrap(), outcome);
        }
    }

    #[test]
    fn a_sentence_is_told_without_links() {
        assert_eq!(plain("At most [`SAVED_BYTES_MAX`] bytes."), "At most `SAVED_BYTES_MAX` bytes.");
    }
}
