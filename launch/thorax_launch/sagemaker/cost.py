"""What a job can cost at most, before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from thorax.errors import ThoraxError
from thorax_launch.recipe import Recipe


@dataclass(frozen=True)
class Prices:
    """A user's price table: dollars per hour of each machine, and the day it was true."""

    as_of: str
    region: str
    per_hour: dict[str, float]

    @classmethod
    def load(cls, path: Path) -> Prices:
        """Reads launch/prices.example.yaml's form.

        Raises:
            ThoraxError: the file is missing or of another form.
        """
        try:
            stored: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
            return cls(
                str(stored["as_of"]), str(stored["region"]), {str(k): float(v) for k, v in stored["per_hour"].items()}
            )
        except OSError as error:
            raise ThoraxError(f"--prices {path} cannot be read: {error.strerror}") from None
        except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError):
            raise ThoraxError(
                f"--prices {path} must have as_of, region and per_hour, as launch/prices.example.yaml has"
            ) from None


def told(recipe: Recipe, region: str, prices: Prices | None, jobs: int = 1, parallel: int = 1) -> str:
    """Machines, count, longest time, and with a price table the most that they can cost.

    The bound is count x hours x price of machines on demand (spot costs less, never more), for all jobs of a search,
    warm pool included. Storage, requests and Debugger's rule machines are not in it.
    """
    each = (
        f"{recipe.instance_count} x {recipe.instance_type}{' (spot)' if recipe.spot else ''}, at most"
        f" {recipe.max_hours:g} h"
    )
    pool = f", then {recipe.warm_pool_minutes} min of warm pool" if recipe.warm_pool_minutes else ""
    text = f"machines: {each}{pool}" + (f"; {jobs} jobs, {parallel} at once" if jobs > 1 else "")
    hours = recipe.instance_count * (recipe.max_hours + recipe.warm_pool_minutes / 60) * jobs
    if prices is None:
        return (
            f"{text}\ncost:     {hours:g} machine hours at most; give --prices FILE for dollars"
            " (launch/prices.example.yaml)"
        )
    if prices.region != region:
        return (
            f"{text}\ncost:     {hours:g} machine hours at most; the price table is for {prices.region}, not {region}"
        )
    if recipe.instance_type not in prices.per_hour:
        return f"{text}\ncost:     {hours:g} machine hours at most; the price table has no {recipe.instance_type}"
    price = prices.per_hour[recipe.instance_type]
    return (
        f"{text}\ncost:     at most ${hours * price:,.2f} = {hours:g} machine hours x ${price:g} (prices of"
        f" {prices.as_of})"
    )


def hosting_told(machine: str, count: int, region: str, prices: Prices | None) -> str:
    """What an endpoint costs as long as it stands; with `machine` empty a serverless one."""
    if not machine:
        return "machines: none (serverless)\ncost:     for each request by memory and time; nothing while nobody asks"
    text = f"machines: {count} x {machine}, billed every hour until the endpoint is deleted"
    if prices is None:
        return f"{text}\ncost:     give --prices FILE for dollars (launch/prices.example.yaml)"
    if prices.region != region or machine not in prices.per_hour:
        return f"{text}\ncost:     the price table of {prices.region} has no {machine} in {region}"
    hour = count * prices.per_hour[machine]
    return f"{text}\ncost:     ${hour:,.2f} an hour, ${hour * 730:,.2f} a month (prices of {prices.as_of})"
