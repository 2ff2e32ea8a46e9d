"""Images as an array, a list or a function: one at a time, checked."""

from __future__ import annotations

import numpy as np

from skdict._validation import check_integer, host_array


class ImageSource:
    """Images of shape (n_channels, height, width), read one by one.

    Parameters
    ----------
    images : array-like, shape (n_images, n_channels, height, width), or sequence or callable
        The images. A callable is asked for ``get_image(i)``.
    n_images : int or None, default=None
        Number of images that a callable without a length has.
    name : str, default="images"
        Name of the parameter, for the messages.
    n_dimensions : int, default=3
        Dimensions of one image: 3, or 2 for label images.

    Raises
    ------
    TypeError, ValueError
        If the number of images is unknown, or there is none.
    """

    def __init__(self, images, n_images=None, *, name: str = "images", n_dimensions: int = 3):
        self.name, self.n_dimensions = name, n_dimensions
        if callable(images):
            if n_images is None and not hasattr(images, "__len__"):
                raise TypeError(
                    f"n_images must be the number of images where {name} is a function without a "
                    "length, got None"
                )
            self._read = images
        else:
            images = host_array(images, name=name)
            if not hasattr(images, "__getitem__"):
                raise TypeError(
                    f"{name} must be an array, a sequence of arrays or a function get_image(i), "
                    f"got {type(images).__name__}"
                )
            if n_images is not None and n_images != len(images):
                raise ValueError(
                    f"n_images must be the {len(images)} images that {name} holds, or None, got "
                    f"{n_images!r}"
                )
            self._read = images.__getitem__
        self.n_images = len(images) if n_images is None else n_images
        check_integer("n_images", self.n_images, 0)
        if not self.n_images:
            raise ValueError(f"{name} must hold at least one image, got none")

    @classmethod
    def of_tokens(cls, images, n_images: int) -> ImageSource:
        """The images whose tokens are known, so that a callable needs no length.

        Parameters
        ----------
        images : array-like, sequence or callable
            The images.
        n_images : int
            Number of images that there are tokens of.

        Returns
        -------
        ImageSource
            The images.

        Raises
        ------
        ValueError
            If there is another number of images.
        """
        unknown = callable(images) and not hasattr(images, "__len__")
        source = cls(images, n_images if unknown else None)
        if len(source) != n_images:
            raise ValueError(
                f"images must be those of the tokens: got {len(source)} images for tokens of "
                f"{n_images}"
            )
        return source

    def __len__(self):
        return self.n_images

    def __getitem__(self, i: int) -> np.ndarray:
        """Image `i`, a view where the source gives one."""
        image = np.asarray(host_array(self._read(i), name=self.name))
        if image.ndim != self.n_dimensions or 0 in image.shape:
            axes = ("n_channels", "height", "width")[-self.n_dimensions :]
            raise ValueError(
                f"image {i} of {self.name} must have shape ({', '.join(axes)}) and not be empty, "
                f"got shape {image.shape}"
            )
        if image.dtype.kind not in "fiub":
            raise ValueError(
                f"image {i} of {self.name} must hold real numbers, got dtype {image.dtype}"
            )
        return image
