"""The bases of a user: those that were pulled, and which file a name means.

Invariant: a base is listed only once its file is whole and its checksum verified. Shared by all
profiles, since it says nothing about the user. Knows no network and no model.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path

from neuralforge_adapters.base import embedded_base
from neuralforge_adapters.base_choice import BaseChoice
from neuralforge_adapters.errors import BaseFileError
from neuralforge_adapters.home import Home, locked, read_json, write_json
from neuralforge_adapters.presets import presets, refuse_encoder_decoder

EMBEDDED = "embedded"
"""The name of the base that ships in the package."""
_REPOSITORY = re.compile(r"\w[\w.-]*/[\w.-]+(?<!\.gguf)")
"""`owner/name` on the hub, which may also be a path."""


@dataclass(frozen=True)
class PulledBase:
    """A base that was fetched from a hub."""

    name: str
    path: str
    digest: str
    bytes: int
    repository: str
    file: str
    revision: str
    """The commit that it was fetched from."""
    own: bool
    """Whether it was fetched for NeuralForge, and not found in the hub's cache."""


class BaseList:
    """The pulled bases, in one file of the home."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._file = home.root / "bases.json"

    def all(self) -> list[PulledBase]:
        """By name; entries of a damaged file are left out."""
        content = read_json(self._file)
        found = []
        for entry in content if isinstance(content, list) else []:
            try:
                found.append(PulledBase(**entry))
            except TypeError:
                continue
        return sorted(found, key=lambda base: base.name)

    def find(self, name: str) -> PulledBase | None:
        """The pulled base of that name."""
        return next((base for base in self.all() if base.name == name), None)

    def add(self, base: PulledBase) -> None:
        """List `base`, in place of one of the same name."""
        self._update(base.name, [base])

    def remove(self, name: str) -> PulledBase:
        """Take a base off the list, and delete its file if it was fetched for it.

        Raises:
            BaseFileError: there is none of that name, a profile uses it, or it cannot be deleted.
        """
        base = self.find(name)
        if base is None:
            raise BaseFileError(f"no pulled base {name!r}; `neuralforge bases list` shows them")
        if users := [p for p in self._home.profiles() if _is_chosen(base, p)]:
            raise BaseFileError(
                f"{name} is in use or awaited by the profile {users[0].profile}; choose another "
                "first, with `neuralforge bases use`"
            )
        if base.own:
            _delete(Path(base.path))
        self._update(name, [])
        return base

    def _update(self, name: str, entries: list[PulledBase]) -> None:
        with locked(self._file.parent / ".bases.lock", timeout=30):
            kept = [base for base in self.all() if base.name != name]
            write_json(self._file, [asdict(base) for base in [*kept, *entries]])


def _is_chosen(base: PulledBase, home: Home) -> bool:
    choice = BaseChoice(home).read()
    return base.path in (choice.path, choice.awaited.path if choice.awaited else None)


def _delete(path: Path) -> None:
    """The file and, where the hub's cache links to it, what the link points to."""
    try:
        blob = path.resolve()
        path.unlink(missing_ok=True)
        blob.unlink(missing_ok=True)
    except OSError as error:
        raise BaseFileError(f"{path} cannot be deleted: {error.strerror}; try again") from error


def is_base_path(text: str) -> bool:
    """Whether a user's words name a file and not a base of the list."""
    return text.startswith("~") or any(c in text for c in "/\\") or text.endswith(".gguf")


def locate(text: str, home: Home) -> Path:
    """The file that `embedded`, the name of a pulled base or a path means.

    Raises:
        BaseFileError: there is none, it has not been pulled yet, or it is an encoder–decoder.
    """
    if text == EMBEDDED:
        return embedded_base()
    if is_base_path(text):
        path = Path(text).expanduser().absolute()
        if _REPOSITORY.fullmatch(text) and not path.exists():
            refuse_encoder_decoder(text)
        return path
    if (base := BaseList(home).find(text)) is not None:
        return Path(base.path)
    refuse_encoder_decoder(text)
    if text in presets():
        raise BaseFileError(
            f"{text} is not here yet; fetch it with `neuralforge bases pull {text}`"
        )
    raise BaseFileError(
        f"there is no base {text!r}; `neuralforge bases list` shows what there is, and a file is "
        f"named by its path (./{text})"
    )
