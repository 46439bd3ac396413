# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# The checks that look at the text of files, tracked ones only. Each prints what is wrong.

: "${root:?is set by common.sh}"

# A clone may belong to somebody else than root, whom git then refuses to serve.
tracked() { git -C "$root" -c safe.directory="$root" ls-files -- "$@"; }

# The BPF programs keep the kernel's style, as does the header that C programs include.
check_format() {
  cd "$root" && tracked '*.c' '*.cpp' '*.h' ':!bpf' ':!include' |
    xargs -r clang-format --dry-run --Werror
}

# Data whose format has no comments, and texts that are licences themselves.
check_spdx() {
  local file status=0
  while read -r file; do
    head -n 5 "$root/$file" | grep -q 'SPDX-License-Identifier:' && continue
    say "$file: no SPDX-License-Identifier in its first five lines"
    status=1
  done < <(tracked ':!LICENSES' ':!debian/changelog' ':!debian/copyright' ':!debian/source/format' \
    ':!tests/fuzz/corpus' ':!*.json' ':!*.png' ':!.gitignore')
  return "$status"
}

shell_scripts() {
  tracked | while read -r file; do
    [[ $file == *.sh ]] || head -n 1 "$root/$file" | grep -aqE '^#!.*\b(ba)?sh$' || continue
    say "$file"
  done
}

check_shell() {
  cd "$root" && shell_scripts | xargs -r shellcheck -x
}

# mandoc's own judgement, and groff's, which is what Debian's man shows pages with.
check_manuals() {
  local pages
  mapfile -t pages < <(tracked 'docs/*.[1-8]')
  (cd "$root" && mandoc -T lint -W warning "${pages[@]}" && [[ -z $(groff -ww -mandoc -z "${pages[@]}" 2>&1 | tee /dev/stderr) ]])
}
