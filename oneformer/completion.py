"""Completion of the command line: a script for bash, zsh or fish.

The script holds the commands and their options as they were when it was
printed, so that completing takes no Python.
"""

import re
import subprocess
import sys
from collections.abc import Sequence

from oneformer.cli import COMMANDS, OTHERS, ROOT

BASH = """\
_oneformer() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} words=''
    if [ "$COMP_CWORD" -eq 1 ]; then
        words='{commands} --help --version'
    else
        case ${{COMP_WORDS[1]}} in
{cases}
        esac
        case $word in -*) ;; *) words='' ;; esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o bashdefault -o default -F _oneformer oneformer
"""
# zsh runs completions of bash.
ZSH = 'autoload -U +X bashcompinit && bashcompinit\n' + BASH
FISH_COMMAND = (
    "complete -c oneformer -n '__fish_use_subcommand' -f -a {name} "
    "-d '{purpose}'"
)
FISH_OPTION = (
    "complete -c oneformer -n '__fish_seen_subcommand_from {name}' -l {option}"
)
SHELLS = ('bash', 'zsh', 'fish')
HELP = """\
usage: oneformer completion {bash,zsh,fish}

Print a completion script. To use it in every new shell:
  bash  oneformer completion bash >> ~/.bashrc
  zsh   oneformer completion zsh >> ~/.zshrc
  fish  oneformer completion fish > ~/.config/fish/completions/oneformer.fish
"""


def main(arguments: Sequence[str]) -> int:
    """Print the script for a shell."""
    if '-h' in arguments or '--help' in arguments:
        print(HELP, end='')
        return 0
    if len(arguments) != 1 or arguments[0] not in SHELLS:
        got = ' '.join(arguments) or 'nothing'
        print(
            f'oneformer completion: expected one of {", ".join(SHELLS)}, got '
            f'{got}.',
            file=sys.stderr,
        )
        return 2
    print(script(arguments[0]), end='')
    return 0


def script(shell: str) -> str:
    """Return the completion script for a shell."""
    options = {name: options_of(name) for name in COMMANDS}
    if shell == 'fish':
        purposes = {name: c.purpose for name, c in COMMANDS.items()} | OTHERS
        lines = [
            FISH_COMMAND.format(name=name, purpose=purpose)
            for name, purpose in purposes.items()
        ]
        lines += [
            FISH_OPTION.format(name=name, option=option.removeprefix('--'))
            for name, found in options.items()
            for option in found
        ]
        return '\n'.join(lines) + '\n'
    cases = [
        f"            {name}) words='{' '.join(found)}' ;;"
        for name, found in options.items()
    ]
    cases.append("            completion) words='bash zsh fish' ;;")
    return (ZSH if shell == 'zsh' else BASH).format(
        commands=' '.join([*COMMANDS, *OTHERS]), cases='\n'.join(cases)
    )


def options_of(name: str) -> list[str]:
    """Return the options of a command, as its help lists them."""
    shown = subprocess.run(
        [sys.executable, '-m', 'oneformer', name, '--help'],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    found = re.findall(r'(?<![\w-])--[a-z][a-z0-9-]*', shown)
    return list(dict.fromkeys(found))
