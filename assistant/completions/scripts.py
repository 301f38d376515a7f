"""The scripts that have a shell ask `takeback` what it may offer.

Each asks anew at every Tab, with the line's words up to the cursor: so chats and models are those of now.
"""

BASH = r"""
_takeback() {
    local word=${COMP_WORDS[COMP_CWORD]} line kind=
    [[ $word == = ]] && word=
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ -z $kind ]]; then kind=$line; else COMPREPLY+=("${line%%$'\t'*}"); fi
    done < <("${COMP_WORDS[0]}" completions bash "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    case $kind in files) line=-f ;; folders) line=-d ;; *) return ;; esac
    compopt -o filenames 2>/dev/null
    while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen "$line" -- "$word")
}
complete -F _takeback takeback
"""

ZSH = r"""
#compdef takeback
_takeback() {
    local -a lines offered
    local kind line
    lines=("${(@f)$("${words[1]}" completions zsh "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    kind=$lines[1]
    for line in "${(@)lines[2,-1]}"; do
        offered+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    done
    (( $#offered )) && _describe takeback offered
    case $kind in files) _files ;; folders) _files -/ ;; esac
}
if [[ $funcstack[1] == _takeback ]]; then _takeback "$@"; else compdef _takeback takeback; fi
"""

FISH = r"""
function __takeback_offer
    set -l before (commandline -opc)
    set -l word (commandline -ct)
    set -l lines ($before[1] completions fish $before[2..-1] "$word" 2>/dev/null)
    for line in $lines[2..-1]
        echo $line
    end
    switch "$lines[1]"
        case files
            __fish_complete_path "$word"
        case folders
            __fish_complete_directories "$word"
    end
end
complete -c takeback -f -a '(__takeback_offer)'
"""

SCRIPTS = {"bash": BASH.lstrip(), "zsh": ZSH.lstrip(), "fish": FISH.lstrip()}
