# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# clang-tidy over the sources. What was clean once is not looked at again before it, a header, the
# settings or its command line changes.

: "${root:?is set by common.sh}"

# One command a source: those that are built several times (for a fuzzer, say) would be analysed as
# often.
write_tidy_database() {
  mkdir -p "$2"
  jq 'unique_by(.file)' "$1/compile_commands.json" >"$2/compile_commands.json"
}

# Sources that are compiled, relative to the root. Tests come with --all: half of the time for code
# that nobody runs.
tidy_sources() {
  local file
  jq -r '.[] | .directory + "/" + .file' "$1/compile_commands.json" | xargs -r realpath -m |
    while read -r file; do
      [[ $file == "$root"/* ]] || continue
      file=${file#"$root"/}
      [[ $file == tests/* && $2 == false ]] && continue
      [[ -n $(tracked "$file") ]] && say "$file"
    done | sort -u
}

# The static analyzer follows each path through a function: three quarters of the time. It comes with
# --all.
readonly quick_checks='-clang-analyzer-*'

# tidy_one DATABASE STAMPS COMMON CHECKS FILE
tidy_one() {
  local stamp
  stamp=$2/$({
    echo "$3 $4 $5"
    cat "$root/$5"
  } | sha256sum | cut -c1-40)
  [[ -e $stamp ]] && return 0
  clang-tidy --quiet -p "$1" --checks="$4" "$root/$5" 2>/dev/null && touch "$stamp"
}
export -f tidy_one

# check_tidy BUILD-DIR ALL: prints findings; BUILD-DIR is configured for clang.
check_tidy() {
  local database=$1/tidy/database stamps=$1/tidy/clean common checks=$quick_checks
  [[ $2 == false ]] || checks=''
  mkdir -p "$stamps"
  write_tidy_database "$1" "$database"
  common=$({
    clang-tidy --version
    cat "$root/.clang-tidy" "$1/build.ninja"
    tracked '*.h' '*.def' | sed "s|^|$root/|" | xargs cat
  } | sha256sum)
  export root
  # shellcheck disable=SC2016 # for the inner shell
  tidy_sources "$1" "$2" |
    xargs -P "$(nproc)" -I '{}' nice bash -c 'tidy_one "$@"' - "$database" "$stamps" "$common" "$checks" '{}'
}
