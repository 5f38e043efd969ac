"""For all tests: generated examples are the same in every run, and none fails for being slow."""

from hypothesis import settings

settings.register_profile("headwater", derandomize=True, deadline=None, database=None)
settings.load_profile("headwater")
