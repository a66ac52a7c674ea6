"""A generated git repository with a house style that nobody else has.

The demo and the tests learn from it where no real history is long enough. It grows as a small
project does: modules, methods, amended signatures; among them another author's commits, a merge,
a vendored file, a lock file and a bulk commit, which learning has to leave out.

Invariant: the same seed gives the same commit ids; identifiers never repeat, so the lines of a
later commit are new (nothing to copy), yet follow from the house style and the lines above them
(something to learn). The package that it holds imports and runs. Knows nothing of learning.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from git import Actor, Repo
    from git.objects import Commit


def _words(text: str) -> list[str]:
    return text.split()


_ADJECTIVES = _words(
    """
    accrued advance agreed annual averted bonded booked broken capped cleared coastal deferred
    disputed dormant earned escrow excess fixed foreign frozen gross hedged idle inbound interim
    joint landed leased linked local locked marine minimum mixed monthly national netted nominal
    opening outbound overdue partial pending pledged primary quoted rebated reserve residual rolled
    seasonal secured settled shared shipped spot surplus tiered traded unpaid vested weekly
"""
)
_NOUNS = _words(
    """
    account amount auditor balance basket batch berth bond broker budget buffer cargo carrier
    ceiling charge claim client coupon credit currency customs debit deposit depot discount duty
    estimate exchange fee fleet freight grain haulage holding insurer invoice journal ledger levy
    licence limit lot margin mandate market notice order pallet parcel payment penalty permit pilot
    pledge policy pool port premium price quota rate rebate receipt refund region release rent
    route sample share shipment stake stock storage supplier tariff tender ticket tonnage transfer
    treaty vessel voucher voyage warrant weight yield
"""
)
_VERBS = _words(
    """
    accept adjust allot amend approve assign award bill bind book cancel capture charge claim clear
    close confirm convert cover credit defer deliver discharge divide draw endorse enlist exclude
    extend file fund grant hold insure issue join lend lift list load match merge move note offer
    open order pause pay pledge post price protect quote raise rank rate rebate receive redeem
    release renew rent repay report reserve return review revoke sell send settle ship sign split
    store submit supply tender trace trade transfer unload value verify waive weigh withdraw
"""
)
_KINDS = {"int": "whole", "Decimal": "positive", "str": "filled", "date": "dated"}

_START = datetime(2024, 1, 8, 9, tzinfo=UTC)
_SIDE_AUTHOR = ("Bo Branch", "bo@example.com")

_CORE = '''"""What every desk of the house stands on: ensure, trace and Outcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any


class ensure:
    """Checks of arguments: each raises ValueError that says where."""

    @staticmethod
    def whole(value: object, name: str, *, where: str) -> None:
        _check(isinstance(value, int), name, "whole", where)

    @staticmethod
    def positive(value: object, name: str, *, where: str) -> None:
        _check(isinstance(value, Decimal) and value > 0, name, "positive", where)

    @staticmethod
    def filled(value: object, name: str, *, where: str) -> None:
        _check(isinstance(value, str) and bool(value), name, "filled", where)

    @staticmethod
    def dated(value: object, name: str, *, where: str) -> None:
        _check(isinstance(value, date), name, "dated", where)


class trace:
    """The house's log: a list of events."""

    events: list[tuple[str, dict[str, Any]]] = []

    @classmethod
    def emit(cls, event: str, **facts: Any) -> None:
        cls.events.append((event, facts))


@dataclass(frozen=True)
class Outcome:
    """What a desk answers with."""

    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def ok(cls, **facts: Any) -> Outcome:
        return cls(facts)


def _check(holds: bool, name: str, kind: str, where: str) -> None:
    if not holds:
        raise ValueError(f"{where}: {name} must be {kind}")
