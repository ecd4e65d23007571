"""Data sets: splits that keep their promises, readers that refuse what does not fit, downloads whole or not at all."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import math
import socket
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hwsim.data import download
from hwsim.data import sources as datasources
from hwsim.data.dataset import Dataset, augment, load, load_corrupted, stratified
from hwsim.errors import InputError, WorkError

CIFAR10_FILES = [*(f"data_batch_{part}.bin" for part in range(1, 6)), "test_batch.bin"]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cifar_records(count: int, classes: int, label_bytes: int, seed: int) -> bytes:
    """Records whose labels take turns; the coarse label of CIFAR-100 is a fifth of the fine one."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 3072), np.uint8)
    fine = (np.arange(count) % classes).astype(np.uint8)[:, None]
    labels = fine if label_bytes == 1 else np.concatenate([fine // 5, fine], axis=1)
    return np.concatenate([labels, pixels], axis=1).tobytes()


def write_cifar10(root: Path, train: int = 20, test: int = 10) -> Path:
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for seed, name in enumerate(CIFAR10_FILES):
        (folder / name).write_bytes(cifar_records(test if name.startswith("test") else train, 10, 1, seed))
    (folder / "batches.meta.txt").write_text("\n".join(f"class{label}" for label in range(10)) + "\n\n")
    return folder


def write_cifar100(root: Path) -> Path:
    folder = root / "cifar-100-binary"
    folder.mkdir(parents=True)
    (folder / "train.bin").write_bytes(cifar_records(300, 100, 2, 0))
    (folder / "test.bin").write_bytes(cifar_records(100, 100, 2, 1))
    (folder / "fine_label_names.txt").write_text("\n".join(f"fine{label}" for label in range(100)))
    (folder / "coarse_label_names.txt").write_text("\n".join(f"coarse{label}" for label in range(20)))
    return folder


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


def write_mnist(root: Path, name: str = "mnist", zipped: bool = False) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, count in (("train", 40), ("t10k", 20)):
        files = {
            f"{part}-images-idx3-ubyte": idx(rng.integers(0, 256, (count, 6, 5))),
            f"{part}-labels-idx1-ubyte": idx(np.arange(count) % 10),
        }
        for file, content in files.items():
            path = folder / (f"{file}.gz" if zipped else file)
            path.write_bytes(gzip.compress(content) if zipped else content)
    return folder


def write_images(folder: Path, count: int, size: tuple[int, int] = (7, 9), mode: str = "RGB", seed: int = 0) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in range(count):
        width, height = size
        pixels = rng.integers(0, 256, (height, width, 3) if mode == "RGB" else (height, width), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def assert_sound(data: Dataset) -> None:
    for x, y in data.splits.values():
        assert x.dtype == torch.float32
        assert y.dtype == torch.int64
        assert x.shape == (len(y), *data.shape)
        if len(y):
            assert x.min() >= 0
            assert x.max() <= 1
            assert y.min() >= 0
            assert y.max() < len(data.classes)


def rows(x: torch.Tensor) -> set[bytes]:
    return {row.numpy().tobytes() for row in x}


# Splits


def test_digits_have_the_split_of_the_published_figures() -> None:
    data = load("digits")
    assert_sound(data)
    assert data.shape == (1, 8, 8)
    assert len(data.train) + len(data.validation) == 1437
    assert len(data.validation) == 287
    assert len(data.test) == 360
    assert torch.equal(data.train.x * 16, (data.train.x * 16).round())  # 17 grey levels, exactly
    for labels in (data.train.y, data.validation.y, data.test.y):
        share = labels.bincount(minlength=10) / len(labels)
        assert (share - 0.1).abs().max() < 0.01


def test_the_test_images_depend_on_the_split_seed_alone() -> None:
    reference = load("digits")
    again = load("digits", validation=0.5)
    other = load("digits", split_seed=1)
    assert torch.equal(reference.test.x, again.test.x)
    assert not torch.equal(reference.test.x, other.test.x)
    assert rows(reference.merged().train.x) == rows(load("digits", validation=0).train.x)


def test_a_split_unpacks_as_a_pair_and_is_cut_by_slices_and_indices() -> None:
    split = load("digits").test
    x, y = split
    assert (len(split), len(x), len(y)) == (360, 360, 360)
    assert torch.equal(split[10:13].x, x[10:13])
    few = split[torch.tensor([5, 2])]
    assert torch.equal(few.x, x[[5, 2]])
    assert few.y.tolist() == [int(y[5]), int(y[2])]


def test_no_image_is_in_two_parts(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    for data in (load("cifar10", tmp_path), load("cifar10", tmp_path, validation=0.3)):
        train, validation, test = rows(data.train.x), rows(data.validation.x), rows(data.test.x)
        assert len(train) + len(validation) + len(test) == 110
        assert not train & validation
        assert not (train | validation) & test


def test_merged_keeps_images_with_their_labels() -> None:
    data = load("digits")
    merged = data.merged()
    assert len(merged.train) == 1437
    assert len(merged.validation) == 0
    assert_sound(merged)
    pairs = {row.numpy().tobytes(): int(label) for row, label in zip(data.validation.x, data.validation.y, strict=True)}
    found = [
        (pairs[key], int(label))
        for row, label in zip(merged.train.x, merged.train.y, strict=True)
        if (key := row.numpy().tobytes()) in pairs
    ]
    assert len(found) == 287
    assert all(held == given for held, given in found)


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32),
)
def test_stratified_splits_every_class_as_evenly_as_whole_numbers_allow(
    sizes: list[int], share: float, seed: int
) -> None:
    labels = torch.repeat_interleave(torch.arange(len(sizes)) * 3, torch.tensor(sizes))
    labels = labels[torch.randperm(len(labels), generator=generator(seed))]
    count = round(share * len(labels))
    rest, drawn = stratified(labels, count, generator(seed))
    assert len(drawn) == count
    assert torch.equal(torch.cat([rest, drawn]).sort().values, torch.arange(len(labels)))
    for name, size in enumerate(sizes):
        exact = size * count / len(labels)
        got = int((labels[drawn] == name * 3).sum())
        assert math.floor(exact - 1e-9) <= got <= math.ceil(exact + 1e-9)
    again = stratified(labels, count, generator(seed))
    assert torch.equal(drawn, again[1])


def test_the_seed_decides_which_examples_are_drawn() -> None:
    labels = torch.zeros(100, dtype=torch.int64)
    assert not torch.equal(stratified(labels, 50, generator(0))[1], stratified(labels, 50, generator(1))[1])


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_validation_share_outside_its_range_is_refused(share: float) -> None:
    with pytest.raises(InputError, match=r"validation share is .*expected a number in \[0, 1\)"):
        load("digits", validation=share)


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(InputError, match=r"'cifar-10': is neither a data set nor a folder \(did you mean cifar10\?\)"):
        load("cifar-10")


# CIFAR


def test_cifar10_is_read_plane_by_plane(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path)
    data = load("cifar10", tmp_path, validation=0)
    assert_sound(data)
    assert data.shape == (3, 32, 32)
    assert data.classes[3] == "class3"
    assert data.source == str(folder)
    assert len(data.train) == 100
    record = (folder / "data_batch_2.bin").read_bytes()[3 * 3073 :]
    assert data.train.y[23] == record[0]
    assert data.train.x[23, 1, 2, 5] * 255 == pytest.approx(record[1 + 1024 + 2 * 32 + 5])  # green plane, row 2


def test_cifar100_has_fine_and_coarse_labels(tmp_path: Path) -> None:
    write_cifar100(tmp_path)
    fine = load("cifar100", tmp_path, validation=0)
    coarse = load("cifar100-coarse", tmp_path, validation=0)
    assert_sound(fine)
    assert len(fine.classes) == 100
    assert len(coarse.classes) == 20
    assert coarse.classes[1] == "coarse1"
    assert torch.equal(fine.train.y // 5, coarse.train.y)
    assert torch.equal(fine.test.x, coarse.test.x)


def test_roots_are_looked_in_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("given", "variable", "cache/hwsim/data"):
        write_cifar10(tmp_path / name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert str(tmp_path / "cache") in load("cifar10").source
    monkeypatch.setenv("HWSIM_DATA", str(tmp_path / "variable"))
    assert str(tmp_path / "variable") in load("cifar10").source
    assert str(tmp_path / "given") in load("cifar10", tmp_path / "given").source
    monkeypatch.setenv("HWSIM_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"\$HWSIM_DATA: .*nowhere is not a folder"):
        load("cifar10")
    with pytest.raises(InputError, match=r"--data-dir: .*nowhere is not a folder"):
        load("cifar10", tmp_path / "nowhere")


def truncate(folder: Path) -> str:
    path = folder / "data_batch_3.bin"
    path.write_bytes(path.read_bytes()[:-100])
    return r"data_batch_3.bin: 61,360 bytes are not a whole number of 3,073-byte records"


def empty(folder: Path) -> str:
    (folder / "test_batch.bin").write_bytes(b"")
    return r"test_batch.bin: 0 bytes are not a whole number"


def wrong_label(folder: Path) -> str:
    path = folder / "data_batch_1.bin"
    raw = bytearray(path.read_bytes())
    raw[5 * 3073] = 10
    path.write_bytes(raw)
    return r"data_batch_1.bin: record 5 has label 10, but there are 10 classes"


def missing_file(folder: Path) -> str:
    (folder / "data_batch_4.bin").unlink()
    return r"cifar-10-batches-bin: lacks data_batch_4.bin; complete the folder"


def wrong_names(folder: Path) -> str:
    (folder / "batches.meta.txt").write_text("one\ntwo\n")
    return r"batches.meta.txt: 2 class names; expected 10"


@pytest.mark.parametrize("damage", [truncate, empty, wrong_label, missing_file, wrong_names])
def test_damaged_cifar_is_refused_with_the_file_and_the_reason(tmp_path: Path, damage: Callable[[Path], str]) -> None:
    folder = write_cifar10(tmp_path)
    load("cifar10", tmp_path)
    message = damage(folder)
    with pytest.raises(InputError, match=message):
        load("cifar10", tmp_path)


# Downloads, from a server on the loopback


def packed_cifar10(tmp_path: Path) -> bytes:
    source = tmp_path / "source"
    write_cifar10(source)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(source / "cifar-10-batches-bin", "cifar-10-batches-bin")
        stray = tarfile.TarInfo("../../escaped.bin")
        stray.size = 4
        tar.addfile(stray, io.BytesIO(b"evil"))
        link = tarfile.TarInfo("cifar-10-batches-bin/readme.html")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    return buffer.getvalue()


@pytest.fixture
def server() -> Iterator[tuple[str, dict[str, bytes]]]:
    """An address and the pages it serves; a page that starts with b'TORN' announces more bytes than it sends."""
    pages: dict[str, bytes] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(self.path)
            self.send_response(404 if page is None else 200)
            content = page or b""
            self.send_header("Content-Length", str(len(content) + 1000 * content.startswith(b"TORN")))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            del args

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{listening.server_port}", pages
    listening.shutdown()
    thread.join()
    listening.server_close()


def point_at(monkeypatch: pytest.MonkeyPatch, address: str, content: bytes = b"") -> None:
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    layout = datasources._CIFARS["cifar10"]
    archive = replace(layout.archive, address=address, md5=md5)
    monkeypatch.setitem(datasources._CIFARS, "cifar10", replace(layout, archive=archive))


def test_an_absent_cifar_is_downloaded_checked_and_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: tuple[str, dict[str, bytes]]
) -> None:
    address, pages = server
    pages["/cifar.tar.gz"] = packed_cifar10(tmp_path)
    point_at(monkeypatch, f"{address}/cifar.tar.gz", pages["/cifar.tar.gz"])
    root = tmp_path / "root"
    root.mkdir()
    calls: list[tuple[int, int | None]] = []
    data = load("cifar10", root, progress=lambda done, total: calls.append((done, total)))
    assert len(data.train) == 90
    assert calls[-1] == (len(pages["/cifar.tar.gz"]),) * 2
    assert [path.name for path in root.iterdir()] == ["cifar-10-batches-bin"]
    assert sorted(path.name for path in (root / "cifar-10-batches-bin").iterdir()) == sorted(
        [*CIFAR10_FILES, "batches.meta.txt"]
    )
    assert not list(tmp_path.rglob("escaped.bin"))
    pages.clear()
    load("cifar10", root)  # and is not fetched again


@pytest.mark.parametrize(
    ("content", "announced", "message"),
    [
        (b"something else", b"the archive", "checksum .* expected .*nothing was kept, try again"),
        (b"TORN", b"TORN" + b"x" * 1000, "broke off|checksum"),
        (b"no archive", b"no archive", r"is not a whole \.tar\.gz archive"),
    ],
)
def test_a_bad_download_leaves_nothing_behind(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: tuple[str, dict[str, bytes]],
    content: bytes,
    announced: bytes,
    message: str,
) -> None:
    address, pages = server
    pages["/cifar.tar.gz"] = content
    point_at(monkeypatch, f"{address}/cifar.tar.gz", announced)
    with pytest.raises(WorkError, match=message):
        load("cifar10", tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_archive_without_the_files_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: tuple[str, dict[str, bytes]]
) -> None:
    address, pages = server
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz"):
        pass
    pages["/cifar.tar.gz"] = buffer.getvalue()
    point_at(monkeypatch, f"{address}/cifar.tar.gz", buffer.getvalue())
    with pytest.raises(WorkError, match=r"the archive lacks batches\.meta\.txt, data_batch_1\.bin"):
        load("cifar10", tmp_path)
    assert not list(tmp_path.iterdir())


def test_without_a_network_the_sentence_says_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: refuses at once
        point_at(monkeypatch, f"http://127.0.0.1:{unused.getsockname()[1]}/cifar.tar.gz")
        start = time.monotonic()
        with pytest.raises(InputError) as raised:
            load("cifar10", tmp_path)
    assert time.monotonic() - start < 5
    for part in ("not found in", "cannot be reached", "unpack http://", "test_batch.bin exists", "--data-dir"):
        assert part in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_a_silent_server_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        point_at(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}/cifar.tar.gz")
        start = time.monotonic()
        with pytest.raises(InputError, match=r"cannot be reached \(.*timed out"):
            load("cifar10", tmp_path)
    assert time.monotonic() - start < 5


def test_a_refusal_of_the_server_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: tuple[str, dict[str, bytes]]
) -> None:
    point_at(monkeypatch, f"{server[0]}/gone.tar.gz")
    with pytest.raises(InputError, match=r"cannot be reached \(Not Found\)"):
        load("cifar10", tmp_path)


def test_downloading_can_be_forbidden(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="downloading was not allowed; unpack https://"):
        load("cifar100", tmp_path, download=False)


def test_the_published_addresses_and_checksums() -> None:
    archives = {name: layout.archive for name, layout in datasources._CIFARS.items()}
    assert archives["cifar10"].md5 == "c32a1d4ab5d03f1284b67883e8d87530"
    assert archives["cifar100"].md5 == "03b5dce01913d631647c71ecec9e9cb8"
    assert archives["cifar100"] == archives["cifar100-coarse"]
    assert all(archive.address.startswith("https://www.cs.toronto.edu/~kriz/") for archive in archives.values())


# MNIST's layout


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_idx_plain_and_zipped(tmp_path: Path, name: str, zipped: bool) -> None:
    write_mnist(tmp_path, name, zipped)
    data = load(name, tmp_path, validation=0)
    assert_sound(data)
    assert data.shape == (1, 6, 5)
    assert data.train.y.tolist() == [label % 10 for label in range(40)]
    assert data.train.x[0, 0, 1, 2] * 255 == pytest.approx(
        np.random.default_rng(0).integers(0, 256, (40, 6, 5))[0, 1, 2]
    )


def test_the_layout_of_debian_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasources, "_DEBIAN_DATASETS", tmp_path)
    folder = write_mnist(tmp_path, "fashion-mnist", zipped=True)
    assert load("fashion-mnist").source == str(folder)


def test_absent_fashion_mnist_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasources, "_DEBIAN_DATASETS", tmp_path)
    with pytest.raises(
        InputError, match=r"put train-images-idx3-ubyte.* or install the Debian package dataset-fashion"
    ):
        load("fashion-mnist")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (
            "train-images-idx3-ubyte",
            idx(np.zeros((40, 6, 5)))[:-1],
            "header announces 40 x 6 x 5; the file is truncated",
        ),
        ("train-images-idx3-ubyte", b"\x1f\x8b\x08", r"starts with 1f 8b 08; .* starts with 00 00 08 03"),
        ("train-images-idx3-ubyte", b"", "starts with nothing"),
        ("t10k-labels-idx1-ubyte", idx(np.arange(19) % 10), "19 labels for the 20 images of t10k-images-idx3-ubyte"),
        ("t10k-labels-idx1-ubyte", idx(np.full(20, 10)), "record 0 has label 10, but there are 10 classes"),
    ],
)
def test_damaged_idx_is_refused(tmp_path: Path, file: str, content: bytes, message: str) -> None:
    folder = write_mnist(tmp_path)
    (folder / file).write_bytes(content)
    with pytest.raises(InputError, match=message) as raised:
        load("mnist", tmp_path)
    assert str(folder / file) in str(raised.value)


