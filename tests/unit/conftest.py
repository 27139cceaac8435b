from hypothesis import settings

# A busy machine is no reason to fail: the time limit of pytest bounds a test.
settings.register_profile("unit", deadline=None)
settings.load_profile("unit")
