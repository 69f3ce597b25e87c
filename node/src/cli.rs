//! The command line's grammar, from which help, completions and the man page come, and its dispatch.

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::{
    commands::{
        backup, bench, check, compact, completions, config, election, enrol, export, import, init, key, kv, plugin,
        run, sim, status, trustee, verify, verify_diff, vote,
    },
    devnet,
    exit::{EXIT_CODES_HELP, Failure},
    logging::{self, LogFormat},
};

const EXAMPLES: &str = "\
Examples:
  quorate devnet                        a network of three validators on this machine
  quorate status                        how its validators stand
  quorate run --config validator-1.toml run one node

Results go to stdout, logs and progress to stderr. NO_COLOR turns colours off; RUST_LOG sets what is logged when --log-level \
does not.";

/// Runs networks of validators that make transactions final by a quorum, and checks what they made.
#[derive(Debug, Parser)]
#[command(
    name = "quorate",
    version,
    after_help = format!("{EXAMPLES}\n\n{EXIT_CODES_HELP}"),
    subcommand_required = true,
    arg_required_else_help = true,
    propagate_version = true,
    max_term_width = 120
)]
pub struct Cli {
    /// For all commands.
    #[command(flatten)]
    pub globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Default, Args)]
pub struct Globals {
    /// How log lines on stderr look
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value_t, help_heading = "Logs")]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or `module=level`, comma-separated [default: RUST_LOG, else info for
    /// devnet and run, warn for the rest]
    #[arg(long, global = true, value_name = "LEVEL", help_heading = "Logs")]
    pub log_level: Option<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a whole network on this machine, every node a process of its own
    #[command(after_help = devnet::EXAMPLES)]
    Devnet(devnet::DevnetArgs),
    /// Write the files of a new network: genesis, keys, one TOML file a node
    #[command(after_help = init::EXAMPLES)]
    Init(init::InitArgs),
    /// Run one node in the foreground until SIGINT or SIGTERM
    #[command(after_help = run::EXAMPLES)]
    Run(run::RunArgs),
    /// Check a node's file and genesis without starting anything
    #[command(after_help = check::EXAMPLES)]
    Check(check::CheckArgs),
    /// Show a node's effective settings, or the schema of its file
    #[command(after_help = config::EXAMPLES)]
    Config(config::ConfigArgs),
    /// Make and show node keys
    #[command(after_help = key::EXAMPLES)]
    Key(key::KeyArgs),
    /// Show how nodes stand
    #[command(after_help = status::EXAMPLES)]
    Status(status::StatusArgs),
    /// Audit a chain from genesis, or check one receipt
    #[command(after_help = verify::EXAMPLES)]
    Verify(verify::VerifyArgs),
    /// Show that one chain is the beginning of another
    #[command(after_help = verify_diff::EXAMPLES)]
    VerifyDiff(verify_diff::VerifyDiffArgs),
    /// Write a chain into one file
    #[command(after_help = export::EXAMPLES)]
    Export(export::ExportArgs),
    /// Read an exported chain into a data directory, verifying it on the way
    #[command(after_help = import::EXAMPLES)]
    Import(import::ImportArgs),
    /// Have a running node write a consistent copy of its data
    #[command(after_help = backup::EXAMPLES)]
    Backup(backup::BackupArgs),
    /// Make the store of a node that does not run as small as it can be
    #[command(after_help = compact::EXAMPLES)]
    Compact(compact::CompactArgs),
    /// Sign, submit and ask for key-value transactions
    #[command(after_help = kv::EXAMPLES)]
    Kv(kv::KvArgs),
    /// Draft, open and close elections, and look at them
    #[command(after_help = election::EXAMPLES)]
    Election(election::ElectionArgs),
    /// Make the list of who may vote
    #[command(after_help = enrol::EXAMPLES)]
    Enrol(enrol::EnrolArgs),
    /// Encrypt, audit and cast a ballot
    #[command(after_help = vote::EXAMPLES)]
    Vote(vote::VoteArgs),
    /// Make an election's key together, and decrypt its sums
    #[command(after_help = trustee::EXAMPLES)]
    Trustee(trustee::TrusteeArgs),
    /// The plugins of this program
    #[command(after_help = plugin::EXAMPLES)]
    Plugin(plugin::PluginArgs),
    /// Measure a network under a load: throughput, latency to final, resources
    #[command(after_help = bench::EXAMPLES)]
    Bench(bench::BenchArgs),
    /// Torture a consensus plugin in simulated networks
    #[command(after_help = sim::EXAMPLES)]
    Sim(sim::SimArgs),
    /// Print a completion script for a shell
    #[command(after_help = completions::EXAMPLES)]
    Completions(completions::CompletionsArgs),
    /// Print the manual page
    #[command(after_help = "Example:\n  quorate man | man -l -")]
    Man,
}

impl Command {
    /// What is logged unless flag or environment say otherwise.
    fn default_level(&self) -> &'static str {
        match self {
            Command::Devnet(_) | Command::Run(_) => "info",
            _ => "warn",
        }
    }
}

impl Cli {
    /// Does what is asked.
    ///
    /// # Errors
    ///
    /// [`Failure`]: the exit code and what to tell.
    pub fn execute(self) -> Result<(), Failure> {
        let Self { globals, command } = self;
        logging::start(globals.log_format, globals.log_level.as_deref(), command.default_level())?;
        match command {
            Command::Devnet(args) => devnet::run(&args, &globals),
            Command::Init(args) => init::run(&args),
            Command::Run(args) => run::run(&args),
            Command::Check(args) => check::run(&args),
            Command::Config(args) => config::run(&args),
            Command::Key(args) => key::run(&args),
            Command::Status(args) => status::run(&args),
            Command::Verify(args) => verify::run(&args),
            Command::Export(args) => export::run(&args),
            Command::Import(args) => import::run(&args),
            Command::Backup(args) => backup::run(&args),
            Command::Compact(args) => compact::run(&args),
            Command::Kv(args) => kv::run(&args),
            Command::VerifyDiff(args) => verify_diff::run(&args),
            Command::Election(args) => election::run(&args),
            Command::Enrol(args) => enrol::run(&args),
            Command::Vote(args) => vote::run(&args),
            Command::Trustee(args) => trustee::run(&args),
            Command::Plugin(args) => plugin::run(&args),
            Command::Bench(args) => bench::run(&args),
            Command::Sim(args) => sim::run(&args),
            Command::Completions(args) => completions::completions(&args, &mut Cli::command()),
            Command::Man => completions::man(Cli::command()),
        }
    }
}