def test_a_torn_gzip_file_is_refused(tmp_path: Path) -> None:
    path = write_mnist(tmp_path, zipped=True) / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="is not a whole gzip file"):
        load("mnist", tmp_path)


# Folders of images


def test_folders_of_class_folders(tmp_path: Path) -> None:
    for seed, name in enumerate(("cat", "ant", "bee")):
        write_images(tmp_path / name, 10, seed=seed)
    (tmp_path / ".hidden").mkdir()
    data = load(str(tmp_path))
    assert_sound(data)
    assert data.classes == ("ant", "bee", "cat")
    assert data.shape == (3, 9, 7)
    assert len(data.test) == 6
    assert data.test.y.bincount().tolist() == [2, 2, 2]
    assert len(data.train) + len(data.validation) == 24
    first = np.asarray(Image.open(tmp_path / "ant" / "0.png")).transpose(2, 0, 1).astype(np.float32) / 255
    everything = rows(data.train.x) | rows(data.validation.x) | rows(data.test.x)
    assert np.ascontiguousarray(first).tobytes() in everything


def test_folders_with_parts_of_their_own(tmp_path: Path) -> None:
    for part, count in (("train", 10), ("test", 4)):
        for seed, name in enumerate(("a", "b")):
            write_images(tmp_path / part / name, count, mode="L", seed=seed + count)
    data = load(str(tmp_path))
    assert data.shape == (1, 9, 7)
    assert data.test.y.tolist() == [0] * 4 + [1] * 4
    assert len(data.validation) == 2


