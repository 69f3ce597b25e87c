//! `quorate completions` and `quorate man`: from the same definitions as the help.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::{exit::Failure, output};

/// Examples for `--help`.
pub const EXAMPLES: &str = "\
Examples:
  quorate completions bash > ~/.local/share/bash-completion/completions/quorate
  quorate completions zsh > ~/.zfunc/_quorate
  quorate completions fish > ~/.config/fish/completions/quorate.fish";

/// Options of `completions`.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// For which shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Prints a completion script.
///
/// # Errors
///
/// [`Failure`].
pub fn completions(args: &CompletionsArgs, command: &mut Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "quorate", &mut script);
    output::raw(&script)
}

/// Prints the manual page: one page, each command a section of its own.
///
/// # Errors
///
/// [`Failure`].
pub fn man(mut command: Command) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::failed(error.to_string());
    command.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page).map_err(failed)?;
    for subcommand in command.get_subcommands().filter(|one| !one.is_hide_set() && one.get_name() != "help") {
        let man = clap_mangen::Man::new(subcommand.clone());
        page.extend_from_slice(format!(".SH COMMAND {}\n", subcommand.get_name().to_uppercase()).as_bytes());
        man.render_synopsis_section(&mut page).map_err(failed)?;
        man.render_description_section(&mut page).map_err(failed)?;
        man.render_options_section(&mut page).map_err(failed)?;
        man.render_extra_section(&mut page).map_err(failed)?;
    }
    output::raw(&page)
}
