"""What a job can cost at most, before it starts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from thorax.errors import ThoraxError
from thorax.job import HOUR_PRICE
from thorax.yaml_reading import read_yaml
from thorax_launch.options import MachineOptions
from thorax_launch.paths import PRICES
from thorax_launch.recipe import Recipe
from thorax_launch.settings import AwsSettings

#: How a line says that its prices are the package's own.
EXAMPLE = "example prices"
#: AWS's own month: 8,760 hours of a year by 12.
HOURS_A_MONTH = 730


@dataclass(frozen=True)
class Prices:
    """A price table: dollars per hour of each machine, and the day it was true.

    Attributes:
        example: whether it is the package's own, which is rounded and of one region.
    """

    as_of: str
    region: str
    per_hour: dict[str, float]
    example: bool = False

    @property
    def source(self) -> str:
        """Where its prices are from, in words."""
        if self.example:
            return EXAMPLE
        return f"prices of {self.as_of}"

    @classmethod
    def load(cls, path: Path) -> Prices:
        """Reads launch/prices.example.yaml's form. Raises ThoraxError: the file is missing or of another form."""
        try:
            stored: Any = read_yaml(path.read_text(encoding="utf-8"))
            return cls(
                str(stored["as_of"]), str(stored["region"]), {str(k): float(v) for k, v in stored["per_hour"].items()}
            )
        except OSError as error:
            raise ThoraxError(f"--prices {path} cannot be read: {error.strerror}") from None
        except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError):
            raise ThoraxError(
                f"--prices {path} must have as_of, region and per_hour, as launch/prices.example.yaml has"
            ) from None


def load_prices(settings: AwsSettings) -> Prices | None:
    """The settings' price table, where they have one."""
    return Prices.load(Path(settings.prices)) if settings.prices else None


def price_variable(recipe: MachineOptions, settings: AwsSettings) -> dict[str, str]:
    """The environment variable by which a job knows what an hour of its machines costs, for the cost of each epoch.

    Empty where that is not known: no price table for the region, a machine that it lacks, several kinds of machines to
    choose from, or spot, whose price AWS makes by the hour.
    """
    prices, _ = prices_here(settings)
    each = None if prices is None or recipe.spot else prices.per_hour.get(recipe.instance_type)
    return {} if each is None else {HOUR_PRICE: f"{each * recipe.instance_count:.6f}"}


def prices_or_example(settings: AwsSettings) -> Prices:
    """The settings' price table, else the package's example."""
    return load_prices(settings) or dataclasses.replace(Prices.load(PRICES), example=True)


def prices_here(settings: AwsSettings) -> tuple[Prices | None, str]:
    """(the settings' price table where it is for their region, else None; why there is none)."""
    prices = load_prices(settings)
    if prices is None:
        return None, "give --prices FILE for dollars (launch/prices.example.yaml)"
    if settings.region and prices.region != settings.region:
        return None, f"the price table is for {prices.region}, not {settings.region}"
    return prices, ""


@dataclass(frozen=True)
class SearchScale:
    """How much of a recipe's machine is paid for.

    Attributes:
        jobs: in all.
        parallel: of these at once.
        total_hours: after which AWS stops the search with its jobs; 0: it does not.
    """

    jobs: int = 1
    parallel: int = 1
    total_hours: float = 0.0

    def hours(self, recipe: MachineOptions) -> float:
        """Of all machines together, at most."""
        each = recipe.instance_count * (recipe.max_hours + recipe.warm_pool_minutes / 60)
        limit = self.parallel * recipe.instance_count * self.total_hours or math.inf
        return min(each * self.jobs, limit)

    @property
    def words(self) -> str:
        """The end of a line about machines; "" for one job."""
        if self.jobs == 1 and not self.total_hours:
            return ""
        limit = f", {self.total_hours:g} h in all" if self.total_hours else ""
        return f"{self.jobs} jobs, {self.parallel} at once{limit}"


ONE_JOB = SearchScale()


@dataclass(frozen=True)
class Item:
    """One part of a plan.

    Attributes:
        name: such as training.
        words: machines and hours.
        machine: type of its machines.
        hours: of all its machines together, at most.
    """

    name: str
    words: str
    machine: str
    hours: float


def plan_items(recipe: Recipe, scale: SearchScale | None, endpoint: tuple[str, int], months: float) -> list[Item]:
    """The parts of a whole plan: a search, a training, an endpoint where `months` is above 0.

    Args:
        recipe: on its machine.
        scale: of the search; None: there is none.
        endpoint: type and number of its machines.
        months: how long it stands, of 730 hours.
    """
    machines = f"{recipe.instance_count} x {recipe.instance_type}{' (spot)' if recipe.spot else ''}"
    long = f"at most {recipe.max_hours:g} h"
    kind, count = endpoint
    searches = []
    if scale:
        without_pool = dataclasses.replace(recipe, warm_pool_minutes=0)
        words = f"{scale.jobs} jobs, {scale.parallel} at once, each {machines}, {long}"
        words += f", {scale.total_hours:g} h in all" if scale.total_hours else ""
        searches = [Item("search", words, recipe.instance_type, scale.hours(without_pool))]
    training = Item("training", f"{machines}, {long}", recipe.instance_type, ONE_JOB.hours(recipe))
    hosting = Item(
        "endpoint",
        f"{count} x {kind}, {months:g} {'month' if months == 1 else 'months'} of 730 h",
        kind,
        count * months * HOURS_A_MONTH,
    )
    return [*searches, training, *([hosting] if months else [])]


