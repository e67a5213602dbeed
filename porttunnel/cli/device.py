"""`porttunnel device`: its commands and their options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from twisted.internet.threads import deferToThread

from porttunnel.cli import device_text as text
from porttunnel.cli.device_choice import choose_device, choose_devices, format_devices
from porttunnel.cli.device_content import open_content
from porttunnel.cli.device_dialogue import DeviceDialogue
from porttunnel.cli.device_fetch import Fetching, make_head
from porttunnel.cli.device_output import open_output
from porttunnel.cli.device_pair import Pairing
from porttunnel.cli.device_program import run_device_program
from porttunnel.cli.device_serve import Serving
from porttunnel.cli.exit_code import ExitCode
from porttunnel.cli.qr_image import read_pairing_image
from porttunnel.cli.setting import data_dir_option, json_option
from porttunnel.cli.standard_streams import StandardStreams
from porttunnel.cli.wrong_use import CommandWithJson, WrongUse
from porttunnel.errors import ConfigurationError
from porttunnel.gateway.http_head import RequestHead
from porttunnel.net.device.device import Device
from porttunnel.net.device.store import DeviceStore

__all__ = ["device"]

STANDARD_INPUT = "-"
MAX_NAME_CHARACTERS = 64  # so that a table stays one
CODE_MARK = "/pair#"  # in the text of every QR code, and in no sensible file name

_Command = Callable[..., Any]
_SUCCESS = range(200, 300)
_NO_ERROR = range(200, 400)


def _device_option(command: _Command) -> _Command:
    return click.option("--device", "wanted", metavar="ID|HOST", help=text.DEVICE_OPTION)(command)


def _output_options(command: _Command) -> _Command:
    include = click.option("--include", is_flag=True, help=text.INCLUDE_OPTION)
    output = click.option(
        "--output",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help=text.OUTPUT_OPTION,
    )
    return output(include(command))


@click.group(help=text.DEVICE_HELP, short_help=text.DEVICE_SHORT)
def device() -> None:
    """See device_text.DEVICE_HELP."""


@device.command(cls=CommandWithJson, help=text.PAIR_HELP)
@click.argument("image", required=False)
@click.option("--name", metavar="NAME", default="", help=text.NAME_OPTION)
@json_option
@data_dir_option
def pair(*, image: str | None, name: str, as_json: bool, data_dir: Path | None) -> int:
    """See device_text.PAIR_HELP."""
    if len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
        raise click.UsageError(text.BAD_NAME)
    if image is not None and CODE_MARK in image:
        raise click.UsageError(text.CODE_ARGUMENT)
    if image is None and as_json:
        raise click.UsageError(text.CODE_MISSING)
    given = None
    if image is not None and image != STANDARD_INPUT:
        try:
            given = read_pairing_image(Path(image))
        except ConfigurationError as error:
            raise WrongUse(error) from None

    async def run(
        reactor: Any, streams: StandardStreams, dialogue: DeviceDialogue, store: DeviceStore
    ) -> ExitCode:
        interactive = streams.interactive and not as_json
        return await Pairing(dialogue, given=given, name=name, interactive=interactive).run(
            reactor, store
        )

    return run_device_program(run, as_json=as_json, data_dir=data_dir)


@device.command("list", cls=CommandWithJson, help=text.LIST_HELP)
@json_option
@data_dir_option
def list_devices(*, as_json: bool, data_dir: Path | None) -> int:
    """See device_text.LIST_HELP."""

    async def run(
        reactor: Any, streams: StandardStreams, dialogue: DeviceDialogue, store: DeviceStore
    ) -> ExitCode:
        dialogue.tell_devices(await deferToThread(store.list_devices))
        dialogue.tell_done("")
        return ExitCode.DONE

    return run_device_program(run, as_json=as_json, data_dir=data_dir)


@device.command(cls=CommandWithJson, help=text.GET_HELP)
@click.argument("path")
@_device_option
@_output_options
@json_option
@data_dir_option
def get(*, path: str, **options: Any) -> int:
    """See device_text.GET_HELP."""
    return _fetch("GET", path, (), None, _SUCCESS, **options)


@device.command(cls=CommandWithJson, help=text.REQUEST_HELP, short_help=text.REQUEST_SHORT)
@click.argument("method")
@click.argument("path")
@click.option("--data", metavar="TEXT|@FILE", help=text.DATA_OPTION)
@click.option("--field", "fields", multiple=True, metavar="NAME:VALUE", help=text.FIELD_OPTION)
@_device_option
@_output_options
@json_option
@data_dir_option
def request(
    *, method: str, path: str, data: str | None, fields: Sequence[str], **options: Any
) -> int:
    """See device_text.REQUEST_HELP."""
    return _fetch(method, path, fields, data, _NO_ERROR, **options)


def _fetch(
    method: str,
    path: str,
    fields: Sequence[str],
    data: str | None,
    allowed: range,
    *,
    wanted: str | None,
    include: bool,
    output: Path | None,
    as_json: bool,
    data_dir: Path | None,
) -> int:
    if as_json and output is None:
        raise click.UsageError(text.JSON_NEEDS_OUTPUT)
    try:
        head: RequestHead = make_head(method, path, fields)
    except ConfigurationError as error:
        raise WrongUse(error) from None

    async def run(
        reactor: Any, streams: StandardStreams, dialogue: DeviceDialogue, store: DeviceStore
    ) -> ExitCode:
        record = choose_device(await deferToThread(store.list_devices), wanted)
        content = open_content(data, streams)
        quiet = output is None and streams.output_is_terminal
        opened = open_output(output, streams)  # from now on words may go elsewhere
        fetching = Fetching(
            reactor,
            dialogue,
            opened,
            include=include,
            allowed=allowed,
            quiet=quiet,
            waited=record if as_json or streams.output_is_terminal else None,
        )
        asked = Device(reactor, store, record, on_event=fetching.receive_event)
        asked.start()
        try:
            return await fetching.run(asked, head, content)
        finally:
            await asked.stop()

    return run_device_program(run, as_json=as_json, data_dir=data_dir)


@device.command(cls=CommandWithJson, help=text.SERVE_HELP)
@click.option("--device", "wanted", metavar="ID|HOST", help=text.SERVE_DEVICE_OPTION)
@click.option("--port", metavar="P", type=click.IntRange(0, 65_535), help=text.PORT_OPTION)
@json_option
@data_dir_option
def serve(*, wanted: str | None, port: int | None, as_json: bool, data_dir: Path | None) -> int:
    """See device_text.SERVE_HELP."""

    async def run(
        reactor: Any, streams: StandardStreams, dialogue: DeviceDialogue, store: DeviceStore
    ) -> ExitCode:
        records = choose_devices(await deferToThread(store.list_devices), wanted)
        if port and len(records) > 1:
            raise ConfigurationError(text.PORT_FOR_ONE.format(devices=format_devices(records)))
        return await Serving(dialogue).run(reactor, store, records, port)

    return run_device_program(run, as_json=as_json, data_dir=data_dir)


@device.command(cls=CommandWithJson, help=text.REVOKE_HELP, short_help=text.REVOKE_SHORT)
@_device_option
@click.option("--yes", is_flag=True, help=text.YES_OPTION)
@click.option("--offline", is_flag=True, help=text.OFFLINE_OPTION)
@json_option
@data_dir_option
def revoke(
    *, wanted: str | None, yes: bool, offline: bool, as_json: bool, data_dir: Path | None
) -> int:
    """See device_text.REVOKE_HELP."""
    if as_json and not yes:
        raise click.UsageError(text.JSON_NEEDS_YES)

    async def run(
        reactor: Any, streams: StandardStreams, dialogue: DeviceDialogue, store: DeviceStore
    ) -> ExitCode:
        record = choose_device(await deferToThread(store.list_devices), wanted)
        if not yes and not await dialogue.ask_revoke(record):
            dialogue.tell_done(text.NOT_REVOKED)
            return ExitCode.FAILED
        if offline:
            await deferToThread(store.remove_device, record.device_id)
        else:
            dialogue.tell_waiting(record, connected=False)
            await Device(reactor, store, record).revoke()
        dialogue.tell_revoked(record, offline=offline)
        dialogue.tell_done("")
        return ExitCode.DONE

    return run_device_program(run, as_json=as_json, data_dir=data_dir)