def test_grey_images_among_coloured_ones_become_coloured(tmp_path: Path) -> None:
    write_images(tmp_path / "grey", 5, mode="L")
    write_images(tmp_path / "colour", 5)
    data = load(str(tmp_path), validation=0)
    assert data.shape == (3, 9, 7)
    grey = data.train.x[data.train.y == 1]
    assert torch.equal(grey[:, 0], grey[:, 2])


def test_images_of_several_sizes_need_a_size(tmp_path: Path) -> None:
    write_images(tmp_path / "a", 5, (8, 8))
    write_images(tmp_path / "b", 5, (8, 10))
    with pytest.raises(InputError, match=r"is 8 x 10 pixels, but .* is 8 x 8; .* `size`"):
        load(str(tmp_path))
    assert load(str(tmp_path), size=6).shape == (3, 6, 6)


def no_image(folder: Path) -> str:
    for path in (folder / "b").iterdir():
        path.unlink()
    return r"b: holds no image; expected \.png"


def no_picture(folder: Path) -> str:
    (folder / "b" / "1.png").write_text("hello")
    return r"1\.png: cannot be read as an image"


def torn_picture(folder: Path) -> str:
    path = folder / "b" / "1.png"
    path.write_bytes(path.read_bytes()[:60])
    return r"1\.png: cannot be read as an image"


