# SPDX-License-Identifier: Apache-2.0
"""Every encoding of the table gives the right colours; everything else is refused in one line."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from streams_support import header, image

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.profile import Camera
from adamoe_ros.streams.compressed import picture_size
from adamoe_ros.streams.encodings import ALIASES, ENCODINGS
from adamoe_ros.streams.images import decode_image, image_decoder, image_reader

H, W = 6, 8
RGB = np.random.default_rng(0).integers(0, 256, (H, W, 3), np.uint8)
FLAT = np.tile(np.array([200, 120, 40], np.uint8), (H, W, 1))
GREY = RGB[:, :, 0]


def alpha(pixels: np.ndarray) -> np.ndarray:
    return np.concatenate([pixels, np.full((H, W, 1), 9, np.uint8)], axis=2)


def mosaic(first: str, second: str) -> np.ndarray:
    """A Bayer mosaic of the flat colour, named by its two rows as ROS does."""
    value = dict(zip("rgb", FLAT[0, 0], strict=True))
    out = np.zeros((H, W), np.uint8)
    for row, names in enumerate((first, second)):
        for column, name in enumerate(names):
            out[row::2, column::2] = value[name]
    return out


def packed(order: str) -> np.ndarray:
    """The flat colour as 4:2:2, by the equations of BT.601."""
    r, g, b = (float(value) for value in FLAT[0, 0])
    y = 16 + 0.257 * r + 0.504 * g + 0.098 * b
    u = 128 - 0.148 * r - 0.291 * g + 0.439 * b
    v = 128 + 0.439 * r - 0.368 * g - 0.071 * b
    values = {"y": y, "u": u, "v": v}
    pair = [round(values[name]) for name in order]
    return np.tile(np.array(pair, np.uint8), (H, W // 2))


def planes(chroma_of: int, order: str = "uv") -> np.ndarray:
    """The flat colour as planes: luma, then chroma for every so many pixels in both directions."""
    pair = packed("yuyv")[0]
    value = {"y": pair[0], "u": pair[1], "v": pair[3]}
    count = H * W // chroma_of**2
    if order in ("uv", "vu"):
        chroma = np.tile(np.array([value[name] for name in order], np.uint8), count)
    else:
        chroma = np.repeat(np.array([value[name] for name in order[1:]], np.uint8), count)
    return np.concatenate([np.full(H * W, value["y"], np.uint8), chroma]).reshape(-1, W)


def sixteen(pixels: np.ndarray, big: bool) -> np.ndarray:
    samples = pixels.astype(np.uint16) * 256 + 13
    return samples.astype(">u2" if big else "<u2").view(np.uint8)


EXACT = {
    "rgb8": (RGB, RGB),
    "bgr8": (RGB[:, :, ::-1], RGB),
    "rgba8": (alpha(RGB), RGB),
    "bgra8": (alpha(RGB[:, :, ::-1]), RGB),
    "rgb16": (sixteen(RGB, False), RGB),
    "bgr16": (sixteen(RGB[:, :, ::-1], False), RGB),
    "rgba16": (sixteen(alpha(RGB), False), RGB),
    "bgra16": (sixteen(alpha(RGB[:, :, ::-1]), False), RGB),
    "mono8": (GREY, np.stack([GREY] * 3, axis=2)),
    "8UC1": (GREY, np.stack([GREY] * 3, axis=2)),
    "mono16": (sixteen(GREY, False), np.stack([GREY] * 3, axis=2)),
}
NEAR = {
    "yuv422": packed("uyvy"),
    "uyvy": packed("uyvy"),
    "yuv422_yuy2": packed("yuyv"),
    "yuyv": packed("yuyv"),
    "bayer_rggb8": mosaic("rg", "gb"),
    "bayer_bggr8": mosaic("bg", "gr"),
    "bayer_gbrg8": mosaic("gb", "rg"),
    "yuy2": packed("yuyv"),
    "yvyu": packed("yvyu"),
    "bayer_grbg8": mosaic("gr", "bg"),
    "bayer_rggb16": sixteen(mosaic("rg", "gb"), False),
    "bayer_bggr16": sixteen(mosaic("bg", "gr"), False),
    "bayer_gbrg16": sixteen(mosaic("gb", "rg"), False),
    "bayer_grbg16": sixteen(mosaic("gr", "bg"), False),
}
PLANAR = {
    "nv12": planes(2, "uv"),
    "nv21": planes(2, "vu"),
    "nv24": planes(1, "uv"),
    "i420": planes(2, "yuv"),
    "yv12": planes(2, "yvu"),
}


def test_every_encoding_of_the_table_is_tested() -> None:
    names = {name.lower() for name in (*EXACT, *NEAR, *PLANAR)}
    assert names == set(ENCODINGS) | set(ALIASES)


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", sorted(EXACT))
def test_exact_encodings(encoding: str, padding: int) -> None:
    source, expected = EXACT[encoding]
    decoded = decode_image(image(encoding, source, padding, width=W), "cam")
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, expected)


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", sorted(NEAR))
def test_converted_encodings(encoding: str, padding: int) -> None:
    decoded = decode_image(image(encoding, NEAR[encoding], padding, width=W), "cam")
    assert decoded.shape == (H, W, 3)
    inner = decoded[2:-2, 2:-2].astype(int)  # Bayer borders are extrapolated
    assert np.abs(inner - FLAT[0, 0]).max() <= 3


CHROMA_WIDTH = {"nv24": 2.0, "i420": 0.5, "yv12": 0.5}  # rows of the further planes


def planar(encoding: str, padding: int = 0, **changes: Any) -> SimpleNamespace:
    """A picture in planes; every plane's rows are padded in proportion to their length."""
    rows, share = PLANAR[encoding], CHROMA_WIDTH.get(encoding, 1.0)
    luma = image(encoding, rows[:H], padding, width=W).data
    chroma = rows[H:].reshape(-1, round(share * W))
    data = luma + image(encoding, chroma, round(share * padding), width=W).data
    fields = {"width": W, "height": H, "data": data, "step": W + padding}
    return image(encoding, rows, **(fields | changes))


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("encoding", sorted(PLANAR))
def test_planar_encodings(encoding: str, padding: int) -> None:
    decoded = decode_image(planar(encoding, padding), "cam")
    assert decoded.shape == (H, W, 3)
    assert np.abs(decoded.astype(int) - FLAT[0, 0]).max() <= 3


