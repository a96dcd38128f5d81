"""Parameters that DVC leaves out of what it hashes: it takes two results for the same that differ in nothing else.
`dvc repro` after a change of scenes' `size` gives the scenes of the other size back and runs no command of ours;
whoever is to read them, or what was made from them, finds that out here."""

from tasks.identity import manifest
from tasks.identity.manifest import Damaged
from tasks.identity.paths import Paths
from tasks.identity.settings import NO_SLOTS, PARAMS_FILE, Settings

_KEYS = ("size", "nfiles")


def check_unhashed(settings: Settings, stage: str, name: str) -> None:
    """Compare these parameters of all that a stage run is made from with those that params.yaml has.

    Raises:
        Damaged: one differs; the message says what computes it anew.
    """
    for run in sorted(_below(settings, f"{stage}/{name}")):
        input_stage, _, input_name = run.partition("/")
        paths = Paths(settings.root, settings.scale, input_stage, input_name)
        if not (paths.out / manifest.MANIFEST).exists():
            continue  # what was made from it has come back from the cache alone
        has, asked = manifest.read_manifest(paths.out)["identity"]["params"], settings.section(input_stage, input_name)
        for key in _KEYS:
            if has.get(key) != asked.get(key):
                raise Damaged(
                    f"{paths.out}: was computed with {key} {has.get(key)}, {PARAMS_FILE} asks for {asked.get(key)}; "
                    f"DVC, which hashes no {key}, takes both for the same: `spatialllm retry` computes what is wanted"
                )


def _below(settings: Settings, run: str) -> set[str]:
    """All that a stage run is made from."""
    seen: set[str] = set()
    left = [run]
    while left:
        stage, _, name = left.pop().partition("/")
        entry = (settings.plan.get(stage) or {}).get(name) or {}
        for slot, value in entry.items():
            if slot not in NO_SLOTS and slot not in entry.get("empty", ()):
                new = set(value if isinstance(value, list) else [value]) - seen
                seen |= new
                left += new
    return seen
