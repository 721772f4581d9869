"""The one seam through which a surface reaches the platform."""
