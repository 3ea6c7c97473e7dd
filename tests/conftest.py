"""What all tests share."""

from hypothesis import settings

settings.register_profile("koban", deadline=None)  # a busy machine is no bug; speed is measured by `koban bench`
settings.load_profile("koban")
