//! `quorate trustee`: the key that nobody has alone.

mod ceremony;
mod decrypt;
mod state;

use clap::{Args, Subcommand};

pub(crate) use ceremony::{CeremonyArgs, take_part};

use crate::{exit::Failure, rpc::block_on};

/// Examples for `--help`.
pub const EXAMPLES: &str = "\
Example. Before the election, each trustee, at about the same time:
  quorate trustee ceremony 0xDRAFT --secret trustee-1.secret.json --state trustee-1.state.json --wait
After it, as many as are needed:
  quorate trustee decrypt 0xEID --secret trustee-1.secret.json --state trustee-1.state.json --genesis genesis.toml

The state holds the trustee's share of the key, under the passphrase of the secret. Without it the trustee can't decrypt: keep a copy.";

/// Options of `trustee`.
#[derive(Debug, Clone, Args)]
pub struct TrusteeArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: TrusteeCommand,
}

/// What a trustee does.
#[derive(Debug, Clone, Subcommand)]
pub enum TrusteeCommand {
    /// Take part in making the key, as far as the others have come; the same command goes on where it stopped
    #[command(
        after_help = "Example:\n  quorate trustee ceremony 0xDRAFT --secret trustee-1.secret.json --state trustee-1.state.json --wait"
    )]
    Ceremony(ceremony::CeremonyArgs),
    /// Decrypt the sums of a closed election, after checking the whole ledger
    #[command(
        after_help = "Example:\n  quorate trustee decrypt 0xEID --secret trustee-1.secret.json --state trustee-1.state.json --genesis genesis.toml"
    )]
    Decrypt(decrypt::DecryptArgs),
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`].
pub fn run(args: &TrusteeArgs) -> Result<(), Failure> {
    match &args.command {
        TrusteeCommand::Ceremony(args) => block_on(ceremony::run(args)),
        TrusteeCommand::Decrypt(args) => block_on(decrypt::run(args)),
    }
}
