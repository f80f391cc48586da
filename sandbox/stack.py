"""The whole backend on this machine: MiniStack as AWS, the Chapa simulator, and the deployed stack.

`make up` and `make down` keep one running; the demo and the tests each start their own:

    with Stack(state_dir, params={"LeaseSeconds": "2"}) as stack:
        requests.post(f"{stack['api_url']}/orders", ...)
"""

import argparse
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypedDict
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from sandbox.aws import (
    CREDENTIALS,
    HOST,
    REGION,
    User,
    allow_batches,
    allow_origins,
    client,
    limit_workers,
    operator,
    receive_events,
    sign_in,
)
from sandbox.programs import Program, end, variable
from sandbox.sam import (
    ROOT,
    STATE,
    StackError,
    architecture,
    build,
    last_words,
    sam,
    step,
    template_parameters,
)

__all__ = ["CREDENTIALS", "HOST", "ROOT", "STATE", "Stack", "StackError", "build", "client"]

MINISTACK = STATE / "ministack" / "bin" / "python"

STACK_NAME = "chapa-payments"
API_ID = "sandbox"
BUCKET = "artifacts"
FUNCTIONS = (
    *("orders", "initialize", "webhook", "status", "expire", "reconcile", "compare", "publish"),
)

type Version = Literal["v1", "v2"]
KEYS: dict[Version, str] = {"v1": "CHASECK_TEST-", "v2": "CHAPA_TEST_"}
"""How a test key of each version of Chapa's API begins."""

START_SECONDS = 60
STOP_SECONDS = 10


class Description(TypedDict):
    """What `stack.json` holds."""

    api_url: str
    endpoint_url: str
    region: str
    table_name: str
    provider: Version
    """The version of Chapa's API that opens payments."""
    chapa_url: str
    """Of that version."""
    webhook_url: str
    webhook_secret: str
    programs: dict[str, str]
    """Name and address of each program that was started."""
    functions: dict[str, str]
    queues: dict[str, str]
    """With `events`, which the template does not have: it receives what is put on the event bus."""
    users: dict[str, User]
    operator: dict[str, str]
    """Credentials for the operators' tool, as environment variables."""


