"""`completion`: what makes a shell complete command lines of `stationkeep`."""

import enum
from typing import Annotated

import typer

from stationkeep.node.cli.output import say

ASK = "__complete"
"""The word before a line that a shell wants completed (`node.cli.completion`). The command on the
PATH answers, whatever lies in a directory under the same name: Tab must not run that."""


BASH = f"""\
_stationkeep() {{
    local line=${{COMP_LINE:0:COMP_POINT}} breaks=${{COMP_WORDBREAKS//[^:=@]/}} word before=
    mapfile -t COMPREPLY < <(command stationkeep {ASK} "$line" 2>/dev/null)
    if [[ ${{COMPREPLY[0]-}} == :files ]]; then
        COMPREPLY=()
        compopt -o default
        return
    fi
    [[ ${{COMPREPLY[0]-}} == *= ]] && compopt -o nospace
    # Readline replaces only what follows the last of these.
    word=${{line##*[[:space:]]}}
    [[ $breaks ]] && before=${{word%"${{word##*["$breaks"]}}"}}
    COMPREPLY=("${{COMPREPLY[@]#"$before"}}")
}}
complete -F _stationkeep stationkeep
"""
ZSH = f"""\
#compdef stationkeep
_stationkeep() {{
    local -a found
    local line="${{(j: :)words[1,CURRENT-1]}} $PREFIX"
    found=(${{(f)"$(command stationkeep {ASK} "$line" 2>/dev/null)"}})
    if [[ $found[1] == :files ]]; then
        _files
    elif [[ $found[1] == *= ]]; then
        compadd -S '' -a found
    else
        compadd -a found
    fi
}}
compdef _stationkeep stationkeep
"""
FISH = f"""\
function __stationkeep_complete
    set -l found (command stationkeep {ASK} (commandline -cp | string collect) 2>/dev/null)
    if test "$found[1]" = :files
        __fish_complete_path (commandline -ct)
    else if set -q found[1]
        printf '%s\\n' $found
    end
end
complete -c stationkeep -f -a '(__stationkeep_complete)'
"""


class Shell(enum.StrEnum):
    """Shells that can be taught."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


SCRIPTS = {Shell.BASH: BASH, Shell.ZSH: ZSH, Shell.FISH: FISH}


def completion(
    shell: Annotated[Shell, typer.Argument(metavar="bash|zsh|fish", help="Which shell.")],
) -> None:
    """Prints what makes a shell complete commands, options, and names that the cluster knows. In
    bash: `eval "$(stationkeep completion bash)"`."""
    say(SCRIPTS[shell].rstrip())
