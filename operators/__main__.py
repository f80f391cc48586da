"""The operators' tool: `./operate --help`.

It runs the product's own code with the operator's AWS credentials and takes its settings from the
deployed functions, so that there is no second place to set them.
"""

import sys

from botocore.exceptions import BotoCoreError, ClientError

from operators import (
    audit,
    books,
    catalogue,
    compare,
    doctor,
    health,
    logs,
    orders,
    refunds,
    secret,
)
from operators.catalogue_file import CatalogueFileError
from operators.cli import (
    BROKEN,
    COULD_NOT_ASK,
    REFUSED,
    NotConfirmedError,
    app,
    hoisted,
    note,
    said_by,
)
from operators.stack import StackError, what_to_do
from payments.errors import ConfigurationError, PaymentsError
from payments.telemetry import logger

COMMANDS = (
    *(orders, refunds, books, compare, catalogue),
    *(logs, doctor, audit, secret, health),
)
"""Modules whose import adds their commands."""


def main(arguments: list[str] | None = None) -> int:
    given = hoisted(sys.argv[1:] if arguments is None else arguments)
    try:
        app(given, prog_name="./operate")
    except SystemExit as ended:  # Typer's own end: done, a usage error, or `typer.Exit`.
        return int(ended.code or 0)
    except PaymentsError as error:
        members = ", ".join(f"{name}: {value}" for name, value in error.members.items())
        note(f"{error.detail} {members}".strip())
        return COULD_NOT_ASK if error.retry_after is not None else REFUSED
    except CatalogueFileError as error:
        note("\n".join([*error.sentences, "Nothing was written. Correct the file and try again."]))
        return REFUSED
    except NotConfirmedError as error:
        note(str(error))
        return REFUSED
    except (StackError, ConfigurationError, ClientError, BotoCoreError) as error:
        note(what_to_do(error))
        return COULD_NOT_ASK
    except OSError as error:
        note(f"{error.filename or 'A file'}: {error.strerror or error}.")
        return COULD_NOT_ASK
    except BROKEN as error:
        note(
            f"Something is not stored as it should be: {said_by(error)}. `./operate audit` names"
            " the order; if it does not, this is a bug of the tool."
        )
        return REFUSED
    return 0


if __name__ == "__main__":
    # Standard output carries the answer and nothing else. What went well is in the answer.
    logger.registered_handler.setStream(sys.stderr)  # type: ignore[attr-defined]
    logger.setLevel("WARNING")
    sys.exit(main())
