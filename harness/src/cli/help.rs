//! The first screen of the help: the commands by the question that they answer, and what to type first.

/// Where everything stands; clap's own list of commands has no groups.
pub const TEMPLATE: &str = "\
{about-with-newline}
{usage-heading} {usage}

{after-help}

Options:
{options}
";

/// The commands, and examples.
pub const COMMANDS: &str = "\
Does a job survive concurrency?
  explore      Every order of its steps that matters, on a real database: a script, or your programs
  verify       Many at once, running freely: scenarios, scripts, your programs
  mutate       Without each of its defences: do the checks notice?
  repair       What would mend a script, each change tried to the end
  replay       One order again that explore found
  record       What any program does with its database
  run          All that driftlock.toml lists, with one summary and one exit code

What does a migration block, and can it be undone?
  rehearse     Migrations on a throw-away database, under traffic

How much load does it take?
  bench        A load, and where the time goes
  plan         The largest rate that meets an objective
  compare      Is the new version slower?
  merge        The runs of several load generators as one

And
  init         A commented file to begin with
  doctor       Which databases can be used here
  postgres     Other versions of PostgreSQL: which are here, and how to get one
  report       An earlier run again, as text or as a page
  recompute    The drift of a CSV file's customers
  completions  What a shell needs; manual pages
  help         This, or the help of a command

Examples:
  driftlock doctor
  driftlock init booking.toml && driftlock explore booking.toml --html booking.html
  driftlock rehearse migrations/ --open
  driftlock plan many-customers --slo 'p99<250ms'

Every command prints the command that replays it. Its own help has its limits: driftlock COMMAND --help";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn every_command_is_in_one_group_and_every_example_can_be_read() {
        let named = |name: &str| COMMANDS.lines().filter(|line| line.starts_with(&format!("  {name:<12} "))).count();
        let cli = Cli::command();
        let visible: Vec<&str> =
            cli.get_subcommands().filter(|one| !one.is_hide_set()).map(|one| one.get_name()).chain(["help"]).collect();
        for name in &visible {
            assert_eq!(named(name), 1, "{name}");
        }
        let listed = COMMANDS.lines().filter(|line| line.starts_with("  ") && !line.contains("driftlock "));
        assert_eq!(listed.count(), visible.len(), "nothing is listed that does not exist");
        let examples: Vec<&str> = COMMANDS.lines().filter_map(|line| line.strip_prefix("  driftlock ")).collect();
        assert!(examples.len() >= 4);
        for example in examples.iter().flat_map(|line| line.split(" && ")) {
            let words = example.trim_start_matches("driftlock ").split(' ').map(|word| word.trim_matches('\''));
            let words = std::iter::once("driftlock").chain(words);
            assert!(Cli::command().try_get_matches_from(words).is_ok(), "{example}");
        }
    }
}