class Stack:
    """One running stack. With port 0 everything listens on free ports.

    `provider` is the version of Chapa's API that opens payments, v1 or v2; the secret also has a
    key of the other one. `chapa_url` is a provider to use instead of the simulator, and decides
    the version. `params` are template parameters; `seed` makes the simulator's chance repeatable.
    With `enforce_permissions` a function may do what its policies in the template allow and no
    more, and the credentials must be those of `client`; otherwise any will do.
    Raises StackError when it cannot be started.
    """

    def __init__(
        self,
        state_dir: Path = STATE,
        *,
        port: int = 0,
        provider: str = "",
        chapa_url: str = "",
        params: Mapping[str, str] | None = None,
        retry_seconds: float = 2,
        seed: str | None = None,
        enforce_permissions: bool = False,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.state_dir = state_dir.resolve()
        self.port = port
        self.provider = provider
        self.chapa_url = chapa_url.rstrip("/")
        self.params = dict(params or {})
        self.retry_seconds = retry_seconds
        self.seed = seed
        self.description: Description | None = None
        self.enforce_permissions = enforce_permissions
        self._say = say
        self._keep = False
        self._ministack = Program("ministack", self.state_dir)
        self._chapa = Program("chapa", self.state_dir)
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Description:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def keep(self, *, fresh: bool = False) -> Description:
        """Start it so that it outlives this process, with what AWS held when it was last stopped.

        With `fresh` what it held is deleted.
        """
        self._keep = True
        if fresh:
            with self._locked(seconds=0):
                self._refuse_to_start_twice()
                shutil.rmtree(self._kept, ignore_errors=True)
        return self.start()

    def start(self) -> Description:
        if sys.platform != "linux":
            raise StackError("The local stack needs Linux: the layer is built for Lambda's Linux.")
        if not MINISTACK.exists():
            raise StackError("MiniStack is not set up; run `make setup`.")
        # The SAM CLI ignores parameters that the template does not have.
        if unknown := sorted(self.params.keys() - template_parameters()):
            raise StackError(f"template.yaml has no parameter {' or '.join(unknown)}.")
        version = version_of(self.provider, self.chapa_url)
        with self._locked(seconds=0):
            self._refuse_to_start_twice()
            try:
                self.description = self._start(version)
            except BaseException:
                # Ctrl-C as well: half a stack is of no use.
                self._stop()
                raise
        return self.description

    def stop(self) -> list[str]:
        """Stop what was started here, also by an earlier process. Returns the names of those."""
        if not self.state_dir.exists():
            return []
        with self._locked(seconds=-1):
            if dead := self._dead():
                self._say(f"{' and '.join(dead)} had ended already.")
            return self._stop()

    def client(self, service: str) -> Any:
        """A boto3 client of this stack, whatever AWS settings the environment has."""
        return client(service, self._described()["endpoint_url"])

    def workers(self) -> dict[int, str]:
        """The processes in which functions run now, by id, each with the function's name."""
        names = {full: name for name, full in self._described()["functions"].items()}
        workers = {
            process.pid: names.get(variable(process, "AWS_LAMBDA_FUNCTION_NAME"), "")
            for process in self._ministack.processes()
        }
        return {pid: name for pid, name in workers.items() if name}

    def _described(self) -> Description:
        if self.description is None:
            raise StackError("The stack is not running.")
        return self.description

    @property
    def _kept(self) -> Path:
        """What AWS holds between `down` and `up`."""
        return self.state_dir / "aws"

    @contextmanager
    def _locked(self, *, seconds: float) -> Iterator[None]:
        self.state_dir.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.state_dir / "lock", timeout=seconds):
                yield
        except Timeout:
            raise StackError("Another command is starting or stopping this stack.") from None

    def _dead(self) -> list[str]:
        """Programs that were started, not stopped, and do not answer any more."""
        try:
            described: Description = json.loads((self.state_dir / "stack.json").read_text())
        except FileNotFoundError:
            return []
        return [name for name, url in described["programs"].items() if not _listens(url)]

    def _refuse_to_start_twice(self) -> None:
        if dead := self._dead():
            self._say(f"{' and '.join(dead)} had ended; starting everything again.")
        elif (self.state_dir / "stack.json").exists():
            raise StackError("The stack is running already. Stop it with `make down` first.")
        elif left := self._stop():
            self._say(f"Stopped {' and '.join(left)} of a start that was not completed.")
        self._stop()

    def _start(self, version: Version) -> Description:
        with ExitStack() as probes:
            port = _port(probes, self.port, "PORT")
            chapa_port = 0
            if not self.chapa_url:
                chapa_port = _port(probes, self.port + 1 if self.port else 0, "PORT + 1")
        endpoint = f"http://{HOST}:{port}"
        api_url = f"{endpoint}/_aws/execute-api/{API_ID}"
        webhook_url = f"{api_url}/webhooks/chapa"
        webhook_secret = secrets.token_urlsafe(32)
        other: Version = "v1" if version == "v2" else "v2"
        keys = {each: f"{beginning}{secrets.token_hex(16)}" for each, beginning in KEYS.items()}
        known = self._keep and self._kept.exists()
        programs = {"ministack": endpoint}
        self._say("Starting MiniStack (the local AWS) and the Chapa simulator ...")
        self._start_ministack(port)
        chapa = self.chapa_url.removesuffix(f"/{version}")
        if not chapa:
            programs["chapa"] = f"http://{HOST}:{chapa_port}"
            chapa = programs["chapa"]
            self._start_chapa(chapa_port, webhook_url, webhook_secret, keys.values())
        # Both start while the SAM CLI builds.
        template = build(self._say)
        for program in (self._ministack, self._chapa):
            if program.name in programs:
                self._await(program, programs[program.name])
        with step(self._say, "Deploying the stack with the SAM CLI", "Deployed"):
            params = {
                "Architecture": architecture(),
                "DeletionProtection": "false",
                "TokenValidityMinutes": "1440",
                "ChapaUrl": f"{chapa}/{version}",
                "ChapaUrlOther": f"{chapa}/{other}",
                "CheckoutHosts": "*",
                "CallbackUrl": webhook_url,
                # MiniStack 1.5.33 does not have the type AWS::Logs::QueryDefinition.
                "SavedQueries": "false",
            } | self.params
            self._deploy(template, endpoint, params)
        allow_origins(endpoint, API_ID)
        stack = client("cloudformation", endpoint).describe_stacks(StackName=STACK_NAME)
        outputs = {o["OutputKey"]: o["OutputValue"] for o in stack["Stacks"][0]["Outputs"]}
        client("secretsmanager", endpoint).put_secret_value(
            SecretId=outputs["SecretArn"],
            SecretString=json.dumps(
                {
                    "api_key": keys[version],
                    "api_key_other": keys[other],
                    "webhook_secret": webhook_secret,
                }
            ),
        )
        # Only here: `make down` must not need the product's packages.
        from sandbox.seed import seed  # noqa: PLC0415

        seed(client("dynamodb", endpoint), outputs["TableName"])
        description = Description(
            api_url=api_url,
            endpoint_url=endpoint,
            region=REGION,
            table_name=outputs["TableName"],
            provider=version,
            chapa_url=f"{chapa}/{version}",
            webhook_url=webhook_url,
            webhook_secret=webhook_secret,
            programs=programs,
            functions={name: outputs[f"{name.capitalize()}FunctionName"] for name in FUNCTIONS},
            queues={
                "reconcile": outputs["QueueUrl"],
                "dead_letter": outputs["DeadLetterQueueUrl"],
                "events": receive_events(endpoint, outputs["BusName"]),
            },
            users=sign_in(endpoint, outputs),
            operator=CREDENTIALS,
        )
        limit_workers(endpoint, description["functions"]["reconcile"])
        if self.enforce_permissions:
            allow_batches(endpoint, description["functions"]["expire"])
            description["operator"] = operator(endpoint, outputs["OperatorsPolicyArn"])
        _write_private(self.state_dir / "stack.json", json.dumps(description, indent=2) + "\n")
        if known:
            self._say(
                "Tables, queues and users are as `make down` left them (FRESH=1 clears them)."
            )
            if "chapa" in programs:
                self._say("The Chapa simulator keeps nothing: it does not know earlier payments.")
        return description

    def _start_ministack(self, port: int) -> None:
        scratch = self.state_dir / "tmp"
        scratch.mkdir()
        state = self._kept if self._keep else scratch / "state"
        environment = {
            # Functions inherit this: no more than Lambda would give them, and this machine's PATH.
            **_environment("PATH", "HOME", "LANG"),
            "GATEWAY_PORT": str(port),
            "BIND_HOST": HOST,
            "MINISTACK_REGION": REGION,
            "MINISTACK_HOST": HOST,
            "TMPDIR": str(scratch),
            "S3_DATA_DIR": str(scratch / "s3"),
            "STATE_DIR": str(state),
            "PERSIST_STATE": str(int(self._keep)),
            # They would listen on ports of their own.
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            **CREDENTIALS,
            "AUTH": str(self.enforce_permissions).lower(),
        }
        # -P: MiniStack must not import the modules beside this file in place of its own.
        program = [str(MINISTACK), "-P", str(ROOT / "sandbox" / "local_aws.py")]
        self._launch(self._ministack, program, environment)

    def _start_chapa(
        self, port: int, webhook_url: str, webhook_secret: str, api_keys: Iterable[str]
    ) -> None:
        arguments = {
            "--port": port,
            "--webhook-url": webhook_url,
            "--webhook-secret": webhook_secret,
            "--retry-seconds": self.retry_seconds,
        }
        if self.seed is not None:
            arguments["--seed"] = self.seed
        command = [sys.executable, "-m", "sandbox.chapa"]
        command += [f"{name}={value}" for name, value in arguments.items()]
        command += [f"--api-key={api_key}" for api_key in api_keys]
        self._launch(self._chapa, command, _environment("PATH", "HOME", "LANG"))

    def _launch(self, program: Program, command: list[str], environment: dict[str, str]) -> None:
        child = program.start(command, environment, cwd=ROOT, outlives_us=self._keep)
        self._children[program.name] = child

    def _await(self, program: Program, url: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            if self._children[program.name].poll() is not None:
                raise StackError(f"{program.name} did not start: {last_words(program.log)}")
            try:
                with _open(f"{url}/_ministack/health"):
                    return
            except urllib.error.HTTPError:
                return  # the simulator has no such page, but it answers
            except OSError:
                if time.monotonic() > deadline:
                    raise StackError(
                        f"{program.name} does not answer at {url} after {START_SECONDS} s."
                    ) from None
            time.sleep(0.05)

    def _deploy(self, template: Path, endpoint: str, params: Mapping[str, str]) -> None:
        # On a kept stack the bucket is there.
        s3 = client("s3", endpoint)
        if BUCKET not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
            s3.create_bucket(
                Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
            )
        arguments = ["--template-file", str(template), "--use-json", "--no-progressbar"]
        # MiniStack takes an API's id from this tag, so that its address is known beforehand.
        arguments += ["--tags", f"ms-custom-id={API_ID}", "--parameter-overrides"]
        arguments += [
            f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in params.items()
        ]
        environment = {"AWS_ENDPOINT_URL": endpoint, "SAM_CLI_POLL_DELAY": "0.1"}
        sam("deploy", arguments, self.state_dir / "deploy.log", environment)

    def _stop(self) -> list[str]:
        # MiniStack writes what it keeps when it is asked to end; the others have nothing to write.
        grace = STOP_SECONDS if self._kept.exists() else 0
        try:
            stopped = end((self._ministack, self._chapa), grace_seconds=grace)
        except TimeoutError as error:
            raise StackError(f"The local stack cannot be stopped: {error}.") from None
        while self._children:
            self._children.popitem()[1].wait()
        self.description = None
        (self.state_dir / "stack.json").unlink(missing_ok=True)
        shutil.rmtree(self.state_dir / "tmp", ignore_errors=True)
        return stopped


def version_of(provider: str, chapa_url: str) -> Version:
    """The version of Chapa's API. Raises StackError if PROVIDER is unknown or not the URL's."""
    of_url = chapa_url.rpartition("/")[2]
    if provider not in {"", *KEYS}:
        raise StackError(f"PROVIDER must be v1 or v2, and {provider!r} is not.")
    if chapa_url and of_url not in KEYS:
        raise StackError("CHAPA_URL must end in /v1 or /v2, the versions of Chapa's API.")
    if provider and chapa_url and provider != of_url:
        raise StackError(f"PROVIDER is {provider}, but CHAPA_URL ends in /{of_url}.")
    return "v2" if "v2" in {provider, of_url} else "v1"


def _port(probes: ExitStack, wanted: int, name: str) -> int:
    """The wanted port, or a free one for 0. `probes` holds it: the next free one differs."""
    probe = probes.enter_context(socket.socket())
    if wanted:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind((HOST, wanted))
    except (OSError, OverflowError):
        raise StackError(
            f"Port {wanted} ({name}) cannot be used, another program may have it;"
            " choose another with PORT=…"
        ) from None
    return int(probe.getsockname()[1])


def _listens(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, urlsplit(url).port or 0)) == 0