@pytest.mark.parametrize("step", [0, W * 3 // 2, 2 * W, 3 * W])
@pytest.mark.parametrize("encoding", sorted(PLANAR))
def test_drivers_count_the_step_of_planes_in_several_ways(encoding: str, step: int) -> None:
    decoded = decode_image(planar(encoding, step=step), "cam")
    assert np.abs(decoded.astype(int) - FLAT[0, 0]).max() <= 3


@pytest.mark.parametrize("encoding", sorted(PLANAR))
def test_planes_that_are_cut_or_odd_are_one_line(encoding: str) -> None:
    message = planar(encoding)
    message.data = message.data[:-1]
    with pytest.raises(ContractError, match="truncated"):
        decode_image(message, "cam")
    if encoding != "nv24":
        odd = planar(encoding, width=W - 1)
        with pytest.raises(ContractError, match="of an even width and height, got 7 x 6"):
            decode_image(odd, "cam")


def test_chroma_of_its_own_for_every_pixel() -> None:
    """nv24 keeps the colours of single pixels, which 4:2:0 cannot."""
    pair = packed("yuyv")[0]
    rows = np.full((3 * H, W), pair[0], np.uint8)
    chroma = rows[H:].reshape(H, W, 2)
    chroma[:] = 128
    chroma[:, ::2] = pair[1], pair[3]
    decoded = decode_image(image("nv24", rows, width=W, height=H), "cam").astype(int)
    assert np.abs(decoded[:, ::2] - FLAT[0, 0]).max() <= 3
    assert np.ptp(decoded[:, 1::2], axis=2).max() <= 2


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "mono8", "yuyv", "rgb16", "bayer_rggb8"])
@pytest.mark.parametrize("step", [0, 1])
def test_a_step_that_says_nothing_does_not_matter_where_the_data_are_whole(
    encoding: str, step: int
) -> None:
    source = EXACT[encoding][0] if encoding in EXACT else NEAR[encoding]
    good = decode_image(image(encoding, source, width=W), "cam")
    np.testing.assert_array_equal(
        good, decode_image(image(encoding, source, width=W, step=step), "cam")
    )
    cut_off = image(encoding, source, width=W, step=step)
    cut_off.data = cut_off.data[:-1]
    with pytest.raises(ContractError, match="truncated"):
        decode_image(cut_off, "cam")


