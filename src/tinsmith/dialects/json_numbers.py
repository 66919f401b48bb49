"""Numbers of a JSON Schema, written digit by digit: after every character what may follow is known exactly.

A decimal text is a whole number of units of 10**-places, so bounds and `multipleOf` are integer arithmetic, exact on
the text as it stands. No exponents are written, no `-0`, and at most 15 digits where the schema does not name longer
numbers: so many a double keeps apart (DBL_DIG in C), so that a reader's float is on the same side of each bound.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import floor, lcm

MAX_SAFE_INTEGER = 2**53 - 1
"""The bound of integers that the schema does not bound (RFC 8259, section 6)."""
_DIGITS = 15
_PLACES = 6
_LONGEST_PLACES = 400  # the smallest double has 324, its repr a few more


@dataclass(frozen=True)
class Numbers:
    """The numbers from `low` to `high` (None: no bound; `over`, `under`: the bound itself is not one of them) that are
    multiples of `step`; `integer`: whole numbers only."""

    integer: bool
    low: Fraction | None = None
    high: Fraction | None = None
    over: bool = False
    under: bool = False
    step: Fraction | None = None

    def admits(self, value: float) -> bool:
        """Whether `value` is one of them."""
        exact = Fraction(str(value))
        if self.low is not None and (exact < self.low or (self.over and exact == self.low)):
            return False
        if self.high is not None and (exact > self.high or (self.under and exact == self.high)):
            return False
        return all((exact / step).denominator == 1 for step in self._steps())

    def next(self, written: str) -> list[str]:
        """The characters that may follow `written`, the beginning of a number."""
        return [character for character in "-.0123456789" if self._leads(written + character)]

    def ends(self, written: str) -> bool:
        """Whether `written` is one of the numbers."""
        body = written.removeprefix("-")
        if not body or body.endswith("."):
            return False
        whole, _, fraction = body.partition(".")
        low, high = self._magnitudes(written)
        units = int(whole + fraction) * 10 ** (self._grid.places - len(fraction))
        return low <= units <= high and units % self._grid.step == 0

    def finish(self, written: str) -> str | None:
        """The shortest text that ends the number that `written` begins; None where it begins none."""
        if written in ("", "-"):
            found = [first + (self.finish(written + first) or "") for first in self.next(written)]
            return min(found, key=len, default=None)
        body = written.removeprefix("-")
        whole, point, fraction = body.partition(".")
        most = self._whole_digits(whole, point)
        # By the characters to add: `more` before the point, the others are the point, where there is none, and places.
        for added in range(most + self._grid.places + 2):
            for more in range(min(added, most - len(whole)) + 1):
                places = len(fraction) + added - more - (not point and added > more)
                if bool(places) != bool(point or added > more) or places > self._places(len(whole) + more):
                    continue
                units = self._first(written, more, places)
                if units is not None:
                    digits = len(whole) + more
                    text = str(units // 10 ** (self._grid.places - places)).rjust(digits + places, "0")
                    return (text[:digits] + ("." + text[digits:] if places else ""))[len(body) :]
        return None

    def shortest(self) -> str | None:
        """The shortest of them as text; None where there is none that can be written."""
        return self._shortest

    def all(self, most: int) -> list[int] | None:
        """Them all where they are whole numbers and at most `most`, else None."""
        grid = self._grid
        first, last = -(-grid.low // grid.step), grid.high // grid.step
        if not self.integer or last - first + 1 > most:
            return None
        return [number * grid.step for number in range(first, last + 1)]

    def _steps(self) -> list[Fraction]:
        whole = [Fraction(1)] if self.integer else []
        return whole if self.step is None else [*whole, self.step]

    @cached_property
    def _shortest(self) -> str | None:
        return self.finish("")

    @cached_property
    def _grid(self) -> "_Grid":
        if self.integer:
            return self._units(0)
        needed = max(map(_decimals, filter(None, (self.low, self.high, self.step))), default=0)
        # One place more where exclusive bounds leave nothing between them at the places they are written with.
        grid = self._units(max(needed, _PLACES))
        return grid if grid.low <= grid.high else self._units(needed + 1)

    def _units(self, places: int) -> "_Grid":
        unit = 10**places
        bound = MAX_SAFE_INTEGER if self.integer else 10**_DIGITS - 1
        low = None if self.low is None else self.low * unit
        high = None if self.high is None else self.high * unit
        if low is not None:
            low = floor(low) + 1 if self.over or low.denominator > 1 else int(low)
        if high is not None:
            high = -floor(-high) - 1 if self.under or high.denominator > 1 else int(high)
        step = 1
        for each in self._steps():
            step = lcm(step, (each * unit).numerator)  # in lowest terms: whole units that are multiples of it
        if low is None:
            low = min(-bound * unit, 2 * (high or 0) - step)
        if high is None:
            high = max(bound * unit, 2 * low + step)
        return _Grid(places, low, high, step)

    def _magnitudes(self, written: str) -> tuple[int, int]:
        """The least and the greatest number of units without their sign, of the sign that `written` has."""
        grid = self._grid
        return (max(1, -grid.high), -grid.low) if written.startswith("-") else (max(0, grid.low), grid.high)

    def _places(self, digits: int) -> int:
        """How many decimal places a number with so many digits before the point may have."""
        places = self._grid.places
        return min(places, max(0, _DIGITS - digits)) if self._is_short else places

    @cached_property
    def _is_short(self) -> bool:
        """Whether there is a number with no more digits than a double keeps apart; else all are written with more."""
        grid = self._grid
        for low, high in map(self._magnitudes, ("", "-")):
            for digits in range(1, len(str(high)) + 1):
                places = min(grid.places, max(0, _DIGITS - digits))
                step = lcm(grid.step, 10 ** (grid.places - places))
                first, last = 10 ** (digits - 1 + grid.places), 10 ** (digits + grid.places) - 1
                least = max(low, first if digits > 1 else 0)
                if -(-least // step) * step <= min(high, last):
                    return True
        return False

    def _whole_digits(self, whole: str, point: str) -> int:
        grid = self._grid
        if point or whole == "0":
            return len(whole)
        return max(len(whole), len(str(max(abs(grid.low), abs(grid.high)) // 10**grid.places)))

    def _leads(self, written: str) -> bool:
        if written == "-":
            return any(self._leads("-" + digit) for digit in "0123456789")
        whole, point, fraction = written.removeprefix("-").partition(".")
        if not whole.isdigit() or (len(whole) > 1 and whole[0] == "0"):
            return False
        places = self._places(len(whole))
        if point and not ((fraction or "0").isdigit() and len(fraction) <= places > 0):
            return False
        most = self._whole_digits(whole, point)
        return any(
            self._first(written, digits - len(whole), self._places(digits)) is not None
            for digits in range(len(whole), most + 1)
        )

    def _first(self, written: str, more: int, places: int) -> int | None:
        """The first number, in units and without its sign, that begins with `written`, has `more` more digits before
        the point and at most `places` after it."""
        grid = self._grid
        whole, _, fraction = written.removeprefix("-").partition(".")
        size = 10 ** (more + grid.places - len(fraction))
        low, high = self._magnitudes(written)
        begins = int(whole + fraction) * size
        if more and begins == 0:
            return None
        step = lcm(grid.step, 10 ** (grid.places - places))
        first = -(-max(low, begins) // step) * step
        return first if first <= min(high, begins + size - 1) else None


@dataclass(frozen=True)
class _Grid:
    """Whole numbers from `low` to `high` that are multiples of `step`, in units of 10**-places."""

    places: int
    low: int
    high: int
    step: int


def _decimals(number: Fraction) -> int:
    """Decimal places of a finite decimal."""
    places = 0
    while (number * 10**places).denominator != 1:
        places += 1
        if places > _LONGEST_PLACES:
            raise ValueError(f"{number} is no decimal number")
    return places
