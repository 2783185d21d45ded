"""What a part of the benchmark finds: figures beside what is wanted, and series for the plot. One JSON file a part."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Figure(BaseModel):
    """One line of the table.

    Attributes:
        name: What was measured, in words.
        value: How it came out.
        unit: `x` for a ratio, else a unit.
        at_most: What is wanted, where less is better.
        at_least: What is wanted, where more is better.
        detail: What the figure was made from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    value: float
    unit: str = "x"
    at_most: float | None = None
    at_least: float | None = None
    detail: str = ""

    @property
    def wanted(self) -> str:
        """The bound as the table says it."""
        if self.at_most is not None:
            return f"at most {_amount(self.at_most, self.unit)}"
        if self.at_least is not None:
            return f"at least {_amount(self.at_least, self.unit)}"
        return ""

    @property
    def holds(self) -> bool:
        """Whether the figure is as wanted; one without a bound always is."""
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )

    @property
    def amount(self) -> str:
        """The value with its unit."""
        return _amount(self.value, self.unit)


class Part(BaseModel):
    """What one part found.

    Attributes:
        figures: Lines of the table.
        series: Name -> label -> value or values, for the plot.
        remarks: Sentences that belong under the table.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    figures: list[Figure]
    series: dict[str, dict[str, float | list[float]]] = Field(default_factory=dict)
    remarks: list[str] = Field(default_factory=list)


def _amount(value: float, unit: str) -> str:
    digits = 0 if value.is_integer() else (3 if abs(value) < 10 else (1 if abs(value) < 1000 else 0))
    return f"{value:,.{digits}f} {unit}".replace(" %", "%")
