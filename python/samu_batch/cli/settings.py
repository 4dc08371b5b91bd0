"""Options from the command line, the environment or a TOML file, in this order."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import click

GIB = 1 << 30


class SettingsCommand(click.Command):
    """A command whose every option can also come from ``SAMU_<OPTION>`` or from the file named by ``--config``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(
            click.Option(
                ["--config"],
                type=click.Path(exists=True, dir_okay=False, path_type=Path),
                is_eager=True,
                expose_value=False,
                callback=_read_config,
                help='TOML file of options: memory = 4, engine = "openvino".',
            )
        )
        for parameter in self.params:
            if isinstance(parameter, click.Option) and parameter.envvar is None:
                parameter.envvar = f"SAMU_{max(parameter.opts, key=len).lstrip('-').replace('-', '_').upper()}"


class Mirrors(click.ParamType):
    """A root with EMDB's layout; several in one environment variable are separated by commas or blanks."""

    name = "URL"
    envvar_list_splitter = ","

    def split_envvar_value(self, rv: str) -> list[str]:
        """Split at commas and blanks."""
        return [part for part in re.split(r"[,\s]+", rv) if part]


class Gibibytes(click.ParamType):
    """A number of GiB, as bytes."""

    name = "GiB"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return bytes."""
        try:
            size = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number of GiB", param, ctx)
        if size < 0.25:
            self.fail(f"{value} GiB is too little; the tiler needs 0.25", param, ctx)
        return int(size * GIB)


class Share(click.ParamType):
    """A number, or a percentage of a total: kept as text and resolved by :func:`allowed`."""

    name = "N|P%"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check the form."""
        if not re.fullmatch(r"\d+|\d+(\.\d+)?%", str(value)):
            self.fail(f"{value!r} is neither a number nor a percentage", param, ctx)
        return str(value)


class Batch(click.ParamType):
    """``auto`` (None), or cubes per engine call."""

    name = "auto|N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """Return None for ``auto``."""
        if value == "auto":
            return None
        if not str(value).isdigit() or int(value) == 0:
            self.fail(f"{value!r} is neither auto nor a positive number", param, ctx)
        return int(value)


def allowed(share: str, total: int) -> int:
    """Return how many of ``total`` a ``--max-failures`` value allows."""
    if share.endswith("%"):
        return int(total * float(share[:-1]) / 100)
    return int(share)


def _read_config(ctx: click.Context, parameter: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    try:
        values = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise click.BadParameter(f"{path}: {error}", ctx=ctx, param=parameter) from error
    names = {p.name for p in ctx.command.params}
    values = {name.replace("-", "_"): value for name, value in values.items()}
    unknown = sorted(values.keys() - names)
    if unknown:
        raise click.BadParameter(f"{path}: no such option: {', '.join(unknown)}", ctx=ctx, param=parameter)
    ctx.default_map = values