@pytest.mark.parametrize(
    "encoding", ["RGB8", "BGR8", "Mono8", "YUV422", "Bayer_RGGB8", "NV12", "rgb8\0"]
)
@pytest.mark.parametrize("upper", ["message", "profile", "both"])
def test_names_in_any_case(encoding: str, upper: str) -> None:
    known = encoding.strip("\0").lower()
    sources = {name: EXACT[name][0] for name in EXACT} | NEAR | PLANAR
    changes = {"width": W, "height": H}
    sent = image(known if upper == "profile" else encoding, sources[known], **changes)
    camera = Camera(topic="t", encoding=known if upper == "message" else encoding, **changes)
    image_reader("c", camera)(sent)
    same = decode_image(image(known, sources[known], **changes), "cam")
    np.testing.assert_array_equal(image_decoder("c", camera)(sent), same)


@pytest.mark.parametrize(
    ("sent", "profile", "pixels"),
    [
        ("8UC3", "rgb8", RGB),
        ("8UC3", "bgr8", RGB[:, :, ::-1]),
        ("8UC4", "rgba8", alpha(RGB)),
        ("8UC4", "bgra8", alpha(RGB[:, :, ::-1])),
    ],
)
def test_the_profile_says_the_order_of_opencvs_types(
    sent: str, profile: str, pixels: np.ndarray
) -> None:
    camera = Camera(topic="t", encoding=profile, width=W, height=H)
    decoded = image_decoder("c", camera)(image(sent, pixels, width=W))
    np.testing.assert_array_equal(decoded, RGB)


@pytest.mark.parametrize(("name", "orders"), [("8UC3", "bgr8 .* rgb8"), ("8UC4", "bgra8 .* rgba8")])
def test_opencvs_types_are_no_encoding_of_a_profile(name: str, orders: str) -> None:
    with pytest.raises(ContractError, match=f"no order of colours; set the profile's .* {orders}"):
        image_decoder("c", Camera(topic="t", encoding=name))


def test_sixteen_bits_honour_the_byte_order() -> None:
    for big in (False, True):
        message = image("rgb16", sixteen(RGB, big), width=W, big_endian=big)
        np.testing.assert_array_equal(decode_image(message, "cam"), RGB)
        grey = image("mono16", sixteen(GREY, big), width=W, big_endian=big)
        np.testing.assert_array_equal(decode_image(grey, "cam")[..., 1], GREY)
        mosaic_16 = image("bayer_rggb16", sixteen(mosaic("rg", "gb"), big), width=W, big_endian=big)
        inner = decode_image(mosaic_16, "cam")[2:-2, 2:-2].astype(int)
        assert np.abs(inner - FLAT[0, 0]).max() <= 3


@pytest.mark.parametrize("padding", [0, 5])
def test_rgb8_is_a_view(padding: int) -> None:
    message = image("rgb8", RGB, padding, width=W)
    data = np.frombuffer(message.data, np.uint8)
    assert np.shares_memory(decode_image(message, "cam"), data)


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1", "8UC2", "mono16", ""])
def test_depth_and_ambiguous_encodings_are_refused_with_slot_and_topic(encoding: str) -> None:
    decode = image_decoder("cam_high", Camera(topic="/high/image_raw", width=W, height=H))
    with pytest.raises(ContractError) as caught:
        decode(image(encoding, RGB, width=W))
    (line,) = caught.value.problems
    assert line.startswith("cameras.cam_high (/high/image_raw): expected rgb8, got ")
    assert encoding in line


def test_another_known_encoding_than_the_profiles_is_refused() -> None:
    decode = image_decoder("cam_high", Camera(topic="high", width=W, height=H))
    with pytest.raises(ContractError, match="expected rgb8, got bgr8; set the driver's encoding"):
        decode(image("bgr8", RGB, width=W))