def one_part(folder: Path) -> str:
    (folder / "train").mkdir()
    return "holds only one of the folders train and test"


def one_class(folder: Path) -> str:
    (folder / "b").rename(folder.with_name("moved"))
    return "holds 1 class folders; expected one for each of at least 2 classes"


def other_classes(folder: Path) -> str:
    for part, names in (("train", "xy"), ("test", "xz")):
        for name in names:
            write_images(folder / part / name, 2)
    return "train holds the classes x, y, test holds x, z"


def other_shape(folder: Path) -> str:
    for part, size in (("train", (5, 5)), ("test", (6, 5))):
        for name in "xy":
            write_images(folder / part / name, 2, size)
    return r"test images are \(3, 5, 6\) and training images \(3, 5, 5\)"


@pytest.mark.parametrize(
    "damage", [no_image, no_picture, torn_picture, one_part, one_class, other_classes, other_shape]
)
def test_damaged_folders_are_refused(tmp_path: Path, damage: Callable[[Path], str]) -> None:
    folder = tmp_path / "images"
    for name in "ab":
        write_images(folder / name, 5)
    load(str(folder))
    message = damage(folder)
    with pytest.raises(InputError, match=message):
        load(str(folder))


def test_only_folders_can_be_resized(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="size is 4; only folders"):
        load("digits", size=4)
    with pytest.raises(InputError, match="size is 0; only folders of images can be resized, to at least 1 pixel"):
        load(str(tmp_path), size=0)