def _open(url: str) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return opener.open(url, timeout=5)


def _environment(*names: str) -> dict[str, str]:
    return {name: os.environ[name] for name in names if name in os.environ}


def _write_private(path: Path, text: str) -> None:
    """For this user only, since it holds secrets; in one step, so that nothing half is read."""
    fresh = path.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_text(text)
    fresh.replace(path)


def _up() -> None:
    params = _assignments(os.environ.get("PARAMS", ""))
    if ttl := os.environ.get("ORDER_TTL_SECONDS"):
        params.setdefault("OrderTtlSeconds", ttl)
    try:
        port = int(os.environ.get("PORT") or "4566")
    except ValueError:
        raise StackError("PORT must be a number.") from None
    started = time.monotonic()
    stack = Stack(
        port=port,
        provider=os.environ.get("PROVIDER", ""),
        chapa_url=os.environ.get("CHAPA_URL", ""),
        params=params,
        say=print,
    ).keep(fresh=bool(os.environ.get("FRESH")))
    print(f"\nThe stack is up after {time.monotonic() - started:.1f} s; `make down` stops it.\n")
    for name, value in (
        ("API", stack["api_url"]),
        ("webhook", stack["webhook_url"]),
        ("Chapa", stack["chapa_url"]),
        ("AWS", f"{stack['endpoint_url']} ({stack['region']})"),
        ("users", ", ".join(stack["users"]) or "of the issuer that PARAMS names"),
        ("all of it", str((STATE / "stack.json").relative_to(ROOT))),
    ):
        print(f"  {name:<10} {value}")