def cut(count: int) -> Any:
    def change(message: SimpleNamespace) -> None:
        message.data = message.data[:-count]

    return change


def no_pixels(message: SimpleNamespace) -> None:
    message.height = 0


@pytest.mark.parametrize("change", [cut(1), cut(H * W * 3), no_pixels])
def test_truncated_images_are_refused(change: Any) -> None:
    message = image("rgb8", RGB, width=W)
    change(message)
    with pytest.raises(ContractError, match="truncated"):
        decode_image(message, "cam")


def test_another_resolution_is_an_error_unless_allowed() -> None:
    camera = Camera(topic="high", width=640, height=480)
    message = image("rgb8", RGB, width=W)
    with pytest.raises(ContractError, match="expected 640 x 480 pixels, got 8 x 6"):
        image_decoder("cam_high", camera)(message)
    assert image_decoder("cam_high", camera, any_size=True)(message).shape == (H, W, 3)


def test_decoded_images_cannot_be_written() -> None:
    decoded = image_decoder("c", Camera(topic="t", width=W, height=H))(image("rgb8", RGB, width=W))
    with pytest.raises(ValueError, match="read-only"):
        decoded[0, 0, 0] = 1


def test_a_profile_with_an_unreadable_encoding_is_refused_at_once() -> None:
    with pytest.raises(ContractError, match=r"cameras\.cam_high\.encoding: expected one of rgb8"):
        image_decoder("cam_high", Camera(topic="t", encoding="32FC1"))


def test_a_missing_opencv_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ImportError

    monkeypatch.setattr("adamoe_ros.streams.encodings.opencv", missing)
    with pytest.raises(ContractError, match="no cv2 module; pip install"):
        decode_image(image("bayer_rggb8", NEAR["bayer_rggb8"], width=W), "cam")


# --- compressed ----------------------------------------------------------------------------------


def compressed(suffix: str, text: str | None = None) -> SimpleNamespace:
    smooth = np.tile(FLAT, (8, 8, 1))
    ok, data = cv2.imencode(suffix, smooth[:, :, ::-1])
    assert ok
    text = text or f"rgb8; {suffix[1:]} compressed bgr8"
    return SimpleNamespace(header=header(1), format=text, data=data.tobytes())


CAMERA = Camera(topic="/c", type="compressed", width=64, height=48)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("text", [None, "jpeg", "png", ""])
def test_compressed_images_come_as_rgb(suffix: str, text: str | None) -> None:
    decoded = image_decoder("cam_high", CAMERA)(compressed(suffix, text))
    assert decoded.shape == (48, 64, 3)
    assert np.abs(decoded.astype(int) - FLAT[0, 0]).max() <= (0 if suffix == ".png" else 3)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("keep", [0, 2, 100, -5])
def test_truncated_compressed_images_are_refused(suffix: str, keep: int) -> None:
    message = compressed(suffix)
    message.data = message.data[:keep]
    with pytest.raises(ContractError, match=r"cameras\.cam_high \(/c\): expected"):
        image_decoder("cam_high", CAMERA)(message)


@pytest.mark.parametrize("text", ["16UC1; compressedDepth png", "32FC1; compressedDepth", "16UC1"])
def test_compressed_depth_is_refused(text: str) -> None:
    with pytest.raises(ContractError, match="a colour image"):
        image_decoder("cam_high", CAMERA)(compressed(".png", text))


def test_broken_compressed_data_is_refused() -> None:
    message = compressed(".jpg")
    message.data = message.data[:2] + bytes(len(message.data) - 4) + message.data[-2:]
    with pytest.raises(ContractError, match="undecodable"):
        image_decoder("cam_high", CAMERA)(message)


