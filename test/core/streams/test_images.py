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
from adamoe_ros.streams.encodings import ENCODINGS
from adamoe_ros.streams.images import decode_image, image_checker, image_decoder

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
    "mono8": (GREY, np.stack([GREY] * 3, axis=2)),
    "8UC1": (GREY, np.stack([GREY] * 3, axis=2)),
}
NEAR = {
    "yuv422": packed("uyvy"),
    "uyvy": packed("uyvy"),
    "yuv422_yuy2": packed("yuyv"),
    "yuyv": packed("yuyv"),
    "bayer_rggb8": mosaic("rg", "gb"),
    "bayer_bggr8": mosaic("bg", "gr"),
    "bayer_gbrg8": mosaic("gb", "rg"),
    "bayer_grbg8": mosaic("gr", "bg"),
}


def test_every_encoding_of_the_table_is_tested() -> None:
    assert set(EXACT) | set(NEAR) == set(ENCODINGS)


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


def test_sixteen_bits_honour_the_byte_order() -> None:
    for big in (False, True):
        message = image("rgb16", sixteen(RGB, big), width=W, big_endian=big)
        np.testing.assert_array_equal(decode_image(message, "cam"), RGB)


@pytest.mark.parametrize("padding", [0, 5])
def test_rgb8_is_a_view(padding: int) -> None:
    message = image("rgb8", RGB, padding, width=W)
    data = np.frombuffer(message.data, np.uint8)
    assert np.shares_memory(decode_image(message, "cam"), data)


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1", "8UC3", "mono16", ""])
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


def narrow_step(message: SimpleNamespace) -> None:
    message.step = W


def no_pixels(message: SimpleNamespace) -> None:
    message.height = 0


@pytest.mark.parametrize("change", [cut(1), cut(H * W * 3), narrow_step, no_pixels])
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
    with pytest.raises(ContractError, match="install python3-opencv"):
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


# --- checked now, decoded later ------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_the_check_knows_the_size_of_compressed_data(suffix: str) -> None:
    message = compressed(suffix)
    assert picture_size(message.data) == (64, 48)
    image_checker("cam_high", CAMERA)(message)
    other = Camera(topic="/c", type="compressed", width=640, height=480)
    with pytest.raises(ContractError, match="expected 640 x 480 pixels, got 64 x 48"):
        image_checker("cam_high", other)(message)


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
    for function in (image_checker("c", camera), image_decoder("c", camera)):
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
