"""The whole backend on this machine: MiniStack as AWS, the Chapa simulator, and the deployed stack.

`make up` and `make down` keep one running; the demo and the tests each start their own:

    with Stack(state_dir, params={"LeaseSeconds": "2"}) as stack:
        requests.post(f"{stack['api_url']}/orders", ...)
"""

import argparse
import fcntl
import hashlib
import json
import os
import platform
import re
import secrets
import shlex
import shutil
import signal
import socket
import string
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypedDict

ROOT = Path(__file__).parents[1]
STATE = ROOT / ".sandbox"
BUILDS = STATE / "build"
MINISTACK = STATE / "ministack" / "bin" / "python"

HOST = "127.0.0.1"
REGION = "eu-central-1"
STACK_NAME = "chapa-payments"
BUCKET = "artifacts"
FUNCTIONS = ("checkout", "initialize", "webhook", "status", "expire", "reconcile", "publish")
USERS = ("abebe", "sara")
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}

START_SECONDS = 60
STOP_SECONDS = 10
COMMAND_SECONDS = 300
KEPT_BUILDS = 3


class StackError(Exception):
    """What went wrong, in one sentence for the person at the keyboard."""


class User(TypedDict):
    sub: str
    token: str


class Description(TypedDict):
    """What `stack.json` holds."""

    api_url: str
    endpoint_url: str
    region: str
    table_name: str
    chapa_url: str
    webhook_url: str
    webhook_secret: str
    functions: dict[str, str]
    queues: dict[str, str]
    """With `events`, which is not of the stack: what a service that listens to its bus hears."""
    users: dict[str, User]