# Corruption files


def write_corrupted(folder: Path, count: int = 4) -> np.ndarray:
    images = np.random.default_rng(0).integers(0, 256, (5 * count, 32, 32, 3), np.uint8)
    np.save(folder / "fog.npy", images)
    np.save(folder / "labels.npy", np.tile(np.arange(count), 5))
    return images


def test_corrupted_images_of_one_severity(tmp_path: Path) -> None:
    images = write_corrupted(tmp_path)
    x, y = load_corrupted(tmp_path, "fog", 3)
    assert x.shape == (4, 3, 32, 32)
    assert x.dtype == torch.float32
    assert y.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal((x * 255).round().numpy(), images[8:12].transpose(0, 3, 1, 2))
    few, labels = load_corrupted(tmp_path, "fog", 3, count=2)
    assert torch.equal(few, x[:2])
    assert labels.tolist() == [0, 1]


def test_corruption_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    write_corrupted(tmp_path)
    for severity in (0, 6):
        with pytest.raises(InputError, match=f"severity is {severity}; expected a whole number from 1 to 5"):
            load_corrupted(tmp_path, "fog", severity)
    with pytest.raises(InputError, match=r"frog\.npy: no such file; .* holds fog"):
        load_corrupted(tmp_path, "frog", 1)
    with pytest.raises(InputError, match=r"5 images were asked for; each severity has 1 to 4"):
        load_corrupted(tmp_path, "fog", 1, count=5)
    with pytest.raises(InputError, match="record 2 has label 2, but there are 2 classes"):
        load_corrupted(tmp_path, "fog", 1, classes=2)


