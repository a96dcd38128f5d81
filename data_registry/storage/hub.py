"""Files of a data set on the Hugging Face hub, by pinned revision; `huggingface_hub` resumes broken transfers itself.
They come into a folder aside and take their names when the digest is right."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from data_registry.cards.card import Card, File
from data_registry.errors import InputError
from data_registry.storage.fetch_record import FetchRecord, digest

_ASIDE = ".hub"


def need_revision(card: Card, folder: Path) -> None:
    """InputError if the card pins none: what is fetched must be the same for everyone."""
    obtain = card.obtain
    if obtain.revision is None:
        raise InputError(
            f"{card.name}: the card pins no revision of {obtain.repo}; {_gate(card)}"
            f"look up the commit at https://huggingface.co/datasets/{obtain.repo}/commits/main and write its 40 digits "
            f"as obtain.revision in the card, or put {', '.join(file.path for file in card.files)} into {folder}"
        )


def bring(card: Card, files: list[File], folder: Path, record: FetchRecord, note: Callable[[str], None]) -> None:
    """Every file under its name, whole and right.

    Raises:
        InputError: a gated set, no connection, a file with another size or digest than the card's.
    """
    for file in files:
        target = folder / file.path
        for attempt in (1, 2):
            here = _download(card, file, folder)
            problem = _problem(file, here)
            if problem is None:
                break
            here.unlink()
            if attempt == 2:
                raise InputError(f"{target}: {problem}, twice; the source or the card is wrong, so it was not kept")
            note(f"{target}: {problem}; fetching it again")
        sha256 = digest(here)
        target.parent.mkdir(parents=True, exist_ok=True)
        here.replace(target)
        record.remember(file, sha256)
    shutil.rmtree(folder / _ASIDE, ignore_errors=True)


def _problem(file: File, here: Path) -> str | None:
    size = here.stat().st_size
    if file.size is not None and size != file.size:
        return f"{size:,} bytes instead of {file.size:,}"
    if file.sha256 is not None and (is_now := digest(here)) != file.sha256:
        return f"altered: its SHA-256 is {is_now}, its card says {file.sha256}"
    return None


def _download(card: Card, file: File, folder: Path) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import GatedRepoError, HTTPError

    obtain = card.obtain
    where = f"{card.name}: {obtain.repo}@{obtain.revision}: {file.key or file.path}"
    try:
        return Path(
            hf_hub_download(
                obtain.repo,
                file.key or file.path,
                repo_type="dataset",
                revision=obtain.revision,
                local_dir=folder / _ASIDE,
                endpoint=os.environ.get("HF_ENDPOINT"),  # the library reads it once, when it is imported
            )
        )
    except GatedRepoError:
        raise InputError(f"{where}: {_gate(card)}log in with `hf auth login`, and run the same again") from None
    except (HTTPError, OSError) as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise InputError(f"{where}: {reason}; run the same again to go on from here") from None


def _gate(card: Card) -> str:
    return f"accept the licence ({card.license}) at {card.obtain.accept}, " if card.obtain.accept else ""