'''


@dataclass
class _Method:
    name: str
    arguments: list[tuple[str, str]]  # (name, type)


@dataclass
class _Module:
    """One desk: a module with one class; `name` is snake case."""

    name: str
    opening: _Method
    methods: list[_Method] = field(default_factory=list)

    @property
    def path(self) -> str:
        return f"harbour/{self.name}.py"

    @property
    def desk(self) -> str:
        return "".join(word.capitalize() for word in self.name.split("_")) + "Desk"


def make_repository(
    path: Path,
    commits: int = 60,
    seed: int = 0,
    author: tuple[str, str] = ("Ada House", "ada@example.com"),
) -> None:
    """Make a repository of about `commits` commits in the folder `path`, which it creates.

    `author` (name, e-mail) writes nine commits of ten and is the repository's git identity.
    """
    from git import Actor

    history = _History(_init(path, author), random.Random(seed))
    ada, bo = Actor(*author), Actor(*_SIDE_AUTHOR)
    house = _House(random.Random(seed + 1))
    history.commit("Start the house", ada, house.start())
    extras = _extras(commits)
    for number in range(1, commits):
        if number in extras:
            message, files = extras[number]
            history.commit(message, ada, files)
        elif number == commits // 2:
            history.merge("Merge Bo's tools", ada, bo, house.tool())
        elif number % 10 == 9:
            history.commit("Add a tool", bo, house.tool())
        else:
            message, files = house.grow(number % 3 == 1)
            history.commit(message, ada, files)


def _init(path: Path, author: tuple[str, str]) -> Repo:
    from git import Repo
    from git.cmd import Git

    path = path.absolute()
    path.mkdir(parents=True, exist_ok=True)
    # GIT_DIR: a hook that runs us may point at another repository; template: it may bring hooks
    Git(path).init(env={"GIT_DIR": str(path / ".git")}, initial_branch="main", template="")
    repo = Repo(path)
    with repo.config_writer() as config:
        config.set_value("user", "name", author[0])
        config.set_value("user", "email", author[1])
    return repo


def _extras(commits: int) -> dict[int, tuple[str, dict[str, str]]]:
    """What learning must leave out although the author committed it, by commit number."""
    legacy = {
        f"legacy/part_{number:02}.py": _PLAIN.format(name=f"old_step_{number:02}", word=number)
        for number in range(24)
    }
    return {
        commits // 5: (
            "Vendor tinytable",
            {"vendor/tinytable.py": _PLAIN.format(name="table", word=1)},
        ),
        commits // 4: ("Lock the dependencies", {"poetry.lock": "[[package]]\nname = 'attrs'\n"}),
        commits // 3: ("Import the legacy scripts", legacy),
        commits // 2 + 2: ("Generate the schema", {"harbour/schema_pb2.py": _GENERATED}),
    }


_PLAIN = """def {name}(rows, width={word}):
    result = []
    for row in rows:
        if len(row) > width:
            raise Exception("row too long: %s" % row)
        result.append(row.ljust(width))
    return result
"""
_GENERATED = '# Generated by the protocol buffer compiler. DO NOT EDIT!\nDESCRIPTOR = b"house"\n'


class _History:
    """Commits files, each commit a day or more after the one before."""

    def __init__(self, repo: Repo, chance: random.Random) -> None:
        self._repo = repo
        self._root = Path(repo.working_tree_dir or "")
        self._chance = chance
        self._now = _START

    def commit(
        self, message: str, actor: Actor, files: dict[str, str], parents: list[Commit] | None = None
    ) -> Commit:
        for name, text in files.items():
            target = self._root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(text.encode())
        self._now += timedelta(minutes=self._chance.randint(1_500, 4_500))
        when = f"{int(self._now.timestamp())} +0000"
        index = self._repo.index
        index.add(list(files))
        return index.commit(
            message,
            parent_commits=parents,
            author=actor,
            committer=actor,
            author_date=when,
            commit_date=when,
            skip_hooks=True,
        )

    def merge(self, message: str, actor: Actor, side_actor: Actor, files: dict[str, str]) -> None:
        before = self._repo.head.commit
        side = self.commit("Add a tool on the side", side_actor, files)
        self.commit(message, actor, {}, parents=[before, side])


class _House:
    """The project that grows: every name that it hands out is new."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._nouns = self._pairs(_ADJECTIVES, _NOUNS)
        self._deeds = self._pairs(_VERBS, _NOUNS)
        self._modules: list[_Module] = []

    def start(self) -> dict[str, str]:
        return {"harbour/__init__.py": "", "harbour/core.py": _CORE, "README.md": "# Harbour\n"}

    def tool(self) -> dict[str, str]:
        """Another author's file, in another style."""
        name = next(self._deeds)
        return {f"tools/{name}.py": _PLAIN.format(name=name, word=self._chance.randint(8, 80))}

    def grow(self, with_new_module: bool) -> tuple[str, dict[str, str]]:
        """The message and files of the author's next commit."""
        if with_new_module or not self._modules:
            return self._add_module()
        module = self._chance.choice(self._modules[-4:])
        short = [method for method in module.methods if len(method.arguments) == 1]
        if short:
            self._chance.choice(short).arguments.append(self._argument())
        module.methods += [self._method() for _ in range(4)]
        return f"Extend the {module.desk}", {module.path: _render(module)}

    def _add_module(self) -> tuple[str, dict[str, str]]:
        module = _Module(
            next(self._nouns), _Method("__init__", [self._argument(), self._argument()])
        )
        module.methods = [self._method() for _ in range(3)]
        self._modules.append(module)
        return f"Add the {module.desk}", {
            module.path: _render(module),
            "harbour/registry.py": _render_registry(self._modules),
        }

    def _pairs(self, first: list[str], second: list[str]) -> Iterator[str]:
        pairs = [f"{one}_{other}" for one in first for other in second if one != other]
        self._chance.shuffle(pairs)
        return iter(pairs)

    def _argument(self) -> tuple[str, str]:
        return next(self._nouns), self._chance.choice(list(_KINDS))

    def _method(self) -> _Method:
        return _Method(
            next(self._deeds), [self._argument() for _ in range(self._chance.randint(1, 2))]
        )


def _render(module: _Module) -> str:
    words = module.name.replace("_", " ")
    head = [
        f'"""The desk for the {words}."""',
        "",
        "from datetime import date",
        "from decimal import Decimal",
        "",
        "from harbour.core import Outcome, ensure, trace",
        "",
        f'_HERE = "harbour.{module.name}"',
        "",
        "",
        f"class {module.desk}:",
        f'    """Keeps the {words} of one house."""',
    ]
    bodies = [_render_method(method) for method in (module.opening, *module.methods)]
    return "\n".join([*head, *(line for body in bodies for line in ("", *body))]) + "\n"


def _render_method(method: _Method) -> list[str]:
    names = [name for name, _ in method.arguments]
    typed = ", ".join(f"{name}: {kind}" for name, kind in method.arguments)
    facts = ", ".join(f"{name}={name}" for name in names)
    opens = method.name == "__init__"
    return [
        f"    def {method.name}(self, {typed}) -> {'None' if opens else 'Outcome'}:",
        f'        """Takes {" and ".join(names)}."""',
        *(
            f'        ensure.{_KINDS[kind]}({name}, "{name}", where=_HERE)'
            for name, kind in method.arguments
        ),
        *(f"        self._m_{name} = {name}" for name in names),
        f'        trace.emit("{method.name}", {facts})',
        *([] if opens else [f"        return Outcome.ok({method.name}={names[-1]})"]),
    ]


def _render_registry(modules: list[_Module]) -> str:
    imports = [f"from harbour.{module.name} import {module.desk}" for module in modules]
    entries = [f'    "{module.name}": {module.desk},' for module in modules]
    return "\n".join(
        [
            '"""Every desk of the house, by name."""',
            "",
            *imports,
            "",
            "DESKS = {",
            *entries,
            "}",
            "",
        ]
    )
