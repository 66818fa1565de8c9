"""Which content type of WRITERS an Accept header asks for."""

from __future__ import annotations

from dataclasses import dataclass

from thorax.serving.request import RequestError
from thorax.serving.writers import LINES, WRITERS


@dataclass(frozen=True)
class MediaRange:
    """One part of an Accept header: `image/*;q=0.5` is (image/*, False, 0.5)."""

    name: str
    verbose: bool
    q: float

    @classmethod
    def parse(cls, text: str) -> MediaRange:
        """A range; a q that is no number is 0, so that the range is ruled out."""
        name, *parameters = (part.strip().lower() for part in text.split(";"))
        verbose, q = False, 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key == "q":
                try:
                    q = min(max(float(value), 0.0), 1.0)
                except ValueError:
                    q = 0.0
            verbose |= key == "verbose" and value in ("", "true", "1")
        return cls(name, verbose, q if q == q else 0.0)

    def specificity(self, writer: str) -> int:
        """3: names the content type; 2: type/*; 1: */*; 0: does not take it in."""
        content_type, _, parameter = writer.partition(";")
        if self.name == content_type:
            return 3 if self.verbose == bool(parameter) else 0
        if self.verbose or parameter:
            return 0
        if self.name == content_type.split("/")[0] + "/*":
            return 2
        return 1 if self.name == "*/*" and WRITERS[writer].for_any else 0


def choose_writer(accept: str | None, batch_job: bool = False) -> str:
    """The name in WRITERS that an Accept header prefers (RFC 9110: by q, then the more specific range, then our order).

    Args:
        accept: the header; None or empty: */*.
        batch_job: the request is a batch transform's: of equals JSON Lines comes first, as SageMaker's built-in
            algorithm answers there.

    Raises:
        RequestError: 406, it accepts none of them.
    """
    ranges = [MediaRange.parse(part) for part in (accept or "").split(",") if part.strip()]
    best: tuple[float, int] = (0.0, 0)
    chosen = ""
    for writer in (LINES, *WRITERS) if batch_job else WRITERS:
        specificity, q = max((r.specificity(writer), r.q) for r in ranges or [MediaRange("*/*", False, 1.0)])
        if specificity and q > 0 and (q, specificity) > best:
            best, chosen = (q, specificity), writer
    if not chosen:
        raise RequestError(406, f"Accept {(accept or '')[:100]} cannot be given; ask for one of {', '.join(WRITERS)}")
    return chosen
