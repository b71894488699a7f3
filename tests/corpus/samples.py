"""One-second videos of every kind that Debian's ffmpeg can write, each made by one command."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# Two colours, half a second each, with a white corner that tells which side is up, and a black box that moves.
_COLOURS = "color=0xB04020:s={size}:r={rate}:d={half}[a];color=0x2060C0:s={size}:r={rate}:d={half}[b]"
_CORNER = "[a][b]concat=n=2,format=rgb24,drawbox=x=0:y=0:w=iw/4:h=ih/4:color=white:t=fill[c]"
_BOX = "color=black:s=20x12:r={rate}:d=1[d];[c][d]overlay=x=main_w*t*0.8:y=main_h*3/4:format=rgb:shortest=1"
_IMAGES = f"{_COLOURS};{_CORNER};{_BOX}"


@dataclass(frozen=True, slots=True)
class Sample:
    """One video.

    Attributes:
        name: name of the file; the suffix selects the container.
        options: options of ffmpeg for the output.
        kind: what is special about it.
        size: width and height in pixels.
        rate: frames per second.
        turned: degrees by which a player turns it, clockwise; a second command sets that while it copies the streams.
    """

    name: str
    options: str
    kind: str = ""
    size: str = "160x96"
    rate: str = "25"
    turned: int = 0

    @property
    def sound(self) -> bool:
        """True if it has sound."""
        return "-c:a" in self.options


_X264 = "-c:v libx264 -preset veryfast"
_X265 = "-c:v libx265 -preset ultrafast -x265-params log-level=error"
_VP9 = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8"
_VP8 = "-c:v libvpx -deadline realtime -cpu-used 8 -b:v 1M"
_AV1 = "-c:v libaom-av1 -cpu-used 8 -usage realtime"
_MJPEG, _PRORES = "-c:v mjpeg -pix_fmt yuvj420p", "-c:v prores_ks -profile:v 2 -pix_fmt yuv422p10le"
_MPEG2 = "-c:v mpeg2video -b:v 2M"
_AAC, _MP3, _MP2, _AC3 = "-c:a aac", "-c:a libmp3lame", "-c:a mp2", "-c:a ac3"
_OPUS, _VORBIS, _PCM = "-c:a libopus", "-c:a libvorbis", "-c:a pcm_s16le"
_VARIABLE = "-vf setpts='(N+floor(N/3)*0.5)/25/TB' -fps_mode vfr"

SAMPLES = (
    # MP4 and its relatives
    Sample("h264-aac.mp4", f"{_X264} {_AAC}", "B-frames"),
    Sample("h264-fragments.mp4", f"{_X264} -g 10 {_AAC} -movflags frag_keyframe+empty_moov", "fragments"),
    Sample("h264-front.mp4", f"{_X264} -bf 0 {_MP3} -movflags faststart", "index in front"),
    Sample("h264-rotated-90.mp4", f"{_X264} {_AAC}", "rotation 90°", turned=90),
    Sample("h264-rotated-180.mp4", f"{_X264} {_AAC}", "rotation 180°", turned=180),
    Sample("h264-rotated-270.mp4", f"{_X264}", "rotation 270°", turned=270),
    Sample("h264-sar.mp4", f"{_X264} -vf setsar=16/11 {_AAC}", "SAR 16:11"),
    Sample("h264-vfr.mp4", f"{_X264} {_VARIABLE} {_AAC}", "variable frame rate, B-frames"),
    Sample("h264-open.mp4", f"{_X264} -g 8 -x264-params open-gop=1:bframes=3 {_AAC}", "open GOP, B-frames"),
    Sample("h264-10.mp4", f"{_X264} -pix_fmt yuv420p10le {_AAC}", "10 bit"),
    Sample("h264-422.mp4", f"{_X264} -pix_fmt yuv422p {_AAC}", "4:2:2"),
    Sample("h264-444.mp4", f"{_X264} -pix_fmt yuv444p {_AAC}", "4:4:4"),
    Sample("h264-interlaced.mp4", f"{_X264} -flags +ildct+ilme -x264-params tff=1 {_AAC}", "interlaced"),
    Sample("h264-full.mp4", f"{_X264} -pix_fmt yuvj420p {_AAC}", "full range"),
    Sample("h264-odd.mp4", f"{_X264} -pix_fmt yuv444p", "odd size", size="161x97"),
    Sample("h264-grey.mp4", f"{_X264} -pix_fmt gray", "grey"),
    Sample("h264-ntsc.mp4", f"{_X264} {_AAC}", "29.97 FPS", rate="30000/1001"),
    Sample("h264-120.mp4", f"{_X264} {_AAC}", "120 FPS", rate="120"),
    Sample("h264-ac3.mp4", f"{_X264} {_AC3}", "AC-3"),
    Sample("h264-opus.mp4", f"{_X264} {_OPUS}", "Opus"),
    Sample("h264-alac.mp4", f"{_X264} -c:a alac", "ALAC"),
    Sample("h264-late.mp4", f"{_X264} {_AAC} -output_ts_offset 2", "starts at 2 s"),
    Sample("hevc.mp4", f"{_X265} {_AAC}", "B-frames"),
    Sample("hevc-10.mp4", f"{_X265} -pix_fmt yuv420p10le -tag:v hvc1 {_AAC}", "10 bit"),
    Sample("hevc-422-10.mp4", f"{_X265} -pix_fmt yuv422p10le", "4:2:2, 10 bit"),
    Sample("av1.mp4", f"{_AV1} {_AAC}"),
    Sample("vp9.mp4", f"{_VP9} {_OPUS}"),
    Sample("mpeg4.mp4", f"-c:v mpeg4 -bf 2 {_AAC}", "B-frames"),
    Sample("mjpeg.mp4", _MJPEG),
    Sample("h264.ismv", f"{_X264} {_AAC}", "smooth streaming"),
    Sample("h264.f4v", f"{_X264} {_AAC}"),
    Sample("h263.3gp", f"-c:v h263 {_AAC}", size="176x144"),
    Sample("mpeg4.3gp", f"-c:v mpeg4 {_AAC}"),
    Sample("h264.m4v", f"{_X264} {_AAC}"),
    # QuickTime
    Sample("h264-pcm.mov", f"{_X264} {_PCM}", "PCM"),
    Sample("h264-pcm-8.mov", f"{_X264} {_PCM} -ac 8", "8 channels"),
    Sample("prores.mov", f"{_PRORES} {_PCM}", "4:2:2, 10 bit"),
    Sample("prores-4444.mov", f"-c:v prores_ks -profile:v 4 -pix_fmt yuva444p10le {_PCM}", "alpha, 4:4:4, 10 bit"),
    Sample("prores-interlaced.mov", f"{_PRORES} -flags +ildct {_PCM}", "interlaced, 4:2:2, 10 bit"),
    Sample("qtrle.mov", "-c:v qtrle -pix_fmt argb", "alpha"),
    Sample("png.mov", f"-c:v png -pix_fmt rgba {_PCM}", "alpha"),
    Sample("mjpeg.mov", f"-c:v mjpeg -pix_fmt yuvj422p {_PCM}", "4:2:2"),
    Sample("dnxhr.mov", f"-c:v dnxhd -profile:v dnxhr_sq -pix_fmt yuv422p {_PCM}", "4:2:2", size="320x256"),
    Sample("raw.mov", f"-c:v rawvideo -pix_fmt uyvy422 {_PCM}", "4:2:2"),
    Sample("cinepak.mov", "-c:v cinepak -pix_fmt rgb24", "RGB"),
    Sample("h264-rotated.mov", f"{_X264} {_AAC}", "rotation 90°", turned=90),
    # Matroska and WebM
    Sample("h264-flac.mkv", f"{_X264} -c:a flac", "FLAC, B-frames"),
    Sample("h264-sar.mkv", f"{_X264} -vf setsar=64/45 {_VORBIS}", "SAR 64:45"),
    Sample("h264-vfr.mkv", f"{_X264} -bf 0 {_VARIABLE} {_OPUS}", "variable frame rate"),
    Sample("hevc-open.mkv", f"{_X265}:open-gop=1:keyint=8:bframes=3 {_AC3}", "open GOP, B-frames"),
    Sample("vp8.mkv", f"{_VP8} {_VORBIS}"),
    Sample("av1-10.mkv", f"{_AV1} -pix_fmt yuv420p10le {_OPUS}", "10 bit"),
    Sample("ffv1.mkv", f"-c:v ffv1 -level 3 -pix_fmt yuv422p10le {_PCM}", "4:2:2, 10 bit"),
    Sample("ffv1-alpha.mkv", "-c:v ffv1 -pix_fmt yuva444p", "alpha, 4:4:4"),
    Sample("ffv1-rgb.mkv", "-c:v ffv1 -pix_fmt bgr0", "RGB"),
    Sample("huffyuv.mkv", f"-c:v huffyuv -pix_fmt yuv422p {_PCM}", "4:2:2"),
    Sample("utvideo.mkv", "-c:v utvideo -pix_fmt gbrap", "alpha, RGB"),
    Sample("theora.mkv", f"-c:v libtheora -q:v 7 {_VORBIS}"),
    Sample("mpeg2.mkv", f"{_MPEG2} -bf 2 {_MP2}", "open GOP, B-frames"),
    Sample("mpeg4.mkv", f"-c:v mpeg4 -bf 2 {_MP3}", "B-frames"),
    Sample("mjpeg.mkv", f"{_MJPEG} {_PCM}", "full range"),
    Sample("raw.mkv", f"-c:v rawvideo -pix_fmt yuv420p {_PCM}"),
    Sample("prores.mkv", f"{_PRORES} {_PCM}", "4:2:2, 10 bit"),
    Sample("vp8.webm", f"{_VP8} {_VORBIS}"),
    Sample("vp8-alpha.webm", f"{_VP8} -auto-alt-ref 0 -pix_fmt yuva420p", "alpha"),
    Sample("vp9.webm", f"{_VP9} {_OPUS}"),
    Sample("vp9-alpha.webm", f"{_VP9} -pix_fmt yuva420p {_OPUS}", "alpha"),
    Sample("vp9-444.webm", f"{_VP9} -pix_fmt yuv444p {_OPUS}", "4:4:4"),
    Sample("vp9-10.webm", f"{_VP9} -pix_fmt yuv420p10le -profile:v 2 {_OPUS}", "10 bit"),
    Sample("av1.webm", f"{_AV1} {_OPUS}"),
    # AVI
    Sample("mpeg4.avi", f"-c:v mpeg4 {_MP3}"),
    Sample("mpeg4-b.avi", f"-c:v mpeg4 -bf 2 {_MP3}", "B-frames"),
    Sample("h264.avi", f"{_X264} -bf 0 {_MP3}"),
    Sample("h264-b.avi", f"{_X264} -bf 2 {_AC3}", "B-frames"),
    Sample("mjpeg.avi", f"{_MJPEG} {_PCM}", "full range"),
    Sample("raw.avi", f"-c:v rawvideo -pix_fmt bgr24 {_PCM}", "RGB"),
    Sample("huffyuv.avi", f"-c:v huffyuv -pix_fmt yuv422p {_PCM}", "4:2:2"),
    Sample("ffv1.avi", f"-c:v ffv1 {_PCM}"),
    Sample("msmpeg4.avi", f"-c:v msmpeg4v2 {_MP3}"),
    Sample("zmbv.avi", "-c:v zmbv -pix_fmt bgr0", "RGB"),
    Sample("magicyuv.avi", "-c:v magicyuv -pix_fmt gbrap", "alpha, RGB"),
    Sample("dv.avi", f"-c:v dvvideo -pix_fmt yuv420p {_PCM} -ar 48000", "interlaced", size="720x576"),
    # MPEG streams
    Sample("h264.ts", f"{_X264} {_AAC}", "B-frames"),
    Sample("h264-open.ts", f"{_X264} -g 8 -x264-params open-gop=1:bframes=3 {_MP2}", "open GOP, B-frames"),
    Sample("hevc.ts", f"{_X265} {_AC3}", "B-frames"),
    Sample("mpeg2.ts", f"{_MPEG2} -bf 2 {_MP2}", "open GOP, B-frames"),
    Sample("h264-opus.ts", f"{_X264} -bf 0 {_OPUS}", "Opus"),
    Sample("h264.m2ts", f"{_X264} {_AC3}", "B-frames"),
    Sample("mpeg1.mpg", f"-c:v mpeg1video -b:v 1M -bf 2 {_MP2}", "B-frames"),
    Sample("mpeg2-interlaced.mpg", f"-f vob {_MPEG2} -flags +ildct+ilme -top 1 {_AC3}", "interlaced"),
    Sample("mpeg2-sar.vob", f"{_MPEG2} -bf 2 -aspect 16:9 {_AC3}", "display aspect 16:9"),
    Sample("mpeg2-422.ts", f"{_MPEG2} -pix_fmt yuv422p {_MP2}", "4:2:2"),
    # others
    Sample("flv1.flv", f"-c:v flv1 {_MP3} -ar 44100"),
    Sample("h264.flv", f"{_X264} {_AAC}", "B-frames"),
    Sample("h264-11025.flv", f"{_X264} -bf 0 {_MP3} -ar 11025", "MP3 at 11,025 Hz"),
    Sample("flashsv.flv", "-c:v flashsv -pix_fmt bgr24", "RGB"),
    Sample("wmv2.wmv", "-c:v wmv2 -b:v 1M -c:a wmav2"),
    Sample("wmv1.asf", "-c:v wmv1 -b:v 1M -c:a wmav2"),
    Sample("msmpeg4.asf", f"-c:v msmpeg4 {_MP3}"),
    Sample("theora.ogv", f"-c:v libtheora -q:v 7 {_VORBIS}"),
    Sample("mpeg2.mxf", f"{_MPEG2} -bf 2 {_PCM} -ar 48000", "B-frames"),
    Sample("dnxhd.mxf", f"-c:v dnxhd -b:v 36M -pix_fmt yuv422p {_PCM} -ar 48000", "4:2:2", size="1920x1080"),
    Sample("ffv1.nut", f"-c:v ffv1 {_PCM}"),
    Sample("h264.nut", f"{_X264} {_AAC}", "B-frames"),
    Sample("dv.dv", f"-c:v dvvideo -pix_fmt yuv420p {_PCM} -ar 48000 -ac 2", "interlaced", size="720x576"),
    Sample("rv20.rm", f"-c:v rv20 {_AC3}", size="176x144"),
    Sample("flv1.swf", f"-c:v flv1 {_MP3} -ar 44100"),
    Sample("mpeg2.wtv", f"{_MPEG2} {_MP2}"),
    Sample("raw.y4m", "-pix_fmt yuv420p"),
    Sample("raw-10.y4m", "-pix_fmt yuv422p10le -strict -1", "4:2:2, 10 bit"),
    Sample("vp9.ivf", _VP9),
    Sample("av1.ivf", _AV1),
    Sample("av1.obu", _AV1),
    Sample("h264.h264", f"{_X264} -bf 0"),
    Sample("h264-b.h264", _X264, "B-frames"),
    Sample("hevc.hevc", _X265, "B-frames"),
    Sample("mpeg4.m4v", "-f m4v -c:v mpeg4"),
    Sample("mpeg2.m2v", f"{_MPEG2} -bf 2", "B-frames"),
    Sample("mjpeg.mjpeg", _MJPEG, "full range"),
    Sample("h264.m3u8", f"{_X264} -g 10 -hls_time 0.4 {_AAC}", "HLS"),
)


def make(sample: Sample, folder: Path) -> Path:
    """Write a sample and return its path.

    Raises:
        subprocess.CalledProcessError: ffmpeg failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / sample.name
    first = path.with_name(f"upright-{path.name}") if sample.turned else path
    numerator, _, denominator = sample.rate.partition("/")
    half = round(int(numerator) / int(denominator or 1) / 2) / int(numerator) * int(denominator or 1)
    images = _IMAGES.format(size=sample.size, rate=sample.rate, half=half)
    sound = "-f lavfi -i sine=frequency=440:sample_rate=48000:duration=1" if sample.sound else ""
    pixels = "" if "-pix_fmt" in sample.options else "-pix_fmt yuv420p"
    _ffmpeg(f"-f lavfi -i {shlex.quote(images)} {sound} {pixels} {sample.options}", first)
    if sample.turned:
        copied = f"-i {shlex.quote(str(first))} -c copy"
        if int(version().partition(".")[0]) < 6:
            _ffmpeg(f"{copied} -metadata:s:v rotate={sample.turned}", path)
        else:
            _ffmpeg(f"-display_rotation:v:0 {-sample.turned} {copied}", path)
        first.unlink()
    return path


@cache
def version() -> str:
    """Return the version of ffmpeg."""
    done = subprocess.run(["ffmpeg", "-version"], check=True, capture_output=True, text=True)
    return done.stdout.split()[2].rpartition(":")[2].lstrip("n")


def _ffmpeg(options: str, path: Path) -> None:
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", "-threads", "1", *shlex.split(options), str(path)]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, cwd=path.parent)
