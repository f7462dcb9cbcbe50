"""Which sizes of fields the network takes.  Imports no torch, so that `mscnn check` stays small."""

SIZE_MULTIPLE = 128  # the coarsest branch sees a field at 1/64, and the combined grid is halved once more


def misfit(height: int, width: int, downscale: int = 1) -> str:
    """Return why a field of these sides in pixels does not fit the network, and the nearest sizes; "" if it fits.

    downscale: sides of the blocks of pixels that the network averages first.
    """
    multiple = SIZE_MULTIPLE * downscale
    if height > 0 and width > 0 and height % multiple == 0 and width % multiple == 0:
        return ""
    below = [max(side // multiple, 1) * multiple for side in (height, width)]
    above = [max(-(-side // multiple), 1) * multiple for side in (height, width)]
    sizes = f"--image-size {below[0]}x{below[1]} (crops) and --image-size {above[0]}x{above[1]} (pads)"
    if below == above:
        sizes = f"--image-size {below[0]}x{below[1]} (crops or pads)"
    return (f"fields of {height}x{width} pixels do not fit: both sides must be multiples of {multiple}"
            f"{f', 128 times --downscale {downscale}' if downscale > 1 else ''}; "
            f"the nearest sizes are {sizes}")