class Stack:
    """One running stack. With port 0 everything listens on free ports.

    `params` are template parameters; `chapa_url` is a provider to use instead of the simulator,
    `seed` is of the simulator's chance.
    With `enforce_permissions` a function may do what its policies in the template allow and no
    more, and the credentials must be those of `client`; otherwise any will do.
    Raises StackError with one sentence when it cannot be started.
    """

    def __init__(
        self,
        state_dir: Path = STATE,
        *,
        port: int = 0,
        chapa_url: str = "",
        params: Mapping[str, str] | None = None,
        retry_seconds: float = 2,
        seed: str | None = None,
        enforce_permissions: bool = False,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.state_dir = state_dir.resolve()
        self.port = port
        self.chapa_url = chapa_url.rstrip("/")
        self.params = dict(params or {})
        self.retry_seconds = retry_seconds
        self.seed = seed
        self.description: Description | None = None
        self.enforce_permissions = enforce_permissions
        self._say = say
        self._outlives_us = False
        self._children: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Description:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def keep(self) -> Description:
        """Start it so that it goes on when this process ends."""
        self._outlives_us = True
        return self.start()

    def start(self) -> Description:
        if sys.platform != "linux":
            raise StackError("The local stack needs Linux: the layer is built for Lambda's Linux.")
        if not MINISTACK.exists():
            raise StackError("MiniStack is not set up; run `make setup`.")
        # The SAM CLI drops what the template does not know without a word.
        if unknown := sorted(self.params.keys() - _parameters()):
            raise StackError(f"template.yaml has no parameter {' or '.join(unknown)}.")
        self.state_dir.mkdir(parents=True, exist_ok=True)
        with _locked(self.state_dir / "lock", wait=False):
            self._refuse_to_start_twice()
            try:
                self.description = self._start()
            except BaseException:
                # Ctrl-C as well: half a stack is of no use to anybody.
                self._stop()
                raise
        return self.description

    def stop(self) -> list[str]:
        """Stop what was started here, also by an earlier process. Returns the names of those."""
        if not self.state_dir.exists():
            return []
        with _locked(self.state_dir / "lock", wait=True):
            return self._stop()

    def client(self, service: str) -> Any:
        """A boto3 client of this stack, whatever AWS settings the environment has."""
        if self.description is None:
            raise StackError("The stack is not running.")
        return client(service, self.description["endpoint_url"])

    def workers(self) -> dict[int, str]:
        """The processes in which functions run now, by id, each with the function's name."""
        if self.description is None:
            raise StackError("The stack is not running.")
        names = {full: name for name, full in self.description["functions"].items()}
        found = {}
        for process in self._processes():
            for pid in process.members() if process.name == "ministack" else []:
                if name := names.get(_variable(pid, "AWS_LAMBDA_FUNCTION_NAME")):
                    found[pid] = name
        return found

    def _refuse_to_start_twice(self) -> None:
        running = [process for process in self._processes() if process.running]
        if running:
            named = " and ".join(f"{process.name} (process {process.pid})" for process in running)
            raise StackError(f"Already running: {named}. Stop it with `make down` first.")
        (self.state_dir / "processes.json").unlink(missing_ok=True)
        (self.state_dir / "stack.json").unlink(missing_ok=True)

    def _start(self) -> Description:
        port = _port(self.port, "PORT")
        endpoint = f"http://{HOST}:{port}"
        api_id = secrets.token_hex(4)
        api_url = f"{endpoint}/_aws/execute-api/{api_id}"
        webhook_url = f"{api_url}/webhooks/chapa"
        webhook_secret = secrets.token_urlsafe(32)
        api_key = "CHASECK_TEST-" + "".join(
            secrets.choice(string.ascii_letters + string.digits) for _ in range(32)
        )
        scratch = self.state_dir / "tmp"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()

        started = time.monotonic()
        self._launch(
            "ministack",
            [str(MINISTACK), "-m", "ministack"],
            # Functions inherit this: no more than Lambda would give them, and this machine's PATH.
            {
                **_environment("PATH", "HOME", "LANG"),
                "GATEWAY_PORT": str(port),
                "BIND_HOST": HOST,
                "MINISTACK_REGION": REGION,
                "MINISTACK_HOST": HOST,
                "TMPDIR": str(scratch),
                "S3_DATA_DIR": str(scratch / "s3"),
                "STATE_DIR": str(scratch / "state"),
                # They would listen on ports of their own.
                "IOT_MTLS_ENABLED": "0",
                "SFTP_ENABLED": "0",
                **CREDENTIALS,
                "AUTH": str(self.enforce_permissions).lower(),
            },
        )
        chapa_url = self.chapa_url
        if not chapa_url:
            chapa_port = _port(self.port + 1 if self.port else 0, "PORT + 1")
            chapa_url = f"http://{HOST}:{chapa_port}/v1"
            arguments = {
                "--port": chapa_port,
                "--webhook-url": webhook_url,
                "--webhook-secret": webhook_secret,
                "--api-key": api_key,
                "--retry-seconds": self.retry_seconds,
            }
            if self.seed is not None:
                arguments["--seed"] = self.seed
            self._launch(
                "chapa",
                [sys.executable, "-m", "sandbox.chapa"]
                + [f"{name}={value}" for name, value in arguments.items()],
                _environment("PATH", "HOME", "LANG"),
            )
        template = build()
        self._say(f"Built in {time.monotonic() - started:.1f} s.")

        for process in self._processes():
            self._await(process, port if process.name == "ministack" else chapa_port)
        started = time.monotonic()
        client("s3", endpoint).create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        params = {
            "Architecture": _architecture(),
            "DeletionProtection": "false",
            "TokenValidityMinutes": "1440",
            "ChapaUrl": chapa_url,
            "CheckoutHosts": "*",
            "CallbackUrl": webhook_url,
        } | self.params
        self._deploy(template, endpoint, api_id, params)
        self._say(f"Deployed in {time.monotonic() - started:.1f} s.")

        started = time.monotonic()
        stack = client("cloudformation", endpoint).describe_stacks(StackName=STACK_NAME)
        outputs = {o["OutputKey"]: o["OutputValue"] for o in stack["Stacks"][0]["Outputs"]}
        client("secretsmanager", endpoint).put_secret_value(
            SecretId=outputs["SecretArn"],
            SecretString=json.dumps({"api_key": api_key, "webhook_secret": webhook_secret}),
        )
        # Only here: `make down` must not need the product's packages.
        from sandbox.seed import seed  # noqa: PLC0415

        seed(client("dynamodb", endpoint), outputs["TableName"])
        description = Description(
            api_url=api_url,
            endpoint_url=endpoint,
            region=REGION,
            table_name=outputs["TableName"],
            chapa_url=chapa_url,
            webhook_url=webhook_url,
            webhook_secret=webhook_secret,
            functions={name: outputs[f"{name.capitalize()}FunctionName"] for name in FUNCTIONS},
            queues={
                "reconcile": outputs["QueueUrl"],
                "dead_letter": outputs["DeadLetterQueueUrl"],
                "events": _listen(endpoint, outputs["BusName"]),
            },
            users=_sign_in(endpoint, outputs),
        )
        if self.enforce_permissions:
            _allow_batches(endpoint, description["functions"]["expire"])
        _write_private(self.state_dir / "stack.json", json.dumps(description, indent=2) + "\n")
        self._say(f"Seeded and signed in in {time.monotonic() - started:.1f} s.")
        return description

    def _launch(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        with (self.state_dir / f"{name}.log").open("w") as log:
            process = subprocess.Popen(
                command if self._outlives_us else _ends_with_us(command),
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._children.append(process)
        known = [p.as_json() for p in self._processes()]
        known.append(Process(name, process.pid, _started_at(process.pid), _boot_id()).as_json())
        _write_private(self.state_dir / "processes.json", json.dumps(known) + "\n")

    def _await(self, process: "Process", port: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            if not process.running:
                raise StackError(f"{process.name} did not start: {self._last_words(process.name)}")
            try:
                with _open(f"http://{HOST}:{port}/_ministack/health"):
                    return
            except urllib.error.HTTPError:
                return  # it answers, which is all we ask
            except OSError:
                if time.monotonic() > deadline:
                    raise StackError(
                        f"{process.name} does not answer on port {port} after {START_SECONDS} s."
                    ) from None
            time.sleep(0.05)

    def _deploy(
        self, template: Path, endpoint: str, api_id: str, params: Mapping[str, str]
    ) -> None:
        command = [sys.executable, "-m", "samcli", "deploy"]
        command += ["--config-file", str(ROOT / "samconfig.toml"), "--config-env", "local"]
        command += ["--template-file", str(template), "--no-progressbar"]
        # MiniStack takes an API's id from this tag, so that its address is known beforehand.
        command += ["--tags", f"ms-custom-id={api_id}", "--parameter-overrides"]
        command += [
            f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in params.items()
        ]
        log = self.state_dir / "deploy.log"
        _sam(command, log, {"AWS_ENDPOINT_URL": endpoint, "SAM_CLI_POLL_DELAY": "0.1"})

    def _last_words(self, name: str) -> str:
        return _last_words(self.state_dir / f"{name}.log")

    def _processes(self) -> list["Process"]:
        try:
            known = json.loads((self.state_dir / "processes.json").read_text())
            return [Process(**fields) for fields in known]
        except (FileNotFoundError, ValueError, TypeError):
            return []

    def _stop(self) -> list[str]:
        stopped = [process.name for process in self._processes() if process.end()]
        while self._children:
            self._children.pop().wait()
        self.description = None
        (self.state_dir / "processes.json").unlink(missing_ok=True)
        (self.state_dir / "stack.json").unlink(missing_ok=True)
        shutil.rmtree(self.state_dir / "tmp", ignore_errors=True)
        return stopped


class Process:
    """A process that we started, known by more than its id, which the system may give out again."""

    def __init__(self, name: str, pid: int, started_at: str, boot_id: str) -> None:
        self.name = name
        self.pid = pid
        self.started_at = started_at
        self.boot_id = boot_id

    def as_json(self) -> dict[str, object]:
        return dict(vars(self))

    @property
    def running(self) -> bool:
        """Whether it, or anything that it started, is still there."""
        return bool(self.members())

    def end(self) -> bool:
        """Ends its whole session, by force when it does not end by itself. False: it had ended."""
        if not self.running:
            return False
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + STOP_SECONDS
            for pid in self.members():
                _kill(pid, number)
            while time.monotonic() < deadline:
                if not self.running:
                    return True
                time.sleep(0.02)
        raise StackError(f"{self.name} (process {self.pid}) does not end.")

    def members(self) -> list[int]:
        """It and all that it started, as far as they live."""
        if self.boot_id != _boot_id():
            return []
        if _started_at(self.pid) not in ("", self.started_at):
            return []  # the id belongs to another program now
        # While one of them lives the system gives the session's id to nobody else.
        return [pid for pid in _pids() if _session(pid) == self.pid]


def build() -> Path:
    """Build with the SAM CLI unless these very sources were built before. Returns the template.

    Builds are shared by all stacks: each has the hash of its sources for a name.
    """
    BUILDS.mkdir(parents=True, exist_ok=True)
    with _locked(BUILDS / "lock", wait=True):
        done = BUILDS / _hash_of_sources()
        template = done / "template.yaml"
        if template.exists():
            os.utime(done)
            return template
        unfinished = BUILDS / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        command = [sys.executable, "-m", "samcli", "build"]
        command += ["--config-file", str(ROOT / "samconfig.toml"), "--config-env", "local"]
        command += ["--template-file", str(ROOT / "template.yaml")]
        command += ["--build-dir", str(unfinished), "--cache-dir", str(BUILDS / "cache")]
        command += ["--parameter-overrides", f"Architecture={_architecture()}"]
        _sam(command, BUILDS / "build.log")
        unfinished.rename(done)
        others = [path for path in BUILDS.glob("[0-9a-f]*") if (path / "template.yaml").exists()]
        for old in sorted(others, key=lambda path: path.stat().st_mtime)[:-KEPT_BUILDS]:
            shutil.rmtree(old)
        return template


def client(service: str, endpoint_url: str) -> Any:
    """A boto3 client that never looks at the user's own AWS settings."""
    import boto3  # noqa: PLC0415 - half a second that `make down` need not spend
    import botocore.session  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    session = botocore.session.Session(
        {
            "profile": (None, None, None, None),
            "config_file": (None, None, os.devnull, None),
            "credentials_file": (None, None, os.devnull, None),
        }
    )
    aws = boto3.Session(
        CREDENTIALS["AWS_ACCESS_KEY_ID"],
        CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        botocore_session=session,
        region_name=REGION,
    )
    return aws.client(
        service,  # type: ignore[call-overload]
        endpoint_url=endpoint_url,
        config=Config(proxies={}, retries={"total_max_attempts": 2, "mode": "standard"}),
    )


def _listen(endpoint: str, bus: str) -> str:
    """A sample of what another service has: a rule on the bus and a queue. Returns its URL."""
    sqs, events = client("sqs", endpoint), client("events", endpoint)
    url = str(sqs.create_queue(QueueName="events")["QueueUrl"])
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    rule = events.put_rule(
        Name="sample",
        EventBusName=bus,
        EventPattern=json.dumps({"source": ["chapa-payments"]}),
    )
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": attributes["QueueArn"],
        "Condition": {"ArnEquals": {"aws:SourceArn": rule["RuleArn"]}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    events.put_targets(
        Rule="sample", EventBusName=bus, Targets=[{"Id": "queue", "Arn": attributes["QueueArn"]}]
    )
    return url


def _allow_batches(endpoint: str, function: str) -> None:
    """On AWS `sqs:SendMessage` covers batches; MiniStack asks for an action that AWS has not."""
    configured = client("lambda", endpoint).get_function_configuration(FunctionName=function)
    statement = {"Effect": "Allow", "Action": "sqs:SendMessageBatch", "Resource": "*"}
    client("iam", endpoint).put_role_policy(
        RoleName=configured["Role"].rpartition("/")[2],
        PolicyName="SendMessageBatch",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )


def _sign_in(endpoint: str, outputs: Mapping[str, str]) -> dict[str, User]:
    """Users of the stack's own pool with tokens that it issued; none when the issuer is another."""
    if "UserPoolId" not in outputs:
        return {}
    cognito = client("cognito-idp", endpoint)
    pool = outputs["UserPoolId"]

    def sign_in(name: str) -> User:
        password = f"Aa1!{secrets.token_urlsafe(24)}"
        user = cognito.admin_create_user(UserPoolId=pool, Username=name, MessageAction="SUPPRESS")
        cognito.admin_set_user_password(
            UserPoolId=pool, Username=name, Password=password, Permanent=True
        )
        answer = cognito.admin_initiate_auth(
            UserPoolId=pool,
            ClientId=outputs["UserPoolClientId"],
            AuthFlow="ADMIN_USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": name, "PASSWORD": password},
        )
        attributes = {a["Name"]: a["Value"] for a in user["User"]["Attributes"]}
        return User(sub=attributes["sub"], token=answer["AuthenticationResult"]["AccessToken"])

    return {name: sign_in(name) for name in USERS}


def _sam(command: list[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
    """Run the SAM CLI with made-up credentials and none of the user's settings.

    In the directory of builds, where it keeps what it remembers of earlier ones.
    """
    with log.open("w") as output:
        done = subprocess.run(
            command,
            cwd=BUILDS,
            env={
                # pip, which it calls, may need all that this machine says about the network.
                **{k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PYTHON"))},
                **CREDENTIALS,
                "AWS_CONFIG_FILE": os.devnull,
                "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
                "NO_PROXY": HOST,
                "no_proxy": HOST,
                "SAM_CLI_TELEMETRY": "0",
                "__SAM_CLI_APP_DIR": str(BUILDS),  # not the user's home
                **(environment or {}),
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=COMMAND_SECONDS,
            check=False,
        )
    if done.returncode:
        raise StackError(f"sam {command[3]} failed: {_last_words(log)} (see {log})")


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("Error")]
    return (errors or lines or ["it said nothing"])[-1]


def _hash_of_sources() -> str:
    digest = hashlib.sha256(_architecture().encode())
    paths = [ROOT / name for name in ("template.yaml", "samconfig.toml", "sandbox/requirements.txt")]
    for directory in ("functions", "shared"):
        found = (ROOT / directory).rglob("*")
        paths += sorted(p for p in found if p.is_file() and p.parent.name != "__pycache__")
    for path in paths:
        content = path.read_bytes()
        digest.update(f"{path.relative_to(ROOT)} {len(content)} ".encode() + content)
    return digest.hexdigest()[:16]


def _parameters() -> set[str]:
    template = (ROOT / "template.yaml").read_text()
    section = re.search(r"^Parameters:\n((?: .*\n|\n)+)", template, re.MULTILINE)
    return set(re.findall(r"^  (\w+):$", section[1], re.MULTILINE)) if section else set()


def _architecture() -> str:
    return "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"


def _port(wanted: int, name: str) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted))
        except (OSError, OverflowError):
            raise StackError(
                f"Port {wanted} ({name}) cannot be used, another program may have it;"
                " choose another with PORT=…"
            ) from None
        return int(probe.getsockname()[1])


def _open(url: str) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return opener.open(url, timeout=5)


def _environment(*names: str) -> dict[str, str]:
    return {name: os.environ[name] for name in names if name in os.environ}


def _write_private(path: Path, text: str) -> None:
    """In one step, so that nobody reads half of it, and for this user only: it holds secrets."""
    fresh = path.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_text(text)
    fresh.replace(path)


@contextmanager
def _locked(path: Path, *, wait: bool) -> Iterator[None]:
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise StackError("Another command is starting or stopping this stack.") from None
        yield


def _ends_with_us(command: list[str]) -> list[str]:
    """The command, ended by the kernel when this process is killed and cannot do it itself."""
    pr_set_pdeathsig = 1
    ask = (
        f"import ctypes, os, sys; ctypes.CDLL(None).prctl({pr_set_pdeathsig}, {signal.SIGTERM:d});"
        " os.execv(sys.argv[1], sys.argv[1:])"
    )
    return [sys.executable, "-ISc", ask, *command]


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _pids() -> Iterator[int]:
    return (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())


def _status(pid: int) -> list[str]:
    """The fields of /proc/PID/stat that follow the command's name; none when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
    return [] if fields[0] == "Z" else fields


def _session(pid: int) -> int:
    fields = _status(pid)
    return int(fields[3]) if fields else 0


def _variable(pid: int, name: str) -> str:
    """What a process was started with in its environment; empty when it has ended."""
    try:
        pairs = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    started_with = dict(pair.decode(errors="replace").partition("=")[::2] for pair in pairs)
    return started_with.get(name, "")


def _started_at(pid: int) -> str:
    fields = _status(pid)
    return fields[19] if fields else ""


def _kill(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


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
        port=port, chapa_url=os.environ.get("CHAPA_URL", ""), params=params, say=print
    ).keep()
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
    stopped = Stack().stop()
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


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox.stack", description=__doc__)
    parser.add_argument("command", choices=["up", "down", "env"])
    # A polite end is an end like Ctrl-C: what was started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
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
