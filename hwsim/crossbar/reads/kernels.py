"""An array as a kernel bank: every position of a window over an image is one vector to it, as in hardware."""

from __future__ import annotations

from torch import Tensor

from hwsim.crossbar.reads.window import ImageSynapse, Window, as_images, as_rows
from hwsim.crossbar.synapse import Synapse


class PatchKernels:
    """Any synapse as a kernel bank, patch by patch."""

    def __init__(self, synapse: Synapse, window: Window) -> None:
        self.synapse = synapse
        self.window = window

    def read(self, images: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, out, *positions)."""
        rows = self.synapse.read(self.window.patches(images))
        return as_images(rows, self.window.size(*images.shape[2:]))

    def read_transpose(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, out, *positions) -> (B, channels, *size), the adjoint of ``read``."""
        return self.window.fold(self.synapse.read_transpose(as_rows(images)), size)

    def update(self, pre: Tensor, post: Tensor, rate: float) -> None:
        """W += rate * sum over images and positions of post^T patch."""
        self.synapse.update(self.window.patches(pre), as_rows(post), rate)


class ImageKernels:
    """A synapse that takes whole images as a kernel bank: the same operations without cutting patches."""

    def __init__(self, synapse: ImageSynapse, window: Window) -> None:
        self.synapse = synapse
        self.window = window

    def read(self, images: Tensor) -> Tensor:
        return self.synapse.read_images(images, self.window)

    def read_transpose(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        return self.synapse.read_images_transpose(images, self.window, size)

    def update(self, pre: Tensor, post: Tensor, rate: float) -> None:
        self.synapse.update_images(pre, post, rate, self.window)


def kernels(synapse: Synapse, window: Window) -> PatchKernels | ImageKernels:
    """The array as a kernel bank, by the fastest way that it offers."""
    return ImageKernels(synapse, window) if isinstance(synapse, ImageSynapse) else PatchKernels(synapse, window)
