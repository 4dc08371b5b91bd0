"""Options from the command line, the environment or a TOML file, in this order."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from collections.abc import Iterator

GIB = 1 << 30


class CommandError(click.ClickException):
    """The command cannot be run as it is: nothing ran."""

    exit_code = 2


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
        for name, option in settings_of(self):
            if option.envvar is None:
                option.envvar = f"SAMU_{name.upper()}"


class Mirrors(click.ParamType[str]):
    """A root with EMDB's layout; several in one environment variable are separated by commas or blanks."""

    name = "URL"
    envvar_list_splitter = ","

    def split_envvar_value(self, rv: str) -> list[str]:
        """Split at commas and blanks."""
        return [part for part in re.split(r"[,\s]+", rv) if part]


class Gibibytes(click.ParamType[int]):
    """A number of GiB, as bytes."""

    name = "GiB"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return bytes."""
        try:
            size = int(float(value) * GIB)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not a number of GiB", param, ctx)
        if size < GIB // 4:
            self.fail(f"{value} GiB is too little; the tiler needs 0.25", param, ctx)
        return size


class Seconds(click.ParamType[int]):
    """A time as schedulers write it, as seconds: HH:MM:SS, or days before a hyphen."""

    name = "[D-]HH:MM:SS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return seconds."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)", str(value))
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0,) * 4
        if (total := ((24 * days + hours) * 60 + minutes) * 60 + seconds) == 0:
            self.fail(f"{value!r} is no time such as 24:00:00 or 2-12:00:00", param, ctx)
        return total


class Share(click.ParamType[str]):
    """A number, or a percentage of a total: kept as text and resolved by :func:`allowed`."""

    name = "N|P%"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check the form."""
        if not re.fullmatch(r"\d+|\d+(\.\d+)?%", str(value)):
            self.fail(f"{value!r} is neither a number nor a percentage", param, ctx)
        return str(value)


class Batch(click.ParamType["int | None"]):
    """``auto`` (None), or cubes per engine call."""

    name = "auto|N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """Return None for ``auto``."""
        if value == "auto":
            return None
        if not str(value).isdecimal() or int(value) == 0:
            self.fail(f"{value!r} is neither auto nor a positive number", param, ctx)
        return int(value)


def allowed(share: str, total: int) -> int:
    """Return how many of ``total`` a ``--max-failures`` value allows."""
    if share.endswith("%"):
        return int(total * float(share[:-1]) / 100)
    return int(share)


def settings_of(command: click.Command) -> Iterator[tuple[str, click.Option]]:
    """Iterate over the options of a command by the name that they have in the environment and in a file."""
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            longest = max(parameter.opts, key=len).lstrip("-").replace("-", "_")
            yield (longest if len(longest) > 1 else str(parameter.name)), parameter


def explicit(name: str) -> bool:
    """Whether the running command was given a parameter, rather than left to its default."""
    return click.get_current_context().get_parameter_source(name) != ParameterSource.DEFAULT


def settings_in_force(command: click.Command, *, config: Path | None) -> list[dict[str, Any]]:
    """Return each option of a command as it would be taken now: its name, its value, and where it came from.

    Raises
    ------
    click.UsageError
        The environment or the file holds a value that the option does not take.
    """
    arguments = ["--config", str(config)] if config else []
    with command.make_context(str(command.name), [*arguments, "-"]) as context:
        return [
            {"name": name, "value": context.params.get(str(option.name)), "source": _source(context, option, config)}
            for name, option in settings_of(command)
            if option.expose_value
        ]


def _source(context: click.Context, option: click.Option, config: Path | None) -> str:
    source = context.get_parameter_source(str(option.name))
    if source == ParameterSource.ENVIRONMENT:
        variables = [option.envvar] if isinstance(option.envvar, str) else option.envvar or ()
        return f"environment ({next((name for name in variables if os.environ.get(name)), '')})"
    return f"file ({config})" if source == ParameterSource.DEFAULT_MAP else "default"


def _read_config(ctx: click.Context, parameter: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{path}: {error}", ctx=ctx, param=parameter) from error
    ctx.meta["samu_batch.config"] = path
    values = {name.replace("-", "_"): value for name, value in values.items()}
    unknown = sorted(values.keys() - _all_settings())
    if unknown:
        raise click.BadParameter(f"{path}: no such option: {', '.join(unknown)}", ctx=ctx, param=parameter)
    ctx.default_map = {
        str(option.name): _as_words(option, values[name]) for name, option in settings_of(ctx.command) if name in values
    }


def _all_settings() -> set[str]:
    """Return the options of every command: one file serves them all."""
    from samu_batch.cli import every_command

    return {name for command in every_command() for name, _ in settings_of(command)}


def _as_words(option: click.Option, value: Any) -> Any:
    """Let a TOML list stand for comma-separated words, and one word for a list of one."""
    if option.multiple:
        return value if isinstance(value, list) else option.type.split_envvar_value(str(value))
    return ",".join(map(str, value)) if isinstance(value, list) else value
