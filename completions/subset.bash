# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# bash completion of subset and subsetd, loaded by bash-completion. tests/install/completions.py holds
# the lists against --help.

# The words behind each subcommand: options, and what its positionals are.
declare -gA _subset_options=(
  [run]='--copies -n --mode --match --spread --vacancy --conflict --weight --pin --fallback --socket
    --force --restart --drain-time --until-replaced --http'
  [exec]='--mode --match --spread --vacancy --conflict --weight --pin --fallback --socket --force'
  [status]='--json --socket'
  [top]='--interval --samples --sort --json --socket'
  [events]='--follow -f --json --socket'
  [check]='--json --socket'
  [drain]='--socket'
  [resume]='--socket'
  [weight]='--socket'
  [mode]='--socket'
  [activate]='--socket'
  [abandon]='--socket'
  [release]='--socket'
)

# Options that are followed by a value.
_subset_takes_value() {
  case $1 in
    -n | --copies | --mode | --match | --spread | --vacancy | --conflict | --weight | --fallback) ;;
    --socket | --http | --drain-time | --interval | --samples | --sort) ;;
    *) return 1 ;;
  esac
}

_subset_modes='hash source random cpu numa least'

# _subset_ask FILTER: of the daemon's document, by python, since jq may be missing. Nothing without a daemon.
_subset_ask() {
  subset status --json "${_subset_socket[@]}" 2>/dev/null | python3 -c "
import json, sys
groups = json.load(sys.stdin)['groups']
$1" "${2-}" 2>/dev/null
}
_subset_groups() { _subset_ask 'print(*(g["id"] for g in groups), sep="\n")'; }
_subset_instances() {
  _subset_ask 'print(*sorted({m["instance"] for g in groups if sys.argv[1] in g["id"] for m in g["members"]}), "all", sep="\n")' "$1"
}

# _subset_offer WORDS: a line each. Group ids have colons, at which readline splits words.
_subset_offer() {
  mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
  [[ $(type -t __ltrim_colon_completions) == function ]] && __ltrim_colon_completions "$cur"
}

_subset_value_of() {
  case $1 in
    --mode) _subset_offer "$_subset_modes" ;;
    --spread) _subset_offer 'off fork dup fork,dup' ;;
    --vacancy) _subset_offer 'spread refuse hold' ;;
    --conflict) _subset_offer 'takeover refuse' ;;
    --fallback) _subset_offer 'kernel fail' ;;
    --sort) _subset_offer 'name rate queue drops open age' ;;
    --match) _subset_offer 'udp tcp' ;;
    --http) _subset_offer 'off 127.0.0.1:9753' ;;
    --socket) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
  esac
}

# _subset_positional COMMAND GIVEN...: the next one behind those that are there.
_subset_positional() {
  local command=$1
  shift
  case $command:$# in
    run:* | check:*) ;;
    exec:0) _subset_offer 'auto auto/ 0/' ;;
    *:0) _subset_offer "$(_subset_groups)" ;;
    drain:1 | resume:1 | weight:1 | release:1) _subset_offer "$(_subset_instances "$1")" ;;
    mode:1) _subset_offer "$_subset_modes" ;;
  esac
}

# Where the server's own command line begins: behind --, or with run's first and exec's second word.
_subset_server_at() {
  local command=$1 at=2 free=0
  for ((; at < cword; at++)); do
    case ${words[at]} in
      --) echo $((at + 1)) && return ;;
      -*) ! _subset_takes_value "${words[at]}" || ((at++)) ;;
      *)
        [[ $command == run || $free == 1 ]] && echo "$at" && return
        ((++free))
        ;;
    esac
  done
}

_subset() {
  local cur prev words cword split server given=() at _subset_socket=()
  _init_completion -s -n : || return
  local command=${words[1]}
  if ((cword == 1)); then
    _subset_offer "${!_subset_options[*]} --help --version"
    return
  fi
  if [[ $command == run || $command == exec ]]; then
    server=$(_subset_server_at "$command")
    if [[ -n $server ]]; then
      _command_offset "$server"
      return
    fi
  fi
  for ((at = 2; at < cword; at++)); do
    [[ ${words[at]} != --socket ]] || _subset_socket=(--socket "${words[at + 1]}")
    if _subset_takes_value "${words[at]}"; then
      ((++at))
    elif [[ ${words[at]} != -* ]]; then
      given+=("${words[at]}")
    fi
  done
  if _subset_takes_value "$prev"; then
    _subset_value_of "$prev"
  elif [[ $cur == -* ]]; then
    _subset_offer "${_subset_options[$command]} --help"
  else
    _subset_positional "$command" "${given[@]}"
    [[ $command != run || -n $cur ]] || _subset_offer "${_subset_options[run]}"
  fi
}

_subsetd() {
  # shellcheck disable=SC2034 # _init_completion sets them
  local cur prev words cword split
  _init_completion -s -n : || return
  case $prev in
    --config | --socket) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    --pin-dir) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
    --log) _subset_offer 'off error warn info debug' ;;
    --http) _subset_offer 'off 127.0.0.1:9753' ;;
    *) _subset_offer '--config --socket --http --pin-dir --log --check-config --teardown --help --version' ;;
  esac
}

complete -F _subset subset
complete -F _subsetd subsetd
