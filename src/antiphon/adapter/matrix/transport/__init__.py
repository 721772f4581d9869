"""Our own small typed Matrix client over aiohttp: the one place that speaks to a homeserver."""
