"""`nightscan completion`: what a shell reads to complete commands of ours."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_SHELLS = ("bash", "zsh", "fish")
_VARIABLE = "_NIGHTSCAN_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes a shell complete verbs and options.

    \b
    bash: nightscan completion bash > ~/.local/share/bash-completion/completions/nightscan
    zsh:  nightscan completion zsh > ~/.zfunc/_nightscan      (with ~/.zfunc in fpath)
    fish: nightscan completion fish > ~/.config/fish/completions/nightscan.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    made = kind(ctx.find_root().command, {}, "nightscan", _VARIABLE)
    click.echo(made.source_template % made.source_vars())
