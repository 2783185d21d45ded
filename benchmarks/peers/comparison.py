"""The same job on the same weights, ours and the peers taking turns: one client, then eight."""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from shutil import copytree

from benchmarks import jobs
from benchmarks.clients import Load, side_by_side
from benchmarks.figures import Figure, Part
from benchmarks.jobs import HttpRequest
from benchmarks.peers.servers import IOPAINT, IOPAINTS_SIDE, LITSERVE, STEPS, TOOLKIT, Peer
from benchmarks.servers import OUT, Server, ours
from inpaint_server.models.bundle import find, open_bundle
from inpaint_server.models.manifest import write_manifest
from inpaint_server.settings import read

_CLIENTS = 8
_ALONE = 2


def measure(runs: int, bundle: str) -> Part:
    """Whole adverts against LitServe and the Hugging Face toolkit, one inpainting against IOPaint."""
    folder = find(bundle, read().model_dir)
    guidance = open_bundle(folder).manifest.guidance_scale

    def advert() -> HttpRequest:
        return jobs.advert(steps=STEPS, guidance_scale=guidance)

    def inpainting() -> HttpRequest:
        return HttpRequest(body=json.dumps(jobs.inpainting(IOPAINTS_SIDE, STEPS, guidance)).encode())

    adverts = _compare(runs, folder, advert, guidance, (LITSERVE, TOOLKIT))
    inpaintings = _compare(runs, _native_at(IOPAINTS_SIDE, folder), inpainting, guidance, (IOPAINT,))
    return Part(
        figures=[*adverts.figures, *inpaintings.figures],
        series={
            f"adverts per minute, {STEPS} steps a pass": adverts.series["per minute"],
            f"inpaintings per minute, {IOPAINTS_SIDE} px, {STEPS} steps": inpaintings.series["per minute"],
        },
        remarks=[*adverts.remarks, *inpaintings.remarks],
    )


def _compare(
    runs: int, folder: Path, our_request: Callable[[], HttpRequest], guidance: float, peers: tuple[Peer, ...]
) -> Part:
    """Every server runs at the same time and is idle while another works."""
    remarks: list[str] = []
    with ExitStack() as stack:
        servers: dict[str, tuple[Server, Callable[[], HttpRequest], int]] = {
            "ours": (stack.enter_context(ours(bundle=str(folder))), our_request, _CLIENTS)
        }
        for peer in peers:
            try:
                server = stack.enter_context(peer.running(folder))
                side_by_side(server.url, [[peer.request(guidance)] * 2])
            except (SystemExit, subprocess.CalledProcessError) as error:
                remarks.append(f"{peer.name} could not be compared: {error}")
                continue
            servers[peer.name] = (server, lambda peer=peer: peer.request(guidance), min(peer.at_a_time, _CLIENTS))
        side_by_side(servers["ours"][0].url, [[our_request()] * 2])
        turns = [
            {
                name: (_alone(server, request), _together(server, request, most))
                for name, (server, request, most) in servers.items()
            }
            for _ in range(runs)
        ]
    figures = [
        figure for name, (_, _, most) in servers.items() if name != "ours" for figure in _figures(name, turns, most)
    ]
    return Part(
        figures=figures,
        series={
            "per minute": {
                f"{name}, {clients} client{'s' * (clients > 1)}": 60
                * statistics.median(turn[name][column].per_second for turn in turns)
                for name, (_, _, most) in servers.items()
                for column, clients in enumerate((1, most))
            }
        },
        remarks=remarks,
    )


def _alone(server: Server, request: Callable[[], HttpRequest]) -> Load:
    return side_by_side(server.url, [[request() for _ in range(_ALONE)]])


def _together(server: Server, request: Callable[[], HttpRequest], most: int) -> Load:
    """As many requests in all, from as many clients as the server can serve."""
    requests = [request() for _ in range(_CLIENTS)]
    return side_by_side(server.url, [requests[client::most] for client in range(most)])


def _figures(name: str, turns: list[Mapping[str, tuple[Load, Load]]], most: int) -> list[Figure]:
    alone = [(turn["ours"][0].mean, turn[name][0].mean) for turn in turns]
    together = [(turn["ours"][1].per_second, turn[name][1].per_second) for turn in turns]
    seconds, rates = ([statistics.median(column) for column in zip(*pairs, strict=True)] for pairs in (alone, together))
    return [
        Figure(
            name=f"one client's latency, ours over {name}",
            value=statistics.median(mine / theirs for mine, theirs in alone),
            at_most=1.0,
            detail=f"{seconds[0]:.2f} s / {seconds[1]:.2f} s",
        ),
        Figure(
            name=f"requests per second with {_CLIENTS} clients, ours over {name}"
            + ("" if most == _CLIENTS else f" with {most}, more than which it fails to serve"),
            value=statistics.median(mine / theirs for mine, theirs in together),
            at_least=1.0,
            detail=f"{rates[0]:.3f} / {rates[1]:.3f} per second",
        ),
    ]


def _native_at(side: int, folder: Path) -> Path:
    """The bundle as one whose models know a larger canvas: ours would otherwise paint fewer pixels and enlarge them."""
    copy = OUT / f"bundle-{side}"
    if not copy.exists():
        was = open_bundle(folder).manifest
        copytree(folder, copy)
        write_manifest(
            copy,
            name=f"{was.name}-{side}",
            version=was.version,
            licence=was.licence,
            native_size=side,
            guidance_scale=was.guidance_scale,
        )
    return copy