@pytest.mark.parametrize(
    ("file", "array", "message"),
    [
        ("fog", np.zeros((20, 32, 32, 3), np.float32), "holds float32 numbers of shape"),
        ("fog", np.zeros((21, 32, 32, 3), np.uint8), r"expected uint8 of shape \(5 N, 32, 32, 3\)"),
        ("fog", np.zeros((20, 3, 32, 32), np.uint8), r"expected uint8 of shape \(5 N, 32, 32, 3\)"),
        ("labels", np.zeros(19, np.int64), "expected 20 integers, one for each image of fog.npy"),
        ("labels", np.zeros(20), "holds float64 numbers"),
        ("labels", np.array([{"code": "runs"}] * 20, dtype=object), r"is not a whole \.npy file of numbers"),
    ],
)
def test_arrays_of_another_kind_are_refused(tmp_path: Path, file: str, array: np.ndarray, message: str) -> None:
    write_corrupted(tmp_path)
    np.save(tmp_path / f"{file}.npy", array)
    with pytest.raises(InputError, match=message):
        load_corrupted(tmp_path, "fog", 1)


def test_truncated_and_absent_arrays_are_refused(tmp_path: Path) -> None:
    write_corrupted(tmp_path)
    path = tmp_path / "fog.npy"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"fog\.npy: is not a whole \.npy file"):
        load_corrupted(tmp_path, "fog", 1)
    write_corrupted(tmp_path)
    (tmp_path / "labels.npy").unlink()
    with pytest.raises(InputError, match=r"labels\.npy: no such file; unpack CIFAR-10-C"):
        load_corrupted(tmp_path, "fog", 1)


