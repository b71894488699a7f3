"""Page of a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path, PurePath

from ....engines.output_paths import writing
from ...faces.drawing import colour_of
from ..exports.base import readable
from ..exports.whole import aside
from ..job import Job
from ..journal import JournalHeader
from ..look_ahead.annotation import Annotation
from .collecting import Collector, IdentityFigures, Portrait
from .plots import Line, Values, bars, plot
from .portraits import thumbnails

_ROWS = 40  # identities in the timeline
_GALLERY = 500  # identities with a thumbnail
_CLOSE = 4  # identities with plots of their own
_ACCENT, _SECOND, _THIRD = "var(--accent)", "var(--second)", "var(--third)"
Spans = Sequence[tuple[int, int, str]]


def write_report(
    path: Path, job: Job, annotation: Annotation, collected: Collector, counts: Mapping[str, int], attention: Spans
) -> None:
    """Write the report of an input. That of a run that obscures faces shows none.

    Args:
        path: HTML file.
        job: job of the input.
        annotation: its annotation, every frame of which was passed.
        collected: figures of all frames.
        counts: figures of the tiles at the top, by name.
        attention: spans of frames to check.

    Raises:
        SinkError: it cannot be written.
    """
    journal = annotation.journal
    identities = sorted(collected.identities.values(), key=lambda identity: -identity.frames)
    worst = [] if job.obscure else collected.worst()
    shown = [] if job.obscure else [identity for identity in identities[:_GALLERY] if identity.portrait]
    wanted = [(portrait, True) for portrait in worst]
    wanted += [(identity.portrait, False) for identity in shown if identity.portrait]
    urls = thumbnails(job, wanted)
    faces = {identity.id: url for identity, url in zip(shown, urls[len(worst) :], strict=True)}
    parts = [
        _head(journal, collected, counts),
        _attention(attention) if job.obscure else "",
        _unread(list(annotation.unread.values())),
        _over_time(collected),
        "" if job.independent else _timeline(collected, identities, faces),
        "" if job.independent else _close(collected, identities),
        _worst(worst, urls[: len(worst)]),
        _gallery(shown, faces, len(identities) - len(shown), independent=job.independent),
        _details(journal),
    ]
    page = _template()
    for name, text in (("title", escape(readable(PurePath(journal.source).name))), ("content", "\n".join(parts))):
        page = page.replace("{{" + name + "}}", text)
    with aside(path) as part, writing(path):
        part.write_text(page, encoding="utf-8")


def _template() -> str:
    return Path(__file__).with_name("page.html").read_text(encoding="utf-8")


def _head(journal: JournalHeader, collected: Collector, counts: Mapping[str, int]) -> str:
    about = [f"{journal.width} × {journal.height}"]
    if journal.kind == "video":
        about.append(clock(collected.end))
        if journal.rate:
            top, _, bottom = journal.rate.partition("/")
            about.append(f"{int(top) / int(bottom or 1):.4g} frames per second")
    if journal.every > 1:
        about.append(f"every {journal.every} frames")
    confidence = collected.mean("confidence")
    tiles = [(name, f"{value:,}") for name, value in counts.items()]
    if confidence is not None:
        tiles.append(("mean confidence", f"{100 * confidence:.1f} %"))
    tiles.append(("frames without a face", f"{collected.empty:,}"))
    boxes = "".join(f"<div><b>{value}</b><span>{escape(name)}</span></div>" for name, value in tiles)
    return (
        f"<header><p>nasion annotation</p><h1>{escape(readable(PurePath(journal.source).name))}</h1>"
        f"<small>{' · '.join(about)}</small></header><div class='tiles'>{boxes}</div>"
    )


def _attention(spans: Spans) -> str:
    if not spans:
        return _section("Frames to check", "<p>Every face was seen in every frame in which it was covered.</p>")
    rows = "".join(
        f"<tr><td>{begin:,}</td><td>{end:,}</td><td>{escape(reason)}</td></tr>" for begin, end, reason in spans[:500]
    )
    more = f"<p>and {len(spans) - 500:,} more</p>" if len(spans) > 500 else ""
    head = "<tr><th>from frame</th><th>to frame</th><th>reason</th></tr>"
    return _section(
        "Frames to check",
        "<p>A face was not seen in these frames, but covered by a guess. This report shows no face.</p>"
        f"<div class='scroll'><table>{head}{rows}</table></div>{more}",
    )


def _unread(problems: Sequence[str]) -> str:
    if not problems:
        return ""
    rows = "".join(f"<tr><td>{escape(readable(problem))}</td></tr>" for problem in problems[:500])
    more = f"<p>and {len(problems) - 500:,} more</p>" if len(problems) > 500 else ""
    return _section("Images that cannot be read", f"<div class='scroll'><table>{rows}</table></div>{more}")


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>"


def _over_time(collected: Collector) -> str:
    marks = [_at(collected, time) for time in collected.shots]
    most = max(collected.faces, default=0)
    confidence = _all(collected, "confidence")
    jitter = _all(collected, "jitter")
    charts = [
        plot(
            "Faces",
            [Line("faces", _ACCENT, collected.faces, filled=True)],
            low=0,
            high=most + 1,
            marks=marks,
            note=f"at most {most}" + (f"; {len(marks)} shot changes" if marks else ""),
        ),
        plot("Confidence", [Line("mean", _SECOND, confidence)], low=0, high=1, marks=marks, note="mean of all faces"),
    ]
    if any(value is not None for value in jitter):
        high = max(0.5, *(value for value in jitter if value is not None))
        charts.append(
            plot(
                "Jitter",
                [Line("jitter", _THIRD, jitter)],
                low=0,
                high=high,
                unit="%",
                note="second difference of the landmarks, in % of the face",
            )
        )
    return _section("Over time", "".join(charts) + _axis(collected))


def _all(collected: Collector, name: str) -> Values:
    """Return the mean over all faces of a series."""
    rows = [identity.series(name, collected.bins) for identity in collected.identities.values()]
    means: list[float | None] = []
    for i in range(collected.bins):
        values = [value for row in rows if (value := row[i]) is not None]
        means.append(sum(values) / len(values) if values else None)
    return means


def _timeline(collected: Collector, identities: Sequence[IdentityFigures], faces: Mapping[int, str]) -> str:
    rows = []
    for identity in sorted(identities[:_ROWS], key=lambda each: each.id):
        spans = list(_spans(identity, collected.bins))
        image = f'<img src="{faces[identity.id]}" alt="">' if faces.get(identity.id) else "<i class='unknown'></i>"
        who = f"<span><b>face {identity.id}</b><small>{identity.frames:,} frames</small></span>"
        rows.append(f"<div class='row'><div class='who'>{image}{who}</div>{bars(spans, css(identity.id))}</div>")
    if len(identities) > _ROWS:
        rows.append(f"<p>and {len(identities) - _ROWS:,} more</p>")
    axis = _axis(collected, indented=True)
    return _section("Identities <small>light: interpolated</small>", "".join(rows) + axis) if rows else ""


def _spans(identity: IdentityFigures, bins: int) -> Iterator[tuple[float, float, str]]:
    """Yield the spans of bins in which an identity is seen, or only interpolated."""
    begin = kind = None
    for place in range(bins + 1):
        seen, filled = identity.seen.get(place, 0), identity.filled.get(place, 0)
        now = None if not seen else "filled" if filled == seen else "seen"
        if now != kind:
            if kind is not None and begin is not None:
                yield begin / bins, place / bins, kind
            begin, kind = place, now


def _close(collected: Collector, identities: Sequence[IdentityFigures]) -> str:
    """Return the plots of the identities that are seen most."""
    blocks = []
    for identity in identities[:_CLOSE]:
        series = {
            name: identity.series(name, collected.bins)
            for name in ("yaw", "pitch", "roll", "left eye", "right eye", "mouth")
        }
        charts = []
        if any(value is not None for value in series["yaw"]):
            lines = [
                Line(name, colour, series[name])
                for name, colour in zip(("yaw", "pitch", "roll"), _COLOURS, strict=True)
            ]
            charts.append(plot("Pose", lines, low=-60, high=60, unit="°"))
        eyes = [name for name in ("left eye", "right eye", "mouth") if any(value is not None for value in series[name])]
        if eyes:
            lines = [Line(name, colour, series[name]) for name, colour in zip(eyes, _COLOURS, strict=False)]
            charts.append(plot("Openings", lines, low=0, high=0.8, note="of eyes and mouth"))
        if charts:
            name = f"<h2><i style='background:{css(identity.id)}'></i>Face {identity.id}</h2>"
            blocks.append(f"<section>{name}{''.join(charts)}{_axis(collected)}</section>")
    return "".join(blocks)


_COLOURS = (_ACCENT, _SECOND, _THIRD)


def _worst(portraits: Sequence[Portrait], urls: Sequence[str]) -> str:
    cards = "".join(
        f"<figure class='card'><img src='{url}' alt=''><figcaption><b>score {portrait.face.score:.3f}</b>"
        f"<small>face {portrait.face.id} · frame {portrait.index:,} · {clock(portrait.time)}</small></figcaption>"
        "</figure>"
        for portrait, url in zip(portraits, urls, strict=True)
        if url
    )
    return _section("Least certain faces", f"<div class='cards'>{cards}</div>") if cards else ""


def _gallery(identities: Sequence[IdentityFigures], faces: Mapping[int, str], more: int, *, independent: bool) -> str:
    cards = "".join(
        f"<figure class='card' style='border-color:{css(each.id)}'><img src='{faces[each.id]}' alt=''><figcaption>"
        f"<b>face {each.id}</b><small>{clock(each.first)} – {clock(each.last)} · {each.frames:,} frames</small>"
        "</figcaption></figure>"
        for each in sorted(identities, key=lambda one: one.id)
        if faces.get(each.id)
    )
    title = "Faces" if independent else "Every identity"
    rest = f"<p>and {more:,} more, seen in fewer frames</p>" if more > 0 else ""
    return _section(title, f"<div class='cards'>{cards}</div>{rest}") if cards else ""


def _details(journal: JournalHeader) -> str:
    networks = {role: f"{model['name']} ({model['runtime']})" for role, model in journal.models.items()}
    options = {name: value for name, value in journal.options.items() if value is not None}
    tables = "".join(
        f"<div><h3>{title}</h3><table>"
        + "".join(
            f"<tr><td>{escape(str(name))}</td><td>{escape(str(value))}</td></tr>" for name, value in values.items()
        )
        + "</table></div>"
        for title, values in (("Networks", networks), ("Options", options), ("Versions", journal.versions))
    )
    return _section("How it was made", f"<div class='details'>{tables}</div>")


def _axis(collected: Collector, *, indented: bool = False) -> str:
    known = [time for time in collected.times if time == time]
    begin = known[0] if known else 0.0
    ticks = "".join(f"<span>{clock(begin + (collected.end - begin) * i / 5)}</span>" for i in range(6))
    return f"<div class='axis{' indented' if indented else ''}'>{ticks}</div>"


def _at(collected: Collector, time: float) -> float:
    known = [each for each in collected.times if each == each]
    length = collected.end - (known[0] if known else 0.0)
    return (time - known[0]) / length if known and length > 0 else 0.0


def css(identity: int) -> str:
    """Return the colour of an identity, as it is drawn."""
    blue, green, red = colour_of(identity)
    return f"rgb({red},{green},{blue})"


def clock(seconds: float) -> str:
    """Return a time as ``1:23.4`` or ``1:02:03``."""
    tenths = round(10 * seconds)
    minutes, rest = divmod(tenths, 600)
    if minutes >= 60:
        return f"{minutes // 60}:{minutes % 60:02d}:{rest // 10:02d}"
    return f"{minutes}:{rest / 10:04.1f}"
