#!/usr/bin/env python3
"""Checks that imports go down only: between the folders of module/src, and between our crates.

Without arguments, the tree that this file is in is checked. Prints each import that goes up, is part of a
cycle, or names lib.rs; ends with status 1 if there is one. `--count` prints how many imports there are.
"""

import re
import sys
import tomllib
from pathlib import Path

# From the top down: each may import what stands behind it.
FOLDERS = ["lib", "worker", "api", "gateway", "pool", "telemetry", "config"]

# The crates of ours that a crate may depend on.
CRATES = {
    "openai-wire": set(),
    "nginx-safe": set(),
    "openai-core": {"openai-wire"},
    "openai-keys": {"openai-core"},
    "redis-nodes": {"openai-core", "openai-wire"},
}


def without_comments(text):
    """The text of a file, without what `//` begins; URLs in strings do not matter here."""
    return re.sub(r"//[^\n]*", "", text)


def firsts(text, at):
    """The first names of the paths that begin at this place: one, or those of a group in braces."""
    if text[at : at + 1] != "{":
        found = re.match(r"[A-Za-z_]\w*", text[at:])
        return [found.group()] if found else []
    names, depth, begins = [], 0, False
    for part in re.finditer(r"[{},]|[A-Za-z_]\w*", text[at:]):
        word = part.group()
        if word == "{":
            depth, begins = depth + 1, depth == 0
        elif word == "}":
            depth -= 1
            if depth == 0:
                break
        elif word == ",":
            begins = depth == 1
        elif begins:
            names.append(word)
            begins = False
    return names


def imports(source):
    """Pairs of top-level names, with the places where the first names the second."""
    tops = {path.stem for path in source.iterdir()} - {"lib"}
    found = {}
    for path in sorted(source.rglob("*.rs")):
        inner = path.relative_to(source).with_suffix("").parts
        own = inner[0]
        # How many `super` lead to lib.rs.
        depth = len(inner) - (inner[-1] == "mod")
        text = without_comments(path.read_text())
        roots = [match.end() for match in re.finditer(r"\bcrate::", text)]
        for match in re.finditer(r"\b(?:super::)+", text):
            if match.group().count("super") >= depth and own != "lib":
                roots.append(match.end())
        for at in roots:
            line = text.count("\n", 0, at) + 1
            for name in firsts(text, at):
                other = name if name in tops else "lib"
                if other != own:
                    found.setdefault((own, other), []).append(f"{path}:{line}")
    return found


def cycles(edges):
    """Groups of names that import each other, directly or by others."""
    reach = {}
    for name in {name for edge in edges for name in edge}:
        seen, due = set(), [name]
        while due:
            for a, b in edges:
                if a == due[0] and b not in seen:
                    seen.add(b)
                    due.append(b)
            due.pop(0)
        reach[name] = seen
    groups = {frozenset(b for b in reach[a] if a in reach[b]) for a in reach}
    return [sorted(group) for group in groups if group]


def is_upward(edge):
    own, other = (FOLDERS.index(name) if name in FOLDERS else None for name in edge)
    return own is None or other is None or other <= own


def crate_faults(root):
    """Dependencies between our crates that the layout does not have."""
    for manifest in sorted(root.glob("module/*/Cargo.toml")):
        read = tomllib.loads(manifest.read_text())
        name = read["package"]["name"]
        tables = [read, *read.get("target", {}).values()]
        used = {key for table in tables for key in table.get("dependencies", {})}
        for other in sorted(used & (CRATES.keys() | {"ngx_http_openai_module"})):
            if other not in CRATES.get(name, CRATES.keys()):
                yield f"{manifest}: {name} must not depend on {other}"


def main():
    root = Path(__file__).resolve().parents[2]
    found = imports(root / "module/src")
    below = {edge: places for edge, places in found.items() if edge[0] != "lib"}
    upward = {edge: places for edge, places in below.items() if is_upward(edge)}
    rings = cycles(below)
    if "--count" in sys.argv:
        print(f"{len(found)} imports between top-level names, {len(upward)} upward, cycles: {rings}")
    faults = [f"{place}: {a} must not import {b}" for (a, b), places in upward.items() for place in places]
    faults += [f"module/src: these import each other: {', '.join(ring)}" for ring in rings]
    faults += crate_faults(root)
    print(*faults, sep="\n", end="\n" if faults else "")
    sys.exit(bool(faults))


main()
