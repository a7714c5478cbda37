"""Names that files, servers and clients must agree on. Nothing is imported for them."""

# Signatures of a SavedModel for TF Serving.
DEFAULT = "serving_default"  # whom a request means that names none
FLOAT_PIXELS = "float_pixels"
FEATURES = "features"
FAMILIARITY = (
    "familiarity"  # as the default; and behind the name of the signature for encoded records, as `_familiarity`
)
IMAGE_BYTES = "image_bytes"  # encoded images (n,); its tensor has the same name
TEXT = "text"  # likewise
AUDIO_BYTES = "audio_bytes"  # likewise
OBSERVATION_BYTES = "observation_bytes"  # likewise
CLIP_BYTES = "clip_bytes"  # likewise
ENCODED = (IMAGE_BYTES, TEXT, AUDIO_BYTES, CLIP_BYTES, OBSERVATION_BYTES)  # one for each input

TOP = 5  # classes that are named for each record
LOOPBACK = ("127.0.0.1", "::1", "localhost")  # this machine
SHOWN = 8  # numbers of a code in a line


def code_text(code) -> str:
    """The first numbers of a code."""
    more = f" and {len(code) - SHOWN} more" if len(code) > SHOWN else ""
    return f"code {' '.join(f'{value:.2f}' for value in code[:SHOWN])}{more}"
