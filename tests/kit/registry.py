"""A schema registry as far as Confluent's clients ask one: schemas by subject, ids, schemas by id."""

import json

from tests.kit.serving import Handler, Server


class Registry:
    """Keeps schemas in memory. What is refused is told by `refusing`: a status for everything, 0 for nothing."""

    def __init__(self) -> None:
        self.schemas: list[str] = []
        self.subjects: list[str] = []
        self.authorization: list[str | None] = []
        self.refusing = 0
        #: What it says instead of an id.
        self.id: object = ...
        registry = self

        class Answering(Handler):
            def do_POST(self) -> None:
                schema = json.loads(self.rfile.read(int(self.headers["content-length"])))["schema"]
                registry.authorization.append(self.headers["authorization"])
                if registry.refusing:
                    return self._say(registry.refusing, {"error_code": registry.refusing})
                if schema not in registry.schemas:
                    registry.schemas.append(schema)
                registry.subjects.append(self.path)
                known = registry.schemas.index(schema) + 1
                self._say(200, {"id": known if registry.id is ... else registry.id})

            def do_GET(self) -> None:
                id = int(self.path.partition("?")[0].rpartition("/")[2])
                self._say(200, {"schema": registry.schemas[id - 1], "schemaType": "AVRO"})

            def _say(self, status: int, answer: object) -> None:
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._server = Server(Answering)
        self.url = self._server.url

    def close(self) -> None:
        self._server.close()
