// A box over the image that it was found in.

// x1, y1, x2, y2 are in pixels of the upright image, which may not be loaded yet; `wanted` tells whether it still counts.
export function frame(box, image, [x1, y1, x2, y2], label, wanted) {
  const place = () => {
    const { naturalWidth: wide, naturalHeight: high } = image;
    if (!wide || !wanted()) return;
    const shares = { left: x1 / wide, top: y1 / high, width: (x2 - x1) / wide, height: (y2 - y1) / high };
    for (const [side, share] of Object.entries(shares)) box.style[side] = `${100 * share}%`;
    box.title = `${label ?? "found"}: ${[x1, y1, x2, y2].map(Math.round).join(", ")}`;
    box.hidden = false;
  };
  if (image.complete) place();
  image.addEventListener("load", place, { once: true });
}
