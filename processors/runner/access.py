"""What a Kafka wants to see before it lets a worker's consumer in."""

import ssl
from typing import NamedTuple

from faust import SASLCredentials, SSLCredentials
from faust.types.auth import CredentialsT


class Access(NamedTuple):
    """`tls`: None where Kafka speaks without; `user`: empty where it asks for no password. `mechanism`: SASL's name."""

    tls: ssl.SSLContext | None = None
    user: str = ""
    password: str = ""
    mechanism: str = ""

    def credentials(self) -> CredentialsT | None:
        """As Faust wants to have it."""
        if self.user:
            return SASLCredentials(
                username=self.user, password=self.password, ssl_context=self.tls, mechanism=self.mechanism
            )
        return SSLCredentials(self.tls) if self.tls else None


#: Kafka asks for nothing.
OPEN = Access()