TAILS = {
    "nothing": b"",
    "zeros": bytes(4096),
    "bytes of an older picture": b"\x12\xff\x00\x34" * 999 + b"\xff\xd9",
    "a whole picture": compressed(".jpg").data,
    "ones": b"\xff" * 70_000,
}


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff"])
@pytest.mark.parametrize("tail", TAILS)
def test_bytes_behind_a_picture_do_not_matter(suffix: str, tail: str) -> None:
    message = compressed(suffix)
    good = image_decoder("cam_high", CAMERA)(message)
    message.data += TAILS[tail]
    image_reader("cam_high", CAMERA)(message)
    np.testing.assert_array_equal(image_decoder("cam_high", CAMERA)(message), good)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff"])
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.95])
def test_a_cut_picture_is_told(suffix: str, keep: float) -> None:
    message = compressed(suffix)
    message.data = message.data[: int(len(message.data) * keep)]
    for function in (image_reader, image_decoder):
        with pytest.raises(ContractError, match="expected a whole image"):
            function("cam_high", CAMERA)(message)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("tail", ["zeros", "a whole picture"])
def test_a_cut_picture_is_told_whatever_follows(suffix: str, keep: float, tail: str) -> None:
    message = compressed(suffix)
    message.data = message.data[: int(len(message.data) * keep)] + TAILS[tail]
    with pytest.raises(ContractError, match="expected a whole image"):
        image_decoder("cam_high", CAMERA)(message)


def test_a_preview_inside_is_not_the_end_of_a_cut_picture() -> None:
    message = compressed(".jpg")
    preview = compressed(".jpg").data
    exif = b"\xff\xe1" + (2 + len(preview)).to_bytes(2, "big") + preview
    whole = message.data[:2] + exif + message.data[2:]
    message.data = whole + bytes(9)
    image_reader("cam_high", CAMERA)(message)
    message.data = whole[: len(exif) + 200]
    with pytest.raises(ContractError, match="expected a whole image"):
        image_reader("cam_high", CAMERA)(message)


def test_grey_pictures_of_sixteen_bits_are_depth_unless_the_driver_says_mono16() -> None:
    grey = np.full((48, 64), 117 << 8, np.uint16)
    data = cv2.imencode(".png", grey)[1].tobytes()
    message = SimpleNamespace(header=header(1), format="png", data=data)
    with pytest.raises(ContractError, match="a depth map"):
        image_reader("cam_high", CAMERA)(message)
    message.format = "mono16; png compressed "
    assert np.abs(image_decoder("cam_high", CAMERA)(message).astype(int) - 117).max() <= 1


# --- checked now, decoded later ------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff"])
def test_a_picture_is_checked_once_and_its_message_let_go(suffix: str) -> None:
    message = compressed(suffix)
    good = image_decoder("cam_high", CAMERA)(message)
    picture = image_reader("cam_high", CAMERA)(message)
    message.data, message.format = b"", "none"
    np.testing.assert_array_equal(picture(), good)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_the_check_knows_the_size_of_compressed_data(suffix: str) -> None:
    message = compressed(suffix)
    assert picture_size(message.data) == (64, 48)
    image_reader("cam_high", CAMERA)(message)
    other = Camera(topic="/c", type="compressed", width=640, height=480)
    with pytest.raises(ContractError, match="expected 640 x 480 pixels, got 64 x 48"):
        image_reader("cam_high", other)(message)


def test_the_check_knows_progressive_jpeg_and_restarts() -> None:
    ok, data = cv2.imencode(
        ".jpg",
        np.zeros((48, 64, 3), np.uint8),
        [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 2],
    )
    assert ok
    assert picture_size(data.tobytes()) == (64, 48)


@pytest.mark.parametrize(
    "message",
    [
        image("rgb8", RGB, width=W),
        image("bgr8", RGB, width=W),
        image("rgb8", RGB[:3], width=W),
        image("rgb8", RGB, width=W, height=100),
        image("16UC1", RGB, width=W),
    ],
)
def test_check_and_decoder_say_the_same_of_raw_images(message: SimpleNamespace) -> None:
    camera = Camera(topic="t", width=W, height=H)
    said = []
    for function in (image_reader("c", camera), image_decoder("c", camera)):
        try:
            function(message)
        except ContractError as error:
            said.append(error.problems)
        else:
            said.append(())
    assert said[0] == said[1]


@pytest.mark.parametrize("keep", [0, 2, 10, 23])
def test_the_size_of_cut_data_is_unknown(keep: int) -> None:
    assert picture_size(compressed(".png").data[:keep]) == (0, 0)
    assert picture_size(compressed(".jpg").data[:keep]) == (0, 0)
