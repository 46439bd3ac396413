# SPDX-License-Identifier: MIT
"""Files into a C++ source: the table that daemon/http/assets.h declares.

usage: embed.py OUTPUT PATH=FILE...
"""
import hashlib
import pathlib
import sys

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
WIDTH = 100  # bytes in one literal


def literal(data):
    """Octal escapes have three digits at most: no byte behind one is taken for a part of it."""
    plain = {byte: chr(byte) for byte in range(0x20, 0x7F) if chr(byte) not in '"\\?'}
    lines = (data[start:start + WIDTH] for start in range(0, len(data), WIDTH))
    return "\n".join(
        '    "' + "".join(plain.get(byte, f"\\{byte:03o}") for byte in line) + '"'
        for line in lines) or '    ""'


def entry(argument):
    path, file = argument.split("=", 1)
    data = pathlib.Path(file).read_bytes()
    kind = TYPES[pathlib.Path(file).suffix]
    tag = hashlib.sha256(data).hexdigest()[:16]
    return (f'  {{"{path}", "{kind}", "\\"{tag}\\"", std::string_view(\n'
            f"{literal(data)}, {len(data)})}},\n")


def main():
    output, *assets = sys.argv[1:]
    pathlib.Path(output).write_text(
        "// Made by dashboard/embed.py.\n"
        '#include "daemon/http/assets.h"\n\n'
        "namespace subset::http {\nnamespace {\n\n"
        "constexpr Asset kAssets[] = {\n" + "".join(map(entry, assets)) + "};\n\n"
        "}  // namespace\n\n"
        "std::span<const Asset> assets() { return kAssets; }\n\n"
        "}  // namespace subset::http\n")


main()