def plan_cost(items: Sequence[Item], prices: Prices | None, why: str) -> str:
    """A line for each part with its most dollars, and their sum; what has no price is named."""
    lines, total, unknown = [], 0.0, []
    for item in items:
        kinds = item.machine.split(",")  # of several AWS takes the first that it has: the dearest is the most
        missing = [kind for kind in kinds if prices is None or kind not in prices.per_hour]
        if prices is None or missing:
            unknown += missing
            cost = f"{item.hours:g} machine hours"
        else:
            price = max(prices.per_hour[kind] for kind in kinds)
            total += item.hours * price
            dearest = ", the dearest of them" if len(kinds) > 1 else ""
            cost = f"${item.hours * price:,.2f} = {item.hours:g} machine hours x ${price:g}{dearest}"
        lines.append(f"{f'{item.name}:':10} {item.words}: {cost}")
    if prices is None:
        return "\n".join([*lines, f"{'in all:':10} {why}"])
    rest = f", without {', '.join(dict.fromkeys(unknown))}, which the price table lacks" if unknown else ""
    end = f"{'in all:':10} at most ${total:,.2f}{rest} (on demand, {prices.region}, prices of {prices.as_of})"
    return "\n".join([*lines, end, "not in it: storage, requests, data transfer, Debugger's rule machines"])


def job_cost(recipe: MachineOptions, settings: AwsSettings, scale: SearchScale = ONE_JOB) -> str:
    """Machines, count, longest time, and with a price table the most that they can cost, in two lines.

    The bound is count x hours x price of machines on demand (spot costs less, never more), for all jobs of a search,
    warm pool included. Storage, requests and Debugger's rule machines are not in it.
    """
    if "," in recipe.instance_type:
        kinds = recipe.instance_type.split(",")
        each = [job_cost(dataclasses.replace(recipe, instance_type=kind), settings, scale) for kind in kinds]
        return "\nor, where AWS has none of these:\n".join(each)
    machine, prices = recipe.instance_type, prices_or_example(settings)
    spot = " (spot)" if recipe.spot else ""
    pool = f", then {recipe.warm_pool_minutes} min of warm pool" if recipe.warm_pool_minutes else ""
    several = f"; {scale.words}" if scale.words else ""
    hours = scale.hours(recipe)
    bound = f"{hours:g} machine hours at most"
    if missing := _no_price(prices, machine, settings.region):
        cost = f"{bound}; {missing}"
    else:
        price, most = prices.per_hour[machine], "at most about" if prices.example else "at most"
        cost = f"{most} ${hours * price:,.2f} = {hours:g} machine hours x ${price:g} ({prices.source})"
    machines = f"{recipe.instance_count} x {machine}{spot}, at most {recipe.max_hours:g} h{pool}{several}"
    return f"machines: {machines}\ncost:     {cost}"


def hosting_cost(machine: str, count: int, settings: AwsSettings, until: str = "until the endpoint is deleted") -> str:
    """What machines that serve cost, in two lines; with `machine` empty a serverless endpoint."""
    if not machine:
        return "machines: none (serverless)\ncost:     for each request by memory and time; nothing while nobody asks"
    prices = prices_or_example(settings)
    if not (cost := _no_price(prices, machine, settings.region)):
        hour, about = count * prices.per_hour[machine], "about " * prices.example
        cost = f"{about}${hour:,.2f} an hour, ${hour * HOURS_A_MONTH:,.2f} a month ({prices.source})"
    return f"machines: {count} x {machine}, billed every hour {until}\ncost:     {cost}"


def total_cost(parts: Sequence[MachineOptions], settings: AwsSettings) -> str:
    """The line with the most that several parts cost together; "" where a price is missing."""
    prices = prices_or_example(settings)
    if any(_no_price(prices, part.instance_type, settings.region) for part in parts):
        return ""
    total = sum(ONE_JOB.hours(part) * prices.per_hour[part.instance_type] for part in parts)
    return f"{'in all:':9} at most{' about' * prices.example} ${total:,.2f} ({prices.source})"


def _no_price(prices: Prices, machine: str, region: str) -> str:
    """Why the table has no price of a machine; "" where it has one. The example stands for every region."""
    if prices.example:
        return "" if machine in prices.per_hour else f"the example prices have no {machine}: give --prices FILE"
    if prices.region != region:
        return f"the price table is for {prices.region}, not {region}"
    return "" if machine in prices.per_hour else f"the price table has no {machine}"
