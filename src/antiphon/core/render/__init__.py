"""From an answer's text to what a room is shown: cleaned, split into parts, as HTML. Pure."""

from antiphon.core.render.markdown import to_html
from antiphon.core.render.measure import EVENT_TEXT_BYTES, fits, json_bytes
from antiphon.core.render.split import PartSplitter, split
from antiphon.core.render.text import clean

__all__ = ["EVENT_TEXT_BYTES", "PartSplitter", "clean", "fits", "json_bytes", "split", "to_html"]
