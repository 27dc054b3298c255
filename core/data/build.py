"""`panobench data build`: all steps, one after the other, into one folder."""

from __future__ import annotations

from pathlib import Path

from core.data.existing import find_set
from core.data.stages import STEPS, Layout, run_step
from core.errors import PanobenchError
from core.files import exclusive
from core.params_schema import Params
from core.shards import Shard


def build_set(params: Params, out: Path, until: str, shard: Shard) -> str:
    """Run the steps up to `until`; what to say at the end.

    Raises:
        PanobenchError: before any work, if a later step cannot run; otherwise what the steps raise.
    """
    raw = Path(params.dataset.source)
    _look_ahead(params, raw, out, until)
    layout = Layout.built(out)
    for name in STEPS[: STEPS.index(until) + 1]:
        if shard.world == 1:
            with exclusive(layout.partial / f"{name}.run.lock"):
                complete = run_step(name, params, layout, shard)
        else:
            complete = run_step(name, params, layout, shard)
        if not complete:
            return f"this process's share of '{name}' is done; run the command again when the others are"
    return f"'{until}' is done" if until != STEPS[-1] else "the set is whole"


def _look_ahead(params: Params, raw: Path, out: Path, until: str) -> None:
    """What would stop a later step, said before hours of earlier ones."""
    if not raw.is_dir():
        raise PanobenchError(f"{raw}: no such folder of raw footage")
    if out.resolve() == raw.resolve() or raw.resolve() in out.resolve().parents:
        raise PanobenchError(f"--out {out} lies in the raw folder {raw}, which is never written to; choose another")
    if find_set(raw):
        raise PanobenchError(f"{raw} is a data set already; set dataset.source to it, and `panobench data check {raw}`")
    steps = STEPS[: STEPS.index(until) + 1]
    if "caption" in steps and params.caption.captioner == "given":
        raise PanobenchError(
            "raw footage comes without captions: pass --captioner with a BLIP folder or hub id, such as "
            "Salesforce/blip-image-captioning-large, or stop before with --until split"
        )
    if "caption" in steps and params.caption.fusion == "chat" and not params.caption.whole_erp:
        from core.data.chat import ChatFuser

        ChatFuser.from_environment()
    if "flow" in steps and params.flow.backend != "dis":
        from core.flow.raft import load_raft

        load_raft(params.flow.backend, params.flow.weights)
    base = Path(params.base.model)
    if "encode" in steps and not (base.is_file() or (base / "vae").is_dir()):
        raise PanobenchError(f"{base}/vae: missing; set base.model, or pass --base or --until flow")
