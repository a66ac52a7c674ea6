"""A stratified reservoir: which of the things offered so far are kept, in a bounded place.

Every thing gets a random key. A stratum keeps those with the smallest keys (bottom-k sampling,
Cohen and Kaplan 2007), so what it holds is a uniform sample of it, in whatever portions it came.
Beyond the capacity the largest key of the largest stratum goes (balanced eviction, as in class-
balancing reservoir sampling, Chrysakis and Moens 2020): small strata are kept whole, the others
share the rest evenly. Each stratum remembers the smallest key that it ever let go. After things
were taken away a newcomer is held against that threshold, so that it is as likely to be held as
the older ones of its stratum, to within one in the stratum's size; gaps are thus paired with
later arrivals (compare Gemulla, Lehner and Haas 2006) without being counted.

Invariant: at most `capacity` are held; while nothing was taken away, two strata that are not held
whole differ by at most one. Pure: knows no samples, and draws no keys itself.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Name = TypeVar("Name", bound=Hashable)


@dataclass
class Stratum:
    """What is held of one stratum, and what it refuses."""

    seen: int = 0
    """Things ever offered."""
    threshold: float = 1.0
    """The smallest key that was let go; keys from it on are not taken."""
    held: list[tuple[float, int]] = field(default_factory=list)
    """(key, identifier), smallest first."""


@dataclass
class Reservoir(Generic[Name]):
    """Keys and identifiers of what is held, by stratum."""

    capacity: int
    strata: dict[Name, Stratum] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(len(stratum.held) for stratum in self.strata.values())

    def offer(self, name: Name, key: float, identifier: int) -> Iterator[int]:
        """Offer one thing with a key drawn from [0, 1); yields the identifiers that had to go.

        Its own is among them where it is not taken.
        """
        stratum = self.strata.setdefault(name, Stratum())
        stratum.seen += 1
        if key >= stratum.threshold:
            yield identifier
            return
        insort(stratum.held, (key, identifier))
        yield from self.shrink()

    def shrink(self) -> Iterator[int]:
        """Let go of what is beyond the capacity; yields its identifiers."""
        for _ in range(len(self) - self.capacity):
            largest = max(
                (stratum for stratum in self.strata.values() if stratum.held),
                key=lambda stratum: (len(stratum.held), stratum.held[-1]),
            )
            largest.threshold, identifier = largest.held.pop()
            yield identifier