def _assignments(text: str) -> dict[str, str]:
    try:
        words = [word.partition("=") for word in shlex.split(text)]
    except ValueError:
        words = [("", "", "")]
    if not all(name.isalnum() and equals for name, equals, _ in words):
        raise StackError(f'PARAMS must be "Name=value ...", and {text!r} is not.')
    return {name: value for name, _, value in words}


def _down() -> None:
    stopped = Stack(say=print).stop()
    print(f"Stopped {' and '.join(stopped)}." if stopped else "Nothing is running.")


def _env() -> None:
    """Lines for `eval` in a shell: where the API is, and a customer's token."""
    try:
        stack: Description = json.loads((STATE / "stack.json").read_text())
    except FileNotFoundError:
        raise StackError("Nothing is up; run `make up` first.") from None
    variables = {"API_URL": stack["api_url"], "CHAPA_URL": stack["chapa_url"]}
    if stack["users"]:
        variables["TOKEN"] = next(iter(stack["users"].values()))["token"]
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")


def end_on_signals() -> None:
    """SIGTERM and SIGINT end this process with its cleanup, also if the parent ignores SIGINT."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox.stack", description=__doc__)
    parser.add_argument("command", choices=["up", "down", "env"])
    end_on_signals()
    try:
        {"up": _up, "down": _down, "env": _env}[parser.parse_args().command]()
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
