"""What the installation's key is for: ids that everybody of it mints alike, and signatures that all of it believes."""

from deploy.settings import Settings, SettingsError
from workflows.identity import ProfileIds


def profile_ids(settings: Settings) -> ProfileIds:
    """The installation's profile ids. Raises SettingsError without a key."""
    return ProfileIds(identity_key(settings))


def identity_key(settings: Settings) -> bytes:
    """What ids are minted and replays are signed with. Raises SettingsError where it is not set."""
    if not settings.identity_key:
        raise SettingsError("HEADWATER_IDENTITY_KEY is not set: all doors and workers need the same one")
    return settings.identity_key.encode()
