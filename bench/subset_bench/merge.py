# SPDX-License-Identifier: MIT
"""One results.json of several runs: each scenario says itself when and on what it was measured."""
import json
import os

from .scenarios import ALL


def _earlier(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))["scenarios"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return {}  # nothing yet, or nothing that could be read: this run stands alone


def _is_smoke(scenario):
    return scenario["run"]["options"]["kind"] == "smoke"


def into(path, document):
    """Writes the document over those of its scenarios that are there; gives the whole. A smoke run's
    figures mean nothing and stay among themselves."""
    smoke = any(map(_is_smoke, document["scenarios"].values()))
    kept = {name: scenario for name, scenario in _earlier(path).items()
            if "run" in scenario and _is_smoke(scenario) == smoke}
    kept.update(document["scenarios"])
    whole = {"scenarios": {name: kept[name] for name in ALL if name in kept}}
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    os.replace(fresh, path)
    return whole