# What training draws


def expected_augmentation(x: torch.Tensor, rng: torch.Generator, padding: int) -> torch.Tensor:
    """Image by image, in the order of draws that ``augment`` promises: mirrors first, then shifts."""
    mirrored = torch.rand(len(x), 1, generator=rng) < 0.5
    shifts = torch.randint(0, 2 * padding + 1, (len(x), 2), generator=rng)
    out = []
    for image, flip, (down, right) in zip(x, mirrored, shifts.tolist(), strict=True):
        padded = torch.nn.functional.pad(image, (padding,) * 4)
        crop = padded[:, down : down + x.shape[2], right : right + x.shape[3]]
        out.append(crop.flip(2) if flip else crop)
    return torch.stack(out)


def test_what_comes_in_at_the_border() -> None:
    x = torch.rand(1, 1, 5, 5, generator=generator())
    for seed in range(20):
        zeros, edge, reflect = (
            augment(x, generator(seed), flip=False, crop_padding=2, crop_border=border)[0, 0]
            for border in ("zeros", "edge", "reflect")
        )
        inside = zeros != 0
        assert torch.equal(edge[inside], zeros[inside])
        assert torch.equal(reflect[inside], zeros[inside])
        assert set(edge.flatten().tolist()) == set(zeros[inside].tolist())
        assert set(reflect.flatten().tolist()) <= set(x.flatten().tolist())


def test_augmentation_mirrors_and_shifts_each_image_apart() -> None:
    x = torch.rand(40, 3, 6, 8, generator=generator())
    assert torch.equal(augment(x, generator(1), crop_padding=2), expected_augmentation(x, generator(1), 2))
    assert torch.equal(augment(x, generator(1), flip=False, crop_padding=0), x)
    mirrored = augment(x, generator(1), crop_padding=0)
    kept = (mirrored == x).flatten(1).all(1)
    turned = (mirrored == x.flip(3)).flatten(1).all(1)
    assert (kept | turned).all()
    assert 0 < kept.sum() < 40
    with pytest.raises(ValueError, match="crop_padding >= 0"):
        augment(x, generator(), crop_padding=-1)
