#!/usr/bin/env python3
"""Checks that imports between the folders of module/src, and dependencies between our crates, go down only.
Also checks that only gateway/mod.rs imports the steps of the request path.

Checks the repository that contains this file. Prints each import that goes up, is part of a cycle, or names
lib.rs, and exits with status 1 if there is one. `--count` also prints the number of imports.
"""

import re
import sys
import tomllib
from pathlib import Path

# From top to bottom: each folder may import those after it.
FOLDERS = ["lib", "worker", "api", "gateway", "pool", "telemetry", "config"]

# The steps of the request path in gateway/; each is a file or a folder.
STEPS = ["access", "head", "route", "admit", "lease", "send", "judge", "stream", "release", "log"]

# Our crates that each crate may depend on.
CRATES = {
    "openai-wire": set(),
    "nginx-safe": set(),
    "openai-core": {"openai-wire"},
    "openai-keys": {"openai-core"},
    "redis-nodes": {"openai-core", "openai-wire"},
}


def without_comments(text):
    """The text without everything from `//` to the end of a line, which also removes parts of URLs."""
    return re.sub(r"//[^\n]*", "", text)


def firsts(text, at):
    """The first names of the paths at this position: one, or several for a group in braces."""
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
    """Pairs of top-level names (importing, imported), with the positions of the imports."""
    tops = {path.stem for path in source.iterdir()} - {"lib"}
    found = {}
    for path in sorted(source.rglob("*.rs")):
        inner = path.relative_to(source).with_suffix("").parts
        own = inner[0]
        # The number of `super` that leads to lib.rs.
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
    """Groups of names that import each other, directly or indirectly."""
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


def step_faults(source):
    """Imports of a step of the request path outside of gateway/mod.rs, and steps without a file."""
    gateway = source / "gateway"
    for path in sorted(gateway.rglob("*.rs")):
        inner = path.relative_to(gateway).with_suffix("").parts
        own = inner[0]
        if own == "mod":
            continue
        # The number of `super` that leads to gateway/mod.rs.
        depth = len(inner) - (inner[-1] == "mod")
        text = without_comments(path.read_text())
        roots = [match.end() for match in re.finditer(r"\bcrate::gateway::", text)]
        roots += [m.end() for m in re.finditer(r"\b(?:super::)+", text) if m.group().count("super") == depth]
        for at in roots:
            for name in firsts(text, at):
                if name in STEPS and name != own:
                    line = text.count("\n", 0, at) + 1
                    yield f"{path}:{line}: only gateway/mod.rs imports the step {name}"
    for name in STEPS:
        if not (gateway / f"{name}.rs").exists() and not (gateway / name).is_dir():
            yield f"{gateway}: there is no step {name}"


def crate_faults(root):
    """Dependencies between our crates that `CRATES` does not allow."""
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
    faults += step_faults(root / "module/src")
    faults += crate_faults(root)
    print(*faults, sep="\n", end="\n" if faults else "")
    sys.exit(bool(faults))


main()
