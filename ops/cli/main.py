"""``koban``: one command, a module a noun. Modules are imported only when their command runs, so that help is quick."""

from __future__ import annotations

import importlib

import click

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("ops.cli.demo", "Start everything, send simulated payments, and say what to open."),
    "up": ("ops.cli.platform", "Start the platform: engines, topics, jobs, workers, console."),
    "down": ("ops.cli.platform", "Stop the platform."),
    "status": ("ops.cli.platform", "Show each engine, worker and job: health, memory, restarts."),
    "logs": ("ops.cli.platform", "Show a component's log."),
    "doctor": ("ops.cli.platform", "Say what is wrong with this machine or platform, and what mends it."),
    "simulate": ("ops.cli.simulate", "Write realistic wallet traffic to a file or a topic."),
    "verify": ("ops.cli.verify", "Compare every store with an independent recomputation."),
    "ledger": ("ops.cli.ledger", "Ask the books, and audit them against their seals."),
    "trace": ("ops.cli.trace", "Follow one payment through every stage."),
    "topics": ("ops.cli.topics", "Plan and create the topics of the contracts."),
    "contracts": ("ops.cli.contracts", "Check and generate the contracts."),
    "dlq": ("ops.cli.dlq", "List, show and replay dead letters."),
    "search": ("ops.cli.search", "Search a merchant's payments."),
    "jobs": ("ops.cli.jobs", "Submit and list the Flink jobs."),
    "lake": ("ops.cli.lake", "Check the lake's partitions."),
    "campaigns": ("ops.cli.campaigns", "Check and publish campaigns."),
    "users": ("ops.cli.users", "Add, list, disable and reset the accounts of the console."),
    "tokens": ("ops.cli.tokens", "Create, list and revoke API tokens."),
    "audit": ("ops.cli.audit", "Show and verify the log of who changed and exported what."),
    "drill": ("ops.cli.drill", "Cause a fault on purpose, and prove that nothing was lost."),
    "bench": ("ops.cli.bench", "Measure a stage beside its peers."),
}
"""Command → the module that holds a click command under the same name, and its line in the help."""


class LazyGroup(click.Group):
    """Loads a command's module when the command is called, not when help is printed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(COMMANDS[cmd_name][0]), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="koban")
def main() -> None:
    """Koban, a wallet's data platform: `koban demo` shows it, `koban COMMAND --help` says more."""


if __name__ == "__main__":
    main()
