"""Convolutions as matrix products.

XLA's CPU compiler has a quick convolution, but not inside loops: in a `lax.scan`, where all of
training happens, its gradient takes 7 to 14 times as long as the products that it consists of
(`benchmarks/convolutions.py`). On other devices the library's own convolution is used.
"""

from __future__ import annotations

import haiku as hk
import jax
import jax.numpy as jnp

# A product of a matrix with fewer columns than this is worth copying pixels together for.
_WIDE = 32


class Conv2D(hk.Conv2D):
    """`hk.Conv2D` of pictures [B, H, W, C], with its parameters, by `convolve`."""

    def __init__(self, channels: int, kernel: int, stride: int, padding: str):
        """As many output channels; square kernels; "SAME" or "VALID" padding."""
        super().__init__(channels, kernel, stride, padding=padding, name="conv2_d")
        self._padding = padding

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Pictures [B, H', W', channels]."""
        if jax.default_backend() != "cpu":
            return super().__call__(inputs)
        shape = (*self.kernel_shape, inputs.shape[-1], self.output_channels)
        fan_in = shape[0] * shape[1] * shape[2]
        truncated = hk.initializers.TruncatedNormal(fan_in**-0.5)
        kernel = hk.get_parameter("w", shape, inputs.dtype, truncated)
        bias = hk.get_parameter("b", shape[3:], inputs.dtype, jnp.zeros)
        return convolve(inputs, kernel, self.stride[0], self._padding) + bias


def convolve(inputs: jax.Array, kernel: jax.Array, stride: int, padding: str) -> jax.Array:
    """The convolution of pictures [B, H, W, C] with a kernel [h, w, C, D].

    It is a sum over the places in the kernel: of the pixels that are seen there, times the weights
    at this place.

    Args:
      inputs: pictures.
      kernel: weights.
      stride: in both directions.
      padding: "SAME" or "VALID".

    Returns:
      Pictures [B, H', W', D], those of `lax.conv_general_dilated`.
    """
    pads = jax.lax.padtype_to_pads(inputs.shape[1:3], kernel.shape[:2], (stride, stride), padding)
    inputs = jnp.pad(inputs, ((0, 0), *pads, (0, 0)))
    size = [(n - k) // stride + 1 for n, k in zip(inputs.shape[1:3], kernel.shape, strict=False)]
    if all(k % stride == 0 for k in kernel.shape[:2]):
        inputs, kernel = _in_blocks(inputs, kernel, stride, size)
        stride = 1
    height, width, channels, out = kernel.shape

    def seen(axis, start):
        return slice(start, start + (size[axis] - 1) * stride + 1, stride)

    columns = [inputs[:, :, seen(1, j)] for j in range(width)]
    if channels < _WIDE:
        columns = [jnp.concatenate(columns, -1)]
    weights = kernel.reshape(height, len(columns), -1, out)
    rows = len(inputs) * size[0] * size[1]
    total = jnp.zeros((rows, out), inputs.dtype)
    for i in range(height):
        for j, column in enumerate(columns):
            total += column[:, seen(0, i)].reshape(rows, -1) @ weights[i, j]
    return total.reshape(-1, *size, out)


def _in_blocks(
    inputs: jax.Array, kernel: jax.Array, stride: int, size: list[int]
) -> tuple[jax.Array, jax.Array]:
    """Pictures and a kernel whose pixels are blocks, stride x stride, of what they were."""

    def blocks(x, rows, columns):
        x = x[:, : rows * stride, : columns * stride]
        x = x.reshape(len(x), rows, stride, columns, stride, -1)
        return jnp.swapaxes(x, 2, 3).reshape(len(x), rows, columns, -1)

    places = kernel.shape[0] // stride, kernel.shape[1] // stride
    pictures = blocks(inputs, *(n + k - 1 for n, k in zip(size, places, strict=True)))
    # Weights have the order of pixels; their output channels stand where the batch does.
    weights = blocks(jnp.moveaxis(kernel, -1, 0), *places)
    return pictures, jnp.moveaxis(weights, 0, -1)
