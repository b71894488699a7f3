"""A program of a user, checked by pyright in strict mode (test_types.py)."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import nasion


def first_faces(path: Path) -> Iterator[tuple[nasion.Frame, list[nasion.Face]]]:
    with nasion.track(path, max_faces=2, smooth="strong", detect_interval=0.2, start=1.5) as video:
        print(video.info.name, video.dropped, video.header.scheme)
        for frame, faces in video:
            yield frame, faces[:1]


async def count(path: str) -> int:
    total = 0
    async with nasion.track(path) as video:
        async for frame, faces in video:
            total += len(faces) if frame.index else 0
    return total


def follow(path: Path) -> list[dict[str, object]]:
    spec = nasion.SourceSpec(str(path), "film", max_fps=10.0, loop=True)
    lines: list[dict[str, object]] = []
    with nasion.live({"film": spec, "desk": 0}, max_faces=2) as hub:
        other: nasion.Hub = hub
        for result in other:
            one: nasion.LiveResult = result
            lines.append(one.to_dict())
        print(hub.status().sources[0].state, hub.subscribe("film").dropped)
    return lines


def annotated(path: Path) -> int:
    return sum(result.frames for result in nasion.annotate(path, "annotations", formats=["jsonl"], resume=True))


def own_loop(images: list[NDArray[np.uint8]], options: nasion.TrackerOptions) -> list[int]:
    ids: list[int] = []
    with nasion.Tracker(options, keep=2.0) as tracker:
        for index, image in enumerate(images):
            faces = tracker.update(nasion.Frame(image=image, time=index / 25, index=index))
            ids += [face.id for face in sorted(faces)]
    return ids


def part_of(path: Path, options: nasion.TrackerOptions) -> int:
    part: nasion.SourceOptions = nasion.SourceOptions(start=1.0, end=2.5)
    return sum(len(faces) for _, faces in nasion.track(path, options, start=part.start, end=part.end, max_faces=1))


def one_image(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    faces = nasion.detect(image, channels="rgb", landmarks=True, threshold=0.4, max_faces=3)
    boxes: list[nasion.Face] = nasion.detect("face.png", landmarks=False)
    batch: list[list[nasion.Face]] = nasion.detect([image, image])
    paths = nasion.detect([Path("a.png"), Path("b.png")])
    print(boxes in batch, len(paths[0]))
    face = faces[0]
    x0, y0, x1, y1 = (float(value) for value in face.box)
    landmarks: nasion.Landmarks = face.landmarks
    crop, back = face.crop(image, 112, margin=1.4)
    points = landmarks @ back[:, :2].T + back[:, 2]
    print(face in faces, x1 - x0, y1 - y0, crop.shape, points.shape, face.confidence.mean(), face.score)
    print(face.to_dict()["landmarks"], landmarks.scheme.parts if landmarks.scheme else {})
    return nasion.draw(image, faces, channels="rgb", label=False)


def measures(path: Path) -> list[nasion.Blink]:
    detector = nasion.BlinkDetector()
    found: list[nasion.Blink] = []
    for frame, faces in nasion.track(path, measures=("pose", "eyes", "mouth"), focal_length=800):
        found += detector.update(frame.time, faces)
        for face in faces:
            pose: nasion.Pose | None = face.pose
            opening: nasion.EyeOpening | None = face.eye_opening
            if pose is not None and opening is not None:
                print(pose.yaw, pose.translation[2], opening.left, face.mouth_opening)
    lids: nasion.Opening = nasion.schemes["ibug-68"].openings["left_eye"]
    print(lids.corners, [blink.duration for blink in nasion.blinks(nasion.read("faces.jsonl"))])
    return found


def files(folder: Path) -> None:
    written: int = nasion.write([folder / "a.mp4", folder / "a.csv"], first_faces(folder / "film.mp4"), force=True)
    with nasion.read(folder / "a.csv") as reading:
        print(written, reading.header.landmarks, reading.header.models)
        for record, faces in reading:
            print(record.index, record.time, [face.visibility for face in faces])
    nasion.write(folder / "b.jsonl", nasion.read(folder / "a.csv"), parts=("box",))


def schemes() -> list[str]:
    scheme: nasion.LandmarkScheme = nasion.schemes["ibug-68"]
    nasion.add_scheme(scheme)
    return [name for name in nasion.schemes if nasion.schemes[name].count >= scheme.count]


def main() -> None:
    try:
        with nasion.open_source("film.mp4", decode="auto") as source:
            print(source.info.rate, next(source).width)
        print(asyncio.run(count("film.mp4")), schemes(), nasion.__version__)
    except nasion.NasionError as error:
        print(error)
